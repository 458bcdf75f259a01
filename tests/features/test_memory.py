from __future__ import annotations

import sys
from pathlib import Path

import pytest

from emofuse.features import memory


@pytest.fixture(autouse=True)
def _ask_again():
    memory._trimmer.cache_clear()
    yield
    memory._trimmer.cache_clear()


def test_giving_memory_back_works_here():
    memory.give_back()
    assert memory._trimmer() is memory._trimmer()
    assert callable(memory._trimmer())


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", None)
    memory.give_back()
    assert memory._trimmer() is memory._nothing


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_another_c_library_is_left_alone(monkeypatch, error):
    def refuse(name):
        raise error("no such function")

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", refuse)
    memory.give_back()
    assert memory._trimmer() is memory._nothing


def test_gaps_between_what_stays_are_handed_back():
    if memory._trimmer() is memory._nothing:
        pytest.skip("needs glibc")
    import numpy as np

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1])

    blocks = [np.ones(12_000, np.uint8) for _ in range(8000)]
    kept = blocks[::100]
    del blocks
    before = resident()
    memory.give_back()
    assert resident() < before - 5000  # pages
    assert all(block.all() for block in kept)
