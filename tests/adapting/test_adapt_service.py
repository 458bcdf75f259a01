"""Adaptation through the service: recordings, and a stream that hears no future."""

from __future__ import annotations

import base64
import importlib.util

import numpy as np
import pytest
from tests.timeline.conftest import RATE, recording

from emofuse.recognition.timeline import TimelineOptions

if importlib.util.find_spec("fastapi") is None:
    pytest.skip("the extra server is not installed", allow_module_level=True)

import httpx
from tests.server.conftest import served, wav
from tests.server.test_stream import END, talk


@pytest.fixture(scope="module")
def wave():
    return np.round(recording((0.4, 2.5), (0.9, 3.0), (1.2, 1.4)) * 32767).astype("<i2")


@pytest.fixture(scope="module")
def address(recognizer):
    with served(recognizer) as (_, place):
        yield place


def plain(segments):
    return [(one["start"], one["emotion"], one["adapted"]) for one in segments]


def test_a_stream_adapts_as_the_file_does(address, recognizer, wave):
    options = TimelineOptions(delay=0.5, adapt="causal", moods="mixed")
    expected = recognizer.timeline((wave, RATE), options).model_dump(mode="json")["segments"]
    chunks = [wave[n : n + 1600].tobytes() for n in range(0, len(wave), 1600)]
    hello = {"rate": RATE, "settings": {"adapt": "causal", "moods": "mixed"}}
    found, code = talk(address, hello, [*chunks, END])
    assert code == 1000
    segments = [one["segment"] for one in found if one["type"] == "segment"]
    assert plain(segments) == plain(expected)
    assert segments[0]["adapted"]["moods"] == "mixed"


def test_a_recording_is_adapted_as_a_whole(address, recognizer, wave):
    body = {
        "audio": base64.b64encode(wav(wave)).decode(),
        "settings": {"adapt": "recording"},
    }
    answer = httpx.post(f"{address}/v1/timeline", json=body, timeout=60)
    assert answer.status_code == 200
    options = TimelineOptions(delay=30.0, adapt="recording")
    expected = recognizer.timeline((wave, RATE), options).model_dump(mode="json")["segments"]
    assert plain(answer.json()["segments"]) == plain(expected)


def test_a_stream_that_should_hear_the_future_is_refused(address):
    hello = {"rate": RATE, "settings": {"adapt": "recording"}}
    found, code = talk(address, hello, [])
    assert code == 1008
    assert found[-1]["error"]["code"] == "bad_options"
    assert "hears no future" in found[-1]["error"]["message"]
