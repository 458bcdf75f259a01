"""``emofuse export`` from end to end: PyTorch and ONNX answer alike, and ONNX needs no PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from emofuse.cli.app import main
from emofuse.errors import BundleError, OptionError, WorkError
from emofuse.models.bundle import read_bundle
from emofuse.models.bundle_config import read_config
from emofuse.recognition.exporting import export as exporting
from emofuse.recognition.recognizer import Query, Recognizer
from emofuse.recognition.timeline import TimelineOptions
from tests.export.conftest import write_drawn

TEXT = "i am so happy"
BLOCKED = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "onnx", "onnxscript", "scipy"):
            raise ImportError(f"{name} is not to be had")
sys.meta_path.insert(0, Nothing())
"""


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory,
    checkpoint: Callable[[str], Path],
    voices: list[Path],
) -> tuple[Path, Path]:
    """A bundle over a Whisper and a BERT, and what the command makes of it."""
    home = tmp_path_factory.mktemp("export")
    encoders = {
        "audio": f"{checkpoint('whisper')}:layer=mean,pooling=mean+std",
        "text": str(checkpoint("bert")),
    }
    plain = write_drawn(home / "run" / "bundle", encoders, calibration=rules())
    words = ["export", home / "run", "-o", home / "onnx", "--utterances", "4"]
    status = call([*words, *(w for v in voices[:4] for w in ("--audio", v))])
    assert status == 0
    return plain, home / "onnx"


def rules() -> dict[str, object]:
    """Answer rules as training would have left them."""
    import numpy as np

    from emofuse.evaluation.rules import HeldOutItems, ScoreOptions, fit_rules

    rng = np.random.default_rng(0)
    labels = np.arange(80) % 4
    logits = 2.0 * np.eye(4)[labels] + rng.standard_normal((80, 4))
    names = [f"s{n % 8}" for n in range(80)]
    held = HeldOutItems(logits, labels, [None] * 80, names)
    found = fit_rules(held, ("anger", "happiness", "neutral", "sadness"), ScoreOptions(), "dev")
    return found.model_dump(mode="json")


def call(words: list[object]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["emofuse", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
    return int(caught.value.code or 0)
