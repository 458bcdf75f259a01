"""Adaptation through the service: recordings, and a stream that hears no future."""

from __future__ import annotations

import base64
import importlib.util
from dataclasses import replace

import numpy as np
import pytest
from tests.timeline.conftest import RATE, make_bundle, recording

from emofuse.errors import OptionError
from emofuse.recognition.inputs import find_queries
from emofuse.recognition.recognizer import Recognizer
from emofuse.recognition.timeline import TimelineOptions

if importlib.util.find_spec("fastapi") is None:
    pytest.skip("the extra server is not installed", allow_module_level=True)

import httpx
from tests.server.conftest import served, wav
from tests.server.test_stream import END, talk

from emofuse.server.client import Client


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


def test_items_of_a_request_are_adapted_to_their_speakers(address, recognizer, clips):
    paths = sorted(clips.rglob("*.wav"))
    queries = [replace(one, speaker=one.audio.parent.name) for one in find_queries([str(clips)])]
    expected = recognizer.recognise_many(queries, adapt=True)
    plain = recognizer.recognise_many(queries)
    speakers = [None if path.parent.name == "carl" else path.parent.name for path in paths]
    with Client(address) as client:
        found = client.recognise_many(paths, speakers=speakers)
        with pytest.raises(OptionError, match="1 speakers for 9"):
            client.recognise_many(paths, speakers=["x"])
    for one, adapted, off in zip(found, expected, plain, strict=True):
        other = off if one.adapted is None else adapted
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)
    assert [one.adapted and one.adapted.utterances for one in found] == [5.0] * 5 + [3.0] * 3 + [
        None
    ]


def test_a_bad_item_of_a_speaker_is_told_and_the_rest_answered(address, clips):
    good = base64.b64encode((clips / "anna" / "0.wav").read_bytes()).decode()
    items = [
        {"audio": good, "speaker": "a", "id": "good"},
        {"audio": base64.b64encode(b"no sound").decode(), "speaker": "a", "id": "bad"},
        {"audio": good, "speaker": "a"},
    ]
    answer = httpx.post(f"{address}/v1/recognize/batch", json={"items": items}, timeout=60)
    assert answer.status_code == 200
    one, bad, other = answer.json()["answers"]
    assert bad["id"] == "bad"
    assert bad["error"]
    assert one["adapted"]["utterances"] == other["adapted"]["utterances"] == 2.0
    files = [("file", ("x.wav", (clips / "anna" / "0.wav").read_bytes()))] * 2
    form = {"speaker": ["a", "b"]}
    answer = httpx.post(f"{address}/v1/recognize/batch", files=files, data=form, timeout=60)
    assert [one["adapted"]["speaker"] for one in answer.json()["answers"]] == ["a", "b"]


def test_a_model_that_cannot_be_adapted_says_so(tmp_path):
    older = Recognizer.load(make_bundle(tmp_path / "older", "audio"))
    item = {"audio": base64.b64encode(wav(np.zeros(16_000, np.int16))).decode(), "speaker": "a"}
    with served(older) as (_, place):
        answer = httpx.post(f"{place}/v1/recognize/batch", json={"items": [item]}, timeout=60)
    assert answer.status_code == 422
    assert "train it again" in answer.json()["error"]["message"]


def test_a_stream_that_should_hear_the_future_is_refused(address):
    hello = {"rate": RATE, "settings": {"adapt": "recording"}}
    found, code = talk(address, hello, [])
    assert code == 1008
    assert found[-1]["error"]["code"] == "bad_options"
    assert "hears no future" in found[-1]["error"]["message"]
