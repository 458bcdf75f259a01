"""A real Whisper hears the words in the service: requests, streams and recordings."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from httpx2 import post
from tests.server.test_stream import END, talk

from emofuse.recognition.recognizer import Recognizer

ASSETS = Path(os.environ.get("EMOFUSE_ASSETS", "/nowhere"))
WHISPER = ASSETS / "models" / "whisper-tiny.en"
SPOKEN = ASSETS / "data" / "ravdess"
pytestmark = pytest.mark.skipif(
    not (WHISPER.is_dir() and SPOKEN.is_dir()), reason="EMOFUSE_ASSETS has no Whisper or no RAVDESS"
)


def test_the_words_are_heard_and_counted(serve, bundle):
    """RAVDESS' second sentence is "Dogs are sitting by the door"."""
    hearing = Recognizer.load(bundle, transcriber=str(WHISPER), lanes=2)
    file = next(iter(sorted(SPOKEN.rglob("03-01-01-01-02-01-01.*"))))
    expected = hearing.recognise(file)
    with serve(hearing) as (_, address):
        form = {"file": ("a", file.read_bytes())}
        found = post(f"{address}/v1/recognize", files=form, timeout=120).json()
        assert "dogs are sitting by the door" in found["transcript"]["text"].lower()
        assert found["modalities"] == ["audio", "text"]
        assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
        given = post(f"{address}/v1/recognize", files=form, data={"text": "no"}, timeout=120).json()
        assert given["transcript"] is None
        timeline = post(f"{address}/v1/timeline", files=form, timeout=120).json()
        assert timeline["transcriber"].endswith("whisper-tiny.en")
        heard = " ".join(one["text"] for one in timeline["segments"]).lower()
        assert "sitting by the door" in heard
        wave, rate = soundfile.read(file, dtype="int16", always_2d=True)
        hello = {"rate": rate, "channels": wave.shape[1]}
        told, code = talk(address, hello, [np.ascontiguousarray(wave[: rate * 5]).tobytes(), END])
        live = " ".join(m["segment"]["text"] for m in told if m["type"] == "segment").lower()
        assert (code, told[-1]["language"]) == (1000, "en")
        assert live == heard
