"""A real ``kill -9``, at several moments: the same command ends with the same numbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train

COMMAND = "from emofuse.cli.app import main; main()"


def start(recipe, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "train", str(recipe), "-o", str(folder)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def wait_for(process, folder, pattern, count):
    """Wait until so many files of a pattern are there, or the process has ended."""
    while process.poll() is None and len(list(folder.glob(pattern))) < count:
        time.sleep(0.001)


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_kill_nine(recipe_data, tmp_path):
    recipe_data["trainer"]["epochs"] = 60
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(parse_recipe(recipe_data).model_dump(mode="json")))
    folder = tmp_path / "killed"
    moments = [
        ("jobs/*/fit.safetensors", 1),
        ("jobs/*/result.json", 1),
        ("jobs/*/refit.safetensors", 1),
    ]
    killed = 0
    for pattern, count in moments:
        process = start(path, folder)
        wait_for(process, folder, pattern, count)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
        assert not (folder / "metrics.json").exists() or process.returncode == 0
    assert killed >= 2
    last = start(path, folder)
    _, errors = last.communicate()
    assert last.returncode == 0, errors.decode()
    whole = train(parse_recipe(recipe_data), tmp_path / "whole")
    for name in ("predictions.parquet", "metrics.json", "bundle/model.safetensors"):
        assert (folder / name).read_bytes() == (whole.folder / name).read_bytes()
