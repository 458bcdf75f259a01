"""Two processes that `torchrun` starts end with the numbers of one, up to floating point."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from emofuse.evaluation.openings import count_openings
from emofuse.layers.dropout import Dropout
from emofuse.layers.share import Share, sharing
from emofuse.manifest import Manifest, Utterance
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train

TOLERANCE = 2e-4
"""Largest difference of a probability: sums of gradients are added up in another order."""
COMMAND = "from emofuse.cli.app import main; main()"


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(COMMAND)
    return path


def launch(program, recipe, folder, processes=2, **popen):
    """Start `emofuse train` under torchrun."""
    path = folder.parent / f"{folder.name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    command += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    command += [str(program), "train", str(path), "-o", str(folder), "--json"]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **popen,
    )


def finish(process):
    out, errors = process.communicate(timeout=600)
    told = [line for line in errors.splitlines() if line.startswith("error")]
    assert process.returncode == 0, told or errors[-3000:]
    return out


def compare(one, two):
    """Predictions of two runs, row by row; once an utterance, fold and seed."""
    frames = [pd.read_parquet(folder / "predictions.parquet") for folder in (one, two)]
    keys = ["id", "fold", "seed"]
    assert not frames[1].duplicated(keys).any()
    assert frames[0][[*keys, "gold", "speaker"]].equals(frames[1][[*keys, "gold", "speaker"]])
    columns = [name for name in frames[0].columns if name.startswith("p:")]
    assert columns
    return float(np.abs(frames[0][columns].to_numpy() - frames[1][columns].to_numpy()).max())


@pytest.fixture
def two_modalities(tmp_path):
    """Words in two encodings; some utterances lack one; classes uneven; 61 items a fold or so."""
    random = np.random.default_rng(0)
    classes = ("anger", "happiness", "sadness")
    utterances = []
    for number in range(83):
        emotion = classes[int(random.choice(3, p=[0.5, 0.3, 0.2]))]
        words = " ".join(
            [emotion[: int(random.integers(0, 6))], *random.choice(list("abcdefg"), 6)]
        )
        utterances.append(
            Utterance(
                id=f"u{number:02d}",
                corpus="toy",
                text=f"{words} {number}",
                emotion=emotion,
                speaker=f"s{number % 6}",
            )
        )
    Manifest(utterances, tmp_path).save(tmp_path / "two.jsonl")
    return {
        "name": "two",
        "data": {
            "manifest": str(tmp_path / "two.jsonl"),
            "scheme": {"name": "toy", "classes": list(classes)},
            "store": str(tmp_path / "store"),
        },
        "encoders": {"text": {"name": "ngrams", "dim": 32}},
        "protocol": {"name": "group-kfold", "by": "speaker", "k": 2, "dev": 0.3},
        "trainer": {
            "epochs": 5,
            "batch_size": 9,  # 5 and 4 a process; the last batch of an epoch is uneven again
            "learning_rate": 5e-3,
            "patience": None,
            "checkpoint_seconds": 0,
            "device": "cpu",
            "workers": 0,
        },
        "seeds": [0],
    }


def mlp(data):
    return {
        **data,
        "model": {"name": "mlp", "hidden": 16, "dropout": 0.3},
        "objective": [
            {"name": "cross-entropy", "weights": "balanced", "smoothing": 0.05},
            {"name": "supcon", "weight": 0.3, "of": "fused"},
        ],
    }


@pytest.mark.slow
def test_mlp(two_modalities, program, tmp_path):
    recipe = mlp(two_modalities)
    out = finish(launch(program, recipe, tmp_path / "two"))
    alone = train(parse_recipe(recipe), tmp_path / "one")
    assert compare(alone.folder, tmp_path / "two") < TOLERANCE
    found = json.loads(out)  # one process alone says it
    assert found["run"] == str(tmp_path / "two")
    ua = found["summary"]["metrics"]["ua"]["mean"]
    assert ua == pytest.approx(alone.metrics["summary"]["metrics"]["ua"]["mean"], abs=0.02)
    assert count_openings(tmp_path / "two") == 1
    ours = pd.read_csv(next((tmp_path / "one" / "jobs").glob("*/history.csv")))
    theirs = pd.read_csv(next((tmp_path / "two" / "jobs").glob("*/history.csv")))
    for name in ("loss", "loss:supcon", "dev_loss", "dev_ua"):
        assert np.allclose(ours[name], theirs[name], atol=1e-3), name
    again = finish(launch(program, recipe, tmp_path / "two"))
    assert json.loads(again)["summary"] == found["summary"]


@pytest.fixture
def frames(two_modalities, tmp_path):
    """Sequences of two modalities; some utterances lack one of them."""
    import soundfile

    random = np.random.default_rng(1)
    listed = []
    for utterance in Manifest.load(tmp_path / "two.jsonl"):
        number = int(utterance.id[1:])
        pitch = 200 + 150 * ("anger", "happiness", "sadness").index(utterance.emotion)
        clock = np.arange(int(16_000 * random.uniform(0.2, 0.5))) / 16_000
        wave = 0.2 * np.sin(2 * np.pi * pitch * clock) + random.normal(size=len(clock)) * 0.05
        soundfile.write(tmp_path / f"{utterance.id}.wav", wave, 16_000)
        changes = {} if number % 14 == 0 else {"audio": f"{utterance.id}.wav"}
        changes |= {"text": None} if number % 7 == 3 else {}
        listed.append(utterance.model_copy(update=changes))
    Manifest(listed, tmp_path).save(tmp_path / "two.jsonl")
    return {
        **two_modalities,
        "encoders": {
            "audio": {"name": "logmel"},
            "text": {"name": "ngrams", "dim": 16},
        },
    }


def test_foal_net_with_avel_and_mem(frames, program, tmp_path):
    recipe = {
        **frames,
        "model": {"name": "foal-net", "avel": True, "mem": True, "dropout": 0.2, "heads": 4},
        "objective": [{"name": "cross-entropy"}, {"name": "avel"}, {"name": "mem"}],
    }
    finish(launch(program, recipe, tmp_path / "two"))
    alone = train(parse_recipe(recipe), tmp_path / "one")
    assert compare(alone.folder, tmp_path / "two") < TOLERANCE


@pytest.mark.slow
def test_batch_norm_sees_the_items_of_all(frames, program, tmp_path):
    recipe = {
        **frames,
        "model": {"name": "fleser", "hidden": 16, "heads": 4, "norm": "batch", "dropout": 0.2},
    }
    finish(launch(program, recipe, tmp_path / "two"))
    alone = train(parse_recipe(recipe), tmp_path / "one")
    assert compare(alone.folder, tmp_path / "two") < TOLERANCE


@pytest.mark.slow
def test_three_processes_and_lbfgs(two_modalities, program, tmp_path):
    """The tail of an epoch has fewer items than there are processes."""
    recipe = mlp(two_modalities)
    recipe["trainer"] = {**recipe["trainer"], "batch_size": 8, "refit": True}
    finish(launch(program, recipe, tmp_path / "three", processes=3))
    alone = train(parse_recipe(recipe), tmp_path / "one")
    assert compare(alone.folder, tmp_path / "three") < TOLERANCE
    recipe = {**two_modalities, "model": {"name": "linear"}}
    recipe["trainer"] = {"optimiser": "lbfgs", "epochs": 60, "device": "cpu", "workers": 0}
    finish(launch(program, recipe, tmp_path / "two"))
    alone = train(parse_recipe(recipe), tmp_path / "whole")
    assert compare(alone.folder, tmp_path / "two") < 50 * TOLERANCE


def worker_of(parent, variable):
    """The process below torchrun whose environment holds a variable."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            above = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if above == parent and variable.encode() in (path / "environ").read_bytes().split(
                b"\0"
            ):
                return int(path.name)
        except OSError:
            continue
    raise AssertionError("no such worker")


