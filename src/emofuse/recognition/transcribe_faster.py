"""Whisper through faster-whisper and CTranslate2 (extra ``asr``)."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse.errors import EncoderError, MissingExtraError
from emofuse.recognition.answer import Transcript, Word
from emofuse.recognition.transcribe import at_hearing_rate

__all__ = ["FasterWhisper"]

FloatArray = NDArray[np.float32]


class FasterWhisper:
    """Hears words; it cuts what is over 30 s by itself.

    Args:
        name: folder of a CTranslate2 model, a size such as ``base``, or a hub name.
        device: ``cpu`` or ``cuda``.
        language: code of what is spoken; None = the model finds out.

    Raises:
        MissingExtraError: faster-whisper is not installed.
        EncoderError: the model cannot be had.
    """

    def __init__(self, name: str, device: str = "cpu", language: str | None = None) -> None:
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise MissingExtraError("faster-whisper", "asr") from error
        kind, _, number = device.partition(":")
        try:
            self._model: Any = WhisperModel(
                name,
                device=kind,
                device_index=int(number or 0),
                # the fastest that a processor has: "default" warns on standard error about float16
                compute_type="auto" if kind == "cpu" else "default",
            )
        except Exception as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise EncoderError(
                f"no transcripts from {name!r}: {reason}; give --transcribe the folder of a "
                "CTranslate2 model, or a size where the hub is reachable"
            ) from error
        self.name = f"faster-whisper {name}"
        self._language = language
        self._turn = threading.Lock()

    def transcribe(self, waveform: FloatArray, sample_rate: int) -> Transcript:
        """Write down what is said (see `Transcriber`)."""
        wave = at_hearing_rate(waveform, sample_rate)
        with self._turn:
            try:
                parts, info = self._model.transcribe(
                    wave,
                    language=self._language,
                    word_timestamps=True,
                    temperature=0.0,
                    condition_on_previous_text=False,
                )
                heard = [word for part in parts for word in (part.words or ())]
            except (RuntimeError, ValueError) as error:
                raise EncoderError(f"{self.name} cannot hear it: {error}") from error
        words = tuple(
            Word(
                start=max(float(word.start), 0.0),
                end=max(float(word.end), float(word.start), 0.0),
                text=word.word.strip(),
                confidence=min(max(float(word.probability), 0.0), 1.0),
            )
            for word in heard
            if word.word.strip()
        )
        return Transcript(
            text=" ".join(word.text for word in words),
            words=words,
            language=info.language,
            confidence=sum(w.confidence for w in words) / len(words) if words else 1.0,
            model=self.name,
        )
