"""``predict --timeline`` and ``listen``, through the command line and with a fake microphone."""

from __future__ import annotations

import io
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.calls import call_emofuse
from tests.timeline.conftest import RATE, make_bundle, recording

from emofuse.recognition.recognizer import Recognizer
from emofuse.recognition.sources import file_chunks, microphone_chunks, raw_chunks
from emofuse.recognition.timeline import TimelineOptions


@pytest.fixture
def call(tmp_path, monkeypatch, capfd):
    """Call ``emofuse WORDS...`` in an empty folder: status, output, errors."""
    make_bundle(tmp_path / "run" / "bundle", "audio")
    wave = recording((0.7, 2.2), (1.0, 4.5))
    soundfile.write(tmp_path / "call.wav", np.stack([wave, wave[::-1]], 1), RATE)
    soundfile.write(tmp_path / "mono.wav", wave, RATE)
    monkeypatch.chdir(tmp_path)

    def run(*words, stdin=b""):
        return call_emofuse(capfd, *words, "-m", "run", stdin=stdin)

    return run


def test_timeline_formats_and_files(call, tmp_path):
    status, out, _ = call("predict", "mono.wav", "--timeline")
    whole = json.loads(out)
    library = Recognizer.load("run").timeline("mono.wav", TimelineOptions(delay=30.0))
    assert status == 0
    assert whole == library.model_dump(mode="json")
    assert len(whole["segments"]) >= 2
    assert (
        call("predict", "-", "--timeline", "--format", "srt", stdin=Path("mono.wav").read_bytes())[
            1
        ]
        == (call("predict", "mono.wav", "--timeline", "--format", "srt")[1])
    )
    status, out, err = call("predict", "mono.wav", "--timeline", "--format", "html", "-o", "t.html")
    assert (status, out) == (0, "")
    assert "segments in t.html" in err
    assert "<!doctype html>" in (tmp_path / "t.html").read_text()


def test_each_channel_is_a_speaker(call):
    out = call("predict", "call.wav", "--timeline", "--channels", "each")[1]
    speakers = {one["speaker"] for one in json.loads(out)["segments"]}
    assert speakers == {"channel0", "channel1"}
    out = call("predict", "call.wav", "--channels", "each", "--json")[1]
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["call.wav#0", "call.wav#1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("predict", "mono.wav", "call.wav", "--timeline"), "of one recording, not of 2"),
        (("predict", "mono.wav", "--timeline", "--format", "sr"), "unknown timeline format 'sr'"),
        (("predict", "mono.wav", "--timeline", "--set", "hopp=1"), "unknown key 'hopp'"),
        (("predict", "mono.wav", "--timeline", "--text", "hi"), "leave the text out"),
        (("predict", "mono.wav", "--channels", "left"), "channels 'left' is not legal"),
        (("predict", "mono.wav", "-o", "x"), "go with --timeline"),
        (("predict", "mono.wav", "--language", "en"), "go with --transcribe"),
        (("predict", "gone.wav", "--timeline"), "gone.wav is missing"),
        (("predict", "mono.wav", "--transcribe", "./no/such"), "no transcripts from './no/such'"),
        (("listen", "--from", "gone.wav"), "gone.wav is missing"),
        (("listen", "--from", "-", "--rate", "1"), "rate 1 Hz is not legal"),
    ],
)
def test_mistakes_are_one_line(call, words, message):
    status, _, err = call(*words)
    assert status in (1, 2)
    assert message in err
    assert err.strip().count("\n") <= 1


def test_listen_to_a_file_and_to_raw_samples(call):
    status, out, err = call("listen", "--from", "mono.wav", "--fast", "--json", "--delay", "2")
    assert status == 0
    assert "s heard" in err
    heard = [json.loads(line) for line in out.splitlines()]
    options = TimelineOptions(delay=2.0)
    found = Recognizer.load("run").timeline("mono.wav", options).model_dump(mode="json")
    assert heard == found["segments"]
    samples = soundfile.read("mono.wav", dtype="int16")[0].astype("<i2").tobytes()
    raw = call("listen", "--from", "-", "--json", "--delay", "2", stdin=samples)[1]
    assert raw == out
    short = call("listen", "--from", "-", "--seconds", "3", stdin=samples)
    assert "3.0 s heard" in short[2]


def test_a_file_at_its_own_pace(call):
    waits = []
    rate, chunks = file_chunks(Path("mono.wav"), sleep=waits.append)
    length = sum(len(chunk) for chunk in chunks)
    assert sum(waits) == pytest.approx(length / rate)
    assert max(waits) <= 0.1


def test_odd_bytes_of_raw_samples():
    class Dribble(io.BytesIO):
        def read1(self, size=-1):
            return self.read(min(size, 3))

    data = np.arange(-50, 50, dtype="<i2").tobytes()
    found = np.concatenate(list(raw_chunks(Dribble(data + b"x"), RATE)))
    np.testing.assert_array_equal(found, np.arange(-50, 50))


def test_a_fake_microphone(monkeypatch):
    class Stream:
        def __init__(self, *, samplerate, channels, callback, blocksize, **rest):
            assert (samplerate, channels) == (RATE, 1)
            self.callback, self.size = callback, blocksize

        def __enter__(self):
            for n in range(3):
                self.callback(np.full((self.size, 1), n, np.float32), self.size, None, None)
            return self

        def __exit__(self, *rest):
            return None

    fake = types.SimpleNamespace(InputStream=Stream, PortAudioError=RuntimeError)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    chunks = microphone_chunks(RATE)
    assert [float(next(chunks)[0, 0]) for _ in range(3)] == [0.0, 1.0, 2.0]
    chunks.close()


def test_no_microphone(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    status, _, err = call("listen")
    assert status == 2
    assert "pip install 'emofuse[microphone]'" in err
