"""Small videos, written by PyAV: each frame's colour tells its number."""

from __future__ import annotations

import pytest
from tests.media.clips import write_clip


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("video") / "clip.mp4")


@pytest.fixture(scope="session")
def mute_clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("video") / "mute.mkv", sound=False)
