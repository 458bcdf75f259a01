"""``kill -9`` at seeded random moments over training with stages and over encoding."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

from emofuse.encoders.contract import EncoderSpec
from emofuse.features.encode import load_table
from emofuse.features.store import FeatureStore
from emofuse.manifest import Manifest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")

# Results are stored all the time, so that a kill has something in between to hit.
COMMAND = (
    "import emofuse.features.session as s; s.FLUSH_SECONDS = 0.0; s.WINDOW_SECONDS = 2.0; "
    "from emofuse.cli.app import main; main()"
)
TRAINED = ("predictions.parquet", "bundle/model.safetensors", "bundle/config.json")


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def live(arguments, begun, most):
    """Run to the end, or ``most`` seconds after ``begun`` holds; give status and seconds of work.

    The status is that of the process, -9 where it was killed.
    """
    process, first = start(*arguments), None
    while process.poll() is None:
        if first is None and begun():
            first = time.monotonic()
        if first is not None and time.monotonic() - first >= most:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    _, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors.decode()
    return process.returncode, 0.0 if first is None else time.monotonic() - first


def kill_again_and_again(arguments_for, begun_in, check, folder, kills, seed):
    """Kill so often, at moments drawn over the work of an undisturbed run; check every end."""
    draw = random.Random(seed)
    status, whole = live(arguments_for(folder / "whole"), lambda: begun_in(folder / "whole"), 1e9)
    assert status == 0
    done = rounds = finished = 0
    while done < kills or not finished:
        here = folder / f"round-{rounds}"
        most = draw.uniform(0.0, 0.9 * whole) if done < kills else 1e9
        known = begun_in(here)
        status, _ = live(arguments_for(here), lambda h=here, k=known: k or begun_in(h), most)
        if status == 0:
            check(folder / "whole", here)
            rounds, finished = rounds + 1, finished + 1
        else:
            done += 1
    return finished


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def trained(recipe_data, tmp_path):
    recipe_data["trainer"]["epochs"] = 40
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_data))

    def check(whole, here):
        for name in TRAINED:
            assert (whole / name).read_bytes() == (here / name).read_bytes(), name
        one, two = files_of(whole / "jobs"), files_of(here / "jobs")
        weights = [name for name in one if name.endswith(".safetensors")]
        assert weights
        assert set(one) == set(two)
        for name in weights:
            assert one[name] == two[name], name

    return (
        lambda folder: ("train", path, "-o", folder),
        lambda folder: (folder / "recipe.yaml").exists(),
        check,
        tmp_path,
    )


@pytest.fixture
def encoded(sounds, tmp_path):
    path = sounds(60, seconds=0.8)
    spec = EncoderSpec.from_text("prosody")

    def check(whole, here):
        manifest = Manifest.load(path)
        tables = [
            load_table(manifest, {"audio": spec}, FeatureStore(folder)) for folder in (whole, here)
        ]
        parts = [table.modalities["audio"] for table in tables]
        assert torch.equal(parts[0].offsets, parts[1].offsets)
        assert torch.equal(parts[0].values.view(torch.int32), parts[1].values.view(torch.int32))
        assert not FeatureStore(here).damaged

    return (
        lambda folder: ("encode", path, "--audio", "prosody", "--store", folder),
        lambda folder: any(folder.rglob("shard-*.safetensors")),
        check,
        tmp_path,
    )


def test_two_kills_of_encoding(encoded):
    assert kill_again_and_again(*encoded, kills=2, seed=3) >= 1


@pytest.mark.slow
def test_twenty_kills_of_a_training_with_stages(trained):
    assert kill_again_and_again(*trained, kills=20, seed=1) >= 1


@pytest.mark.slow
def test_twenty_kills_of_encoding(encoded):
    assert kill_again_and_again(*encoded, kills=20, seed=2) >= 1
