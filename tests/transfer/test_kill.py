"""A real ``kill -9``, at random moments: the same command ends with the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import yaml

from emofuse.training.transferring.recipe import load_transfer
from emofuse.training.transferring.transfer import transfer

COMMAND = "from emofuse.cli.app import main; main()"


def start(recipe, folder):
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "transfer", str(recipe), "-o", str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def marks(folder):
    """How far it is: answers of folds, checkpoints, models of sources, settings."""
    patterns = ("cells/*/fold-*.safetensors", "sources/*/*", "settings/*/predictions.parquet")
    return sum(len(list(folder.glob(pattern))) for pattern in patterns)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
@pytest.mark.parametrize("workers", [0, 2])
def test_kill_nine(recipe_data, tmp_path, workers):
    recipe_data["trainer"] |= {"epochs": 30, "checkpoint_seconds": 0}
    recipe_data["methods"] = ["none", "prototypes", "dann", "finetune", "combined", "target"]
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_data))
    killed, folder = 0, tmp_path / "killed"
    recipe_data["trainer"]["workers"] = workers
    path.write_text(yaml.safe_dump(recipe_data))
    draws = random.Random(workers)
    for _ in range(5):
        begun = marks(folder)
        wanted = begun + draws.randint(1, 20)
        process = start(path, folder)
        while process.poll() is None and marks(folder) < wanted:
            time.sleep(0.002)
        time.sleep(draws.random() / 20)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
        assert not (folder / "transfer.json").exists() or process.returncode == 0
    assert killed >= 4
    last = start(path, folder)
    _, errors = last.communicate()
    assert last.returncode == 0, errors.decode()
    whole = transfer(load_transfer(path, ["trainer.workers=0"]), tmp_path / "whole")
    for kind in ("*.json", "*.md", "heatmap.*", "settings/*/predictions.parquet", "sources/*/m*"):
        names = sorted(p.relative_to(whole.folder) for p in whole.folder.glob(kind))
        assert names
        for name in names:
            assert (folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    assert not list(folder.rglob("*fit.safetensors"))