@pytest.mark.slow
def test_killed_together_and_gone_on(two_modalities, program, tmp_path):
    recipe = mlp(two_modalities)
    recipe["trainer"] = {**recipe["trainer"], "epochs": 40}
    folder = tmp_path / "killed"
    process = launch(program, recipe, folder)
    while process.poll() is None and not list(folder.glob("jobs/*/fit.safetensors")):
        time.sleep(0.05)
    assert process.poll() is None
    os.kill(worker_of(process.pid, "RANK=0"), signal.SIGKILL)
    process.communicate()
    assert process.returncode != 0
    assert not (folder / "metrics.json").exists()
    finish(launch(program, recipe, folder))
    finish(launch(program, recipe, tmp_path / "whole"))
    assert compare(tmp_path / "whole", folder) == 0.0


def test_draws_of_dropout_are_those_of_one_process():
    drop = Dropout(0.4).train()
    values = torch.ones(7, 3, 5)
    torch.manual_seed(3)
    whole = drop(values)
    parts = []
    for start, end in ((0, 3), (3, 7), (7, 7)):
        torch.manual_seed(3)
        with sharing(Share(start, end - start, 7)):
            parts.append(drop(values[start:end] if end > start else values[:1])[: end - start])
        after = torch.rand(1)
    assert torch.equal(torch.cat(parts), whole)
    torch.manual_seed(3)
    drop(values)
    assert torch.equal(torch.rand(1), after)
    torch.manual_seed(4)
    assert not torch.equal(drop(values), whole)
