"""``emofuse search`` by several workers, one of which is killed: what one process finds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

COMMAND = "from emofuse.cli.app import main; main()"
MARK = "EMOFUSE_TEST_SEARCH"


@pytest.fixture
def start(recipe_data, tmp_path):
    recipe_data["trainer"] |= {"epochs": 40, "checkpoint_seconds": 0}
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(recipe_data))
    space = ["trainer.learning_rate=1e-3..1e-1:log", "model.hidden=4..16"]
    how = ["--trials", "8", "--batch", "4", "--prune-by", "epoch", "--pruner", "hyperband"]

    def begin(folder, *engine):
        words = ["search", str(tmp_path / "toy.yaml"), *space, *how, *engine, "-o", str(folder)]
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, *words],
            env={**os.environ, "OMP_NUM_THREADS": "1", MARK: folder.name},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin


def end(process):
    _, errors = process.communicate()
    assert process.returncode == 0, errors[-2000:]


def told(folder):
    found = (folder / "search.json").read_text() + (folder / "best.yaml").read_text()
    return found.replace(str(folder), "FOLDER")


def busy(name):
    """Workers of a command: what they are called depends on the engine."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            mine = f"{MARK}={name}".encode() in (path / "environ").read_bytes().split(b"\0")
            called = (path / "cmdline").read_bytes()
        except OSError:
            continue
        if mine and (b"spawn_main" in called or called.startswith(b"ray::")):
            yield int(path.name)


def in_a_trial(folder, pid):
    """Whether a process holds the lock of a trial."""
    try:
        opened = [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return False
    return any(one.startswith(str(folder)) and "lock" in one for one in opened)


def kill_one(process, folder):
    while process.poll() is None:
        for pid in busy(folder.name):
            if in_a_trial(folder, pid) and list(folder.glob("trials/*/*/*.safetensors")):
                os.kill(pid, signal.SIGKILL)
                return True
        time.sleep(0.01)
    return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for workers in /proc")
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_killed_worker_loses_nothing(start, tmp_path, engine):
    if engine == "ray":
        pytest.importorskip("ray")
    many = ["--engine", engine, "--workers", "2"]
    process = start(tmp_path / "killed", *many)
    assert kill_one(process, tmp_path / "killed")
    end(process)
    end(start(tmp_path / "alone"))
    assert told(tmp_path / "killed") == told(tmp_path / "alone")
    assert not list((tmp_path / "killed" / "trials").iterdir())
