"""Real weights and real speech in bf16 and in lanes: how far answers are from the recogniser's."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from httpx2 import get, post
from tests.export.conftest import write_drawn

from emofuse.recognition.recognizer import Recognizer

ASSETS = Path(os.environ.get("EMOFUSE_ASSETS", "/nowhere"))
WHISPER, SPOKEN = ASSETS / "models" / "whisper-tiny.en", ASSETS / "data" / "emodb" / "wav"
pytestmark = pytest.mark.skipif(
    not (WHISPER.is_dir() and SPOKEN.is_dir()), reason="EMOFUSE_ASSETS has no Whisper or no EmoDB"
)


@pytest.mark.parametrize(
    ("precision", "own", "exact"), [("fp32", 1e-4, 1e-4), ("bf16", 0.02, 0.05)]
)
def test_answers_are_within_the_tolerance(serve, tmp_path, precision, own, exact):
    """``own``: from the recogniser of the same precision; ``exact``: from that of fp32."""
    encoders = {"audio": f"{WHISPER}:layer=mean,pooling=mean+std"}
    bundle = write_drawn(tmp_path / "bundle", encoders, "linear")
    clips = [file.read_bytes() for file in sorted(SPOKEN.glob("*.wav"))[::67]]
    served = Recognizer.load(bundle, precision=precision, lanes=2)
    with serve(served) as (_, address), ThreadPoolExecutor(8) as pool:

        def ask(clip: bytes) -> dict:
            form = {"file": ("a", clip)}
            return post(f"{address}/v1/recognize", files=form, timeout=120).json()

        found = [one["probabilities"] for one in pool.map(ask, clips)]
        (card,) = get(f"{address}/v1/models").json()["models"]
        assert card["precision"] == precision
    for way, bound in ((served, own), (Recognizer.load(bundle), exact)):
        for answer, clip in zip(found, clips, strict=True):
            assert answer == pytest.approx(way.recognise(clip).probabilities, abs=bound)
