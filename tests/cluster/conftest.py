from __future__ import annotations

import pytest

MODULE = '''
import os
import signal
import time
from pathlib import Path

from emofuse.errors import MediaError, MissingExtraError


def setup():
    return {"pid": os.getpid(), "made": 0}


def square(state, item):
    state["made"] += 1
    return item * item


def slow_square(state, item):
    time.sleep(0.2 if item == 0 else 0.0)
    return item * item


def who(state, item):
    return state["pid"], os.getpid(), str(Path.cwd())


def fail(state, item):
    if item == 2:
        raise MediaError("two is no sound")
    if item == 3:
        raise MissingExtraError("thing", "extra")
    if item == 4:
        raise KeyError("four")
    return item


def die_once(state, item):
    """The first that gets here is killed in the middle of its task."""
    mark = Path(item[0])
    if item[1] == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item[1]


def die_always(state, item):
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def no_setup():
    raise MediaError("no such encoder")
'''


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """A module that the workers can import."""
    (tmp_path / "worker_tasks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    import importlib
    import sys

    sys.modules.pop("worker_tasks", None)
    return importlib.import_module("worker_tasks")
