"""Silero's voice activity detector through ONNX Runtime (extra ``silero``); MIT weights.

The package ``silero-vad`` is never imported (it brings torchaudio along); its weights are read.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse.errors import MediaError, MissingExtraError, OptionError
from emofuse.media.audio import FloatArray

__all__ = ["SileroDetector", "find_silero"]

SAMPLES, CONTEXT = (
    512,
    64,
)  # of a frame, and of the frame before it that the network sees, at 16 kHz
RATE = 16_000
ON, OFF = 0.5, 0.35  # probability from which speech begins, and under which it ends
NAME = "silero_vad.onnx"

Mask = NDArray[np.bool_]


def find_silero(file: Path | None = None) -> Path:
    """Find the weights: the file given, or the one in the package ``silero-vad``.

    Raises:
        MediaError: the file given is missing.
        MissingExtraError: none was given and the package is not installed.
    """
    if file is not None:
        if not file.is_file():
            raise MediaError(f"{file} is missing; give the file {NAME}")
        return file
    package = find_spec("silero_vad")  # finds, does not import
    for place in (package.submodule_search_locations or ()) if package else ():
        found = Path(place) / "data" / NAME
        if found.is_file():
            return found
    raise MissingExtraError("silero-vad", "silero")


class SileroDetector:
    """Says every 32 ms whether somebody speaks.

    Args:
        rate: hertz; must be 16000.
        file: the weights; see `find_silero`.

    Raises:
        OptionError: another rate.
        MediaError: the file is no such network.
        MissingExtraError: ONNX Runtime or the weights are not installed.
    """

    hop = SAMPLES / RATE

    def __init__(self, rate: int, file: Path | None = None) -> None:
        if rate != RATE:
            raise OptionError(f"detector 'silero' hears {RATE} Hz, the model {rate}; take 'energy'")
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("onnxruntime", "silero") from error
        path = find_silero(file)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        settings.log_severity_level = 4
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), settings, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise MediaError(f"{path} is no network that ONNX Runtime reads: {error}") from error
        names = {one.name for one in self._session.get_inputs()}
        if names != {"input", "state", "sr"}:
            raise MediaError(f"{path} is not Silero's detector, version 5 or 6 (inputs {names})")
        self._state = np.zeros((2, 1, 128), np.float32)
        self._context = np.zeros(CONTEXT, np.float32)
        self._rest = np.zeros(0, np.float32)
        self._speaking = False

    def feed(self, samples: FloatArray) -> Mask:
        """Take ``(samples,)``; give the frames that are whole by now."""
        wave = np.concatenate([self._rest, np.asarray(samples, np.float32)])
        count = len(wave) // SAMPLES
        self._rest = wave[count * SAMPLES :]
        return np.array(
            [self._decide(wave[n * SAMPLES : (n + 1) * SAMPLES]) for n in range(count)], np.bool_
        )

    def finish(self) -> Mask:
        """Judge what is left, filled up with zeros."""
        if not len(self._rest):
            return np.zeros(0, np.bool_)
        frame = np.pad(self._rest, (0, SAMPLES - len(self._rest)))
        self._rest = np.zeros(0, np.float32)
        return np.array([self._decide(frame)], np.bool_)

    def _decide(self, frame: FloatArray) -> bool:
        given = {
            "input": np.concatenate([self._context, frame])[None],
            "state": self._state,
            "sr": np.array(RATE, np.int64),
        }
        share, self._state = self._session.run(None, given)
        self._context = frame[-CONTEXT:]
        self._speaking = bool(float(share.reshape(-1)[0]) >= (OFF if self._speaking else ON))
        return self._speaking
