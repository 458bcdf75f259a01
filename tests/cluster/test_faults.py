"""A real ``kill -9``, five random moments each: the same command ends as if undisturbed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from emofuse.encoders.build import load_encoder
from emofuse.encoders.contract import EncoderSpec
from emofuse.features.encode import encode_manifest
from emofuse.features.keys import FeatureKey, encoder_space
from emofuse.features.plan import make_plans
from emofuse.features.store import FeatureStore
from emofuse.manifest import Manifest, Utterance

COMMAND = "from emofuse.cli.app import main; main()"
MOMENTS = 5


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def kill_often(words, folder, seed, longest):
    """Kill the command at drawn moments, then let it end; give how often it was killed."""
    draws, killed = random.Random(seed), 0
    for _ in range(MOMENTS):
        process = start(*words)
        before = progress(folder)
        wanted = before + draws.randint(1, 3)
        while process.poll() is None and progress(folder) < wanted:
            time.sleep(0.002)
        time.sleep(draws.random() * longest)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
    last = start(*words)
    _, errors = last.communicate()
    assert last.returncode == 0, errors.decode()
    return killed


def progress(folder):
    """Something that grows: files that are finished, and bytes of the database."""
    return sum(1 for path in folder.rglob("*") if path.suffix in (".json", ".lock", ".safetensors"))


@pytest.fixture
def toy(tmp_path):
    draws = np.random.default_rng(0)
    words = {"anger": "stop never blame", "sadness": "alone rain lost"}
    utterances = []
    for number in range(48):
        emotion = ("anger", "sadness")[number % 2]
        text = " ".join(
            [*draws.choice(words[emotion].split(), 1), *draws.choice(list("abcdef"), 4)]
        )
        utterances.append(
            Utterance(
                id=f"u{number:02d}",
                corpus="toy",
                text=f"{text} {number}",
                emotion=emotion,
                speaker=f"s{number // 2 % 4}",
            )
        )
    Manifest(utterances, tmp_path).save(tmp_path / "toy.jsonl")
    recipe = {
        "name": "toy",
        "data": {
            "manifest": str(tmp_path / "toy.jsonl"),
            "scheme": {"name": "toy", "classes": ["anger", "sadness"]},
            "store": str(tmp_path / "store"),
        },
        "encoders": {"text": {"name": "ngrams", "dim": 64}},
        "model": {"name": "mlp", "hidden": 8},
        "protocol": {"name": "group-kfold", "by": "speaker", "k": 2, "dev": 0.3},
        "trainer": {"epochs": 25, "patience": None, "checkpoint_seconds": 0, "device": "cpu"},
    }
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path / "toy.yaml"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_search(toy, tmp_path):
    def words(folder):
        space = ["trainer.learning_rate=1e-3..1e-1:log", "model.hidden=4..16"]
        how = ["--trials", "8", "--prune-by", "epoch", "--pruner", "hyperband", "--batch", "2"]
        return ["search", toy, *space, *how, "-o", folder]

    killed = kill_often(words(tmp_path / "killed"), tmp_path / "killed", 1, longest=1.0)
    assert killed >= MOMENTS - 2
    whole = start(*words(tmp_path / "whole"))
    whole.communicate()
    assert whole.returncode == 0
    found = [
        (tmp_path / name / "search.json").read_text().replace(str(tmp_path / name), "")
        for name in ("killed", "whole")
    ]
    assert found[0] == found[1]
    best = [(tmp_path / name / "best.yaml").read_bytes() for name in ("killed", "whole")]
    assert best[0] == best[1]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_encoding_by_ray(tmp_path):
    draws = np.random.default_rng(0)
    utterances = []
    for number in range(60):
        wave = draws.normal(size=int(16_000 * draws.uniform(4, 10))) * 0.1
        soundfile.write(tmp_path / f"{number:02d}.wav", wave, 16_000)
        utterances.append(Utterance(id=f"u{number:02d}", audio=f"{number:02d}.wav"))
    corpus = Manifest(utterances, tmp_path)
    corpus.save(tmp_path / "m.jsonl")
    store = tmp_path / "killed"
    how = ["--audio", "prosody", "--engine", "ray", "--workers", "2", "--store", store]
    killed = kill_often(["encode", tmp_path / "m.jsonl", *how], store, 2, longest=3.0)
    assert killed >= 1
    spec = EncoderSpec.from_text("prosody")
    encode_manifest(corpus, "audio", spec, FeatureStore(tmp_path / "whole"))
    assert contents(corpus, spec, store) == contents(corpus, spec, tmp_path / "whole")
    assert not list(Path(store).rglob("*.damaged"))


def contents(corpus, spec, store):
    space = encoder_space(load_encoder("audio", spec, "cpu"))
    keys = [
        FeatureKey(space, work.content)
        for plan in make_plans(corpus, "audio")
        for work in plan.works
    ]
    return [array.tobytes() for array in FeatureStore(store).get_many(keys)]
