"""Two hundred malformed uploads and a fuzzed stream: nothing crashes, hangs or stays behind."""

from __future__ import annotations

import io
import json
import os
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from httpx2 import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from emofuse.recognition.recognizer import Recognizer

UPLOADS = 200
CALM = (200, 400, 408, 413, 415, 422)


def flac_claiming(flac: bytes, samples: int) -> bytes:
    place = 18
    head = int.from_bytes(flac[place : place + 8], "big")
    changed = (head & ~((1 << 36) - 1)) | samples
    return flac[:place] + changed.to_bytes(8, "big") + flac[place + 8 :]


def hostile(as_wav, clip: bytes) -> list[tuple[str, bytes]]:
    """Make the uploads: every family by itself, then mutations drawn from a seed."""
    draw = np.random.default_rng(7)
    silence = as_wav(np.zeros(16_000 * 300), form="FLAC")  # five minutes in a few kilobytes
    nan = as_wav(np.array([0.0, np.nan, np.inf] * 500), subtype="FLOAT")
    found = [
        ("empty", b""),
        ("text", b"not a sound" * 100),
        ("script", b"#EXTM3U\nfile:///etc/passwd\n"),
        ("list", b"ffconcat version 1.0\nfile /etc/passwd\n"),
        ("pointer", b"version https://git-lfs.github.com/spec/v1\n"),
        ("pickle", b"\x80\x04\x95" + bytes(100)),
        ("nan", nan),
        ("silence", silence),
    ]
    for samples in (0, 1, 16_000 * 86_400, (1 << 36) - 1):
        found.append((f"flac claiming {samples}", flac_claiming(silence, samples)))
        found.append((f"torn flac claiming {samples}", flac_claiming(silence, samples)[:300]))
    for size in (16_000 * 2 * 86_400, 0xFFFFFFFF, 0, 1, 0x7FFFFFFF):
        wav = bytearray(clip)
        wav[40:44] = struct.pack("<I", size & 0xFFFFFFFF)
        found.append((f"wav of {size} bytes", bytes(wav)))
    for place, value in (
        (20, 0x55),
        (20, 0xFFFF),
        (22, 0),
        (22, 65535),
        (32, 0),
        (34, 1),
        (34, 999),
    ):
        wav = bytearray(clip)
        wav[place : place + 2] = struct.pack("<H", value)
        found.append((f"wav with {value} at {place}", bytes(wav)))
    kinds = {
        "wav": clip,
        "flac": as_wav(draw.normal(0, 0.1, 8000), form="FLAC"),
        "ogg": as_wav(draw.normal(0, 0.1, 8000), 16_000, "OGG", "VORBIS"),
        "mp3": as_wav(draw.normal(0, 0.1, 8000), 16_000, "MP3", "MPEG_LAYER_III"),
        "aiff": as_wav(draw.normal(0, 0.1, 8000), form="AIFF"),
    }
    while len(found) < UPLOADS:
        name = list(kinds)[len(found) % len(kinds)]
        data = bytearray(kinds[name])
        if len(found) % 3 == 0:
            data = data[: draw.integers(1, len(data))]
        else:
            reach = len(data) if len(found) % 3 == 1 else min(len(data), 120)
            for place in draw.integers(0, reach, 1 + len(found) % 40):
                data[place] = draw.integers(0, 256)
        found.append((f"broken {name} {len(found)}", bytes(data)))
    return found


def left_behind() -> set[str]:
    return {one.name for one in Path(tempfile.gettempdir()).iterdir()}


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (links that may be gone)


