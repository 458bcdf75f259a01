"""The WebSocket: the segments of the file, every mistake answered, nothing left behind."""

from __future__ import annotations

import json

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from emofuse.recognition.timeline import TimelineOptions


def talk(address: str, hello, chunks=(), **options):
    """Say hello, send chunks, give what came back and the code of the end."""
    place = address.replace("http", "ws", 1) + "/v1/stream"
    found = []
    with connect(place, **options) as line:
        line.send(hello if isinstance(hello, str | bytes) else json.dumps(hello))
        try:
            for chunk in chunks:
                line.send(chunk)
        except ConnectionClosed:
            pass
        try:
            while True:
                found.append(json.loads(line.recv(timeout=60)))
        except ConnectionClosed:
            pass
        return found, line.close_code


END = '{"type": "end"}'


@pytest.mark.parametrize("size", [160, 1600, 33_333])
@pytest.mark.parametrize(("encoding", "channels"), [("pcm16", 1), ("pcm16", 2), ("float32", 1)])
def test_a_stream_gives_the_segments_of_the_file(
    address, recognizer, voices, size, encoding, channels
):
    wave = np.round(voices["long"] * 32767).astype("<i2")
    options = TimelineOptions(delay=0.5)
    expected = recognizer.timeline((wave, 16_000), options).segments
    sent = wave if encoding == "pcm16" else (wave / 32768).astype("<f4")
    sent = np.repeat(sent[:, None], channels, 1)
    chunks = [sent[n : n + size].tobytes() for n in range(0, len(sent), size)]
    hello = {"rate": 16_000, "channels": channels, "encoding": encoding}
    found, code = talk(address, hello, [*chunks, END])
    assert code == 1000
    assert found[0]["type"] == "ready"
    segments = [one["segment"] for one in found if one["type"] == "segment"]
    assert [(one["start"], one["end"], one["emotion"]) for one in segments] == [
        (one.start, one.end, one.emotion) for one in expected
    ]
    for one, other in zip(segments, expected, strict=True):
        assert one["probabilities"] == pytest.approx(other.probabilities, abs=1e-4)
    assert found[-1]["type"] == "final"
    assert found[-1]["seconds"] == pytest.approx(len(wave) / 16_000)
    assert found[-1]["segments"] == len(expected)


@pytest.mark.parametrize(
    ("hello", "chunks", "code"),
    [
        ("{", [], "bad_request"),
        (b"\0\0", [], "bad_options"),
        ("[]", [], "bad_options"),
        ({"rate": 1}, [], "bad_options"),
        ({"rat": 16_000}, [], "bad_options"),
        ({"rate": 16_000, "settings": {"silero_file": "x"}}, [], "bad_options"),
        ({"rate": 16_000, "settings": {"channels": "each"}}, [], "bad_options"),
        ({"rate": 16_000}, [b"\0"], "bad_audio"),
        ({"rate": 16_000, "encoding": "float32"}, [b"\0\0\xc0\x7f"], "bad_audio"),
        ({"rate": 16_000}, ["hello?"], "bad_options"),
        ({"rate": 16_000}, ['{"type": "stop"}'], "bad_options"),
    ],
)
def test_a_mistake_ends_a_stream_with_its_reason(address, hello, chunks, code):
    found, _ = talk(address, hello, chunks)
    assert found[-1]["type"] == "error"
    assert found[-1]["error"]["code"] == code


def test_streams_are_counted_and_given_back(serve):
    with serve(streams=1) as (service, address):
        place = address.replace("http", "ws", 1) + "/v1/stream"
        with connect(place) as line:
            line.send('{"rate": 16000}')
            assert json.loads(line.recv(timeout=60))["type"] == "ready"
            found, code = talk(address, {"rate": 16_000})
            assert (found[-1]["error"]["code"], code) == ("busy", 1013)
        while service.streams.taken:
            pass
        found, code = talk(address, {"rate": 16_000}, [END])
        assert (found[-1]["type"], code) == ("final", 1000)


def test_a_silent_stream_and_a_long_one_are_ended(serve):
    with serve(idle_seconds=0.2, stream_seconds=1.0) as (_, address):
        found, code = talk(address, {"rate": 16_000})
        assert (found[-1]["reason"], code) == ("idle", 1000)
        found, code = talk(address, {"rate": 16_000}, [bytes(8000)] * 6)
        assert (found[-1]["reason"], code) == ("limit", 1000)


def test_keys_and_origins_of_streams(serve):
    key = "a-key-of-more-than-sixteen"
    with serve(keys=(key,)) as (_, address):
        assert talk(address, {"rate": 16_000})[0][-1]["error"]["code"] == "unauthorised"
        assert talk(address, {"rate": 16_000, "key": key}, [END])[0][-1]["type"] == "final"
        headers = {"additional_headers": {"x-api-key": key}}
        assert talk(address, {"rate": 16_000}, [END], **headers)[0][-1]["type"] == "final"
        with pytest.raises(InvalidStatus, match="403"):
            talk(address, {"rate": 16_000, "key": key}, origin="https://evil.example")


def test_a_message_that_is_too_large_ends_the_stream(address):
    _, code = talk(address, {"rate": 16_000}, [bytes(2 << 20)])
    assert code == 1009