def test_two_hundred_malformed_uploads(serve, bundle, as_wav, clip, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    uploads = hostile(as_wav, clip)
    assert len(uploads) == UPLOADS
    model = Recognizer.load(bundle, lanes=2)
    with serve(model, time_limit=30, max_seconds=60, timeline_seconds=60) as (service, address):
        with Client(base_url=address, timeout=60) as http:
            before = open_files()
            statuses = {}
            for number, (name, data) in enumerate(uploads):
                place = "/v1/timeline" if number % 4 == 3 else "/v1/recognize"
                each = {"channels": "each"} if number % 4 == 1 else None
                answer = http.post(place, files={"file": ("a", data)}, data=each)
                statuses[name] = answer.status_code
                assert answer.status_code in CALM, (name, answer.text)
                assert str(tmp_path) not in answer.text
                assert "root:" not in answer.text
                if answer.status_code == 200:
                    json.loads(answer.text, parse_constant=pytest.fail)
            assert http.post("/v1/recognize", files={"file": ("a", clip)}).status_code == 200
            assert open_files() <= before + 2
        assert service.queue.taken == service.held.taken == service.recordings.taken == 0
        assert service.batcher.alive
    assert left_behind() == set()
    assert sum(status == 200 for status in statuses.values()) < UPLOADS / 2
    assert statuses["nan"] == statuses["empty"] == statuses["text"] == 422
    assert statuses["silence"] == 413
    assert statuses[f"flac claiming {16_000 * 86_400}"] == 413


def test_torn_forms_and_bodies(crowded, clip):
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    whole = head + clip + b"\r\n--x--\r\n"
    form = {"content-type": "multipart/form-data; boundary=x"}
    draw = np.random.default_rng(3)
    with Client(base_url=crowded, timeout=60) as http:
        for number in range(60):
            data = bytearray(whole)
            if number % 2:
                data = data[: draw.integers(0, len(data))]
            else:
                for place in draw.integers(0, len(head), 3):
                    data[place] = draw.integers(0, 256)
            answer = http.post("/v1/recognize", content=bytes(data), headers=form)
            assert answer.status_code in CALM, bytes(data[:120])


MESSAGES = st.one_of(
    st.binary(max_size=4000),
    st.binary(max_size=500).map(lambda data: data + bytes(len(data) % 2)),
    st.text(max_size=60),
    st.sampled_from(['{"type": "end"}', '{"type": "stop"}', "null", "{}", "[[[["]),
)
HELLOS = st.one_of(
    st.fixed_dictionaries(
        {"rate": st.sampled_from([4000, 16_000, 44_100, 768_000])},
        optional={
            "channels": st.integers(1, 8),
            "encoding": st.sampled_from(["pcm16", "float32"]),
            "settings": st.dictionaries(
                st.sampled_from(["window", "hop", "delay", "smoothing", "x"]),
                st.one_of(st.floats(), st.text(max_size=5), st.none()),
                max_size=2,
            ),
        },
    ).map(json.dumps),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    ).map(json.dumps),
    st.text(max_size=40),
    st.binary(max_size=40),
)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(hello=HELLOS, messages=st.lists(MESSAGES, max_size=6), polite=st.booleans())
def test_a_fuzzed_stream_ends_with_a_reason(crowded, hello, messages, polite):
    with connect(crowded.replace("http", "ws", 1) + "/v1/stream", close_timeout=20) as line:
        try:
            for message in [hello, *messages, *(['{"type": "end"}'] if polite else [])]:
                line.send(message)
            if not polite and not messages:
                return  # gone without a word
            line.send("stop here")  # what is no message of the protocol ends the stream at last
        except ConnectionClosed:
            pass
        kinds = []
        try:
            while True:
                kinds.append(json.loads(line.recv(timeout=60))["type"])
        except ConnectionClosed:
            pass
    assert kinds[-1] in ("final", "error")
    assert set(kinds) <= {"ready", "segment", "heard", "final", "error"}
    assert line.close_code in (1000, 1007, 1008, 1013)


def test_after_the_fuzzing_all_is_as_before(serve, clip):
    """Streams that break off at any moment give their place back."""
    with serve(streams=2) as (service, address):
        for count in range(12):
            with connect(address.replace("http", "ws", 1) + "/v1/stream") as line:
                line.send('{"rate": 16000}')
                for _ in range(count % 4):
                    line.send(bytes(3200))
                line.socket.shutdown(2)
            while service.streams.taken > 1:
                pass
        while service.streams.taken:
            pass
        with Client(base_url=address) as http:
            assert http.post("/v1/recognize", files={"file": ("a", clip)}).status_code == 200


def test_a_flac_bomb_is_cut_off_while_it_is_decoded(serve, as_wav, monkeypatch):
    """A header that claims a second before an hour of silence costs no more than the limit."""
    import soundfile

    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 16_000, 1, format="FLAC", subtype="PCM_16") as file:
        for _ in range(60):
            file.write(np.zeros(60 * 16_000, np.int16))
    bomb = flac_claiming(buffer.getvalue(), 0)
    assert len(bomb) < 1 << 20
    kept: list[int] = []
    from emofuse.server import sound

    plain = sound._mono
    monkeypatch.setattr(sound, "_mono", lambda block: kept.append(len(block)) or plain(block))
    with serve(max_seconds=10) as (_, address), Client(base_url=address) as http:
        answer = http.post("/v1/recognize", files={"file": ("a", bomb)})
        assert answer.status_code == 413
    assert sum(kept) <= 10 * 16_000
