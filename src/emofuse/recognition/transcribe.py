"""Words where none are given: Whisper through transformers or faster-whisper."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from emofuse.errors import MissingExtraError, OptionError, nearest_hint
from emofuse.recognition.answer import Transcript, Word

__all__ = ["BACKENDS", "HEARING_RATE", "Transcriber", "at_hearing_rate", "join", "load_transcriber"]

FloatArray = NDArray[np.float32]
BACKENDS = ("auto", "transformers", "faster-whisper")
HEARING_RATE = 16_000  # hertz at which Whisper hears
LONGEST = 30.0  # seconds that Whisper hears at once
SEARCH = 5.0  # seconds before the end of a window in which the softest place is looked for


class Transcriber(Protocol):
    """Hears words.

    Attributes:
        name: of the model, for the answers.
    """

    name: str

    def transcribe(self, waveform: FloatArray, sample_rate: int) -> Transcript:
        """Write down ``(samples,)`` of speech, of any length; safe to call from many threads.

        Raises:
            EncoderError: the model cannot hear it.
        """


def load_transcriber(
    name: str, backend: str = "auto", *, device: str = "cpu", language: str | None = None
) -> Transcriber:
    """Load a recogniser of speech.

    Args:
        name: a local folder or a hub name; of faster-whisper also a size such as ``base``.
        backend: ``transformers`` reads Hugging Face folders; ``faster-whisper`` (extra ``asr``)
            reads CTranslate2 folders; ``auto`` looks at the folder, and takes transformers for what
            is none.
        device: where it runs.
        language: code of what is spoken, where a multilingual model shall not find out.

    Raises:
        OptionError: no such backend.
        EncoderError: the model cannot be had.
        MissingExtraError: faster-whisper is not installed.
    """
    if backend not in BACKENDS:
        raise OptionError(f"unknown backend {backend!r}; {nearest_hint(backend, BACKENDS)}")
    folder = Path(name).expanduser()
    if backend == "auto":
        other = (folder / "model.bin").is_file() and not any(folder.glob("*.safetensors"))
        backend = "faster-whisper" if other else "transformers"
    if backend == "faster-whisper":
        if find_spec("faster_whisper") is None:
            raise MissingExtraError("faster-whisper", "asr")
        from emofuse.recognition.transcribe_faster import FasterWhisper

        return FasterWhisper(name, device, language)
    from emofuse.recognition.transcribe_whisper import Whisper

    return Whisper(name, device, language)


def at_hearing_rate(waveform: FloatArray, sample_rate: int) -> FloatArray:
    """Resample to what Whisper hears."""
    if sample_rate == HEARING_RATE:
        return np.asarray(waveform, np.float32)
    return np.asarray(soxr.resample(waveform, sample_rate, HEARING_RATE, "HQ"), np.float32)


def split_at_pauses(waveform: FloatArray, longest: float = LONGEST) -> list[tuple[int, int]]:
    """Cut a clip into parts of at most ``longest`` seconds, each at its softest place near the end.

    >>> split_at_pauses(np.zeros(16000, np.float32))
    [(0, 16000)]
    """
    parts: list[tuple[int, int]] = []
    start, size = 0, round(longest * HEARING_RATE)
    step = HEARING_RATE // 10
    while len(waveform) - start > size:
        low = start + size - round(SEARCH * HEARING_RATE)
        frames = waveform[low : start + size]
        frames = frames[: len(frames) // step * step].reshape(-1, step)
        softest = int(np.argmin(np.square(frames, dtype=np.float64).sum(axis=1)))
        cut = low + softest * step + step // 2
        parts.append((start, cut))
        start = cut
    return [*parts, (start, len(waveform))]


def join(parts: list[Transcript], starts: list[float], model: str) -> Transcript:
    """Join the transcripts of parts that begin at ``starts`` seconds."""
    words: list[Word] = []
    for part, start in zip(parts, starts, strict=True):
        words += [
            word.model_copy(update={"start": word.start + start, "end": word.end + start})
            for word in part.words
        ]
    mean = sum(word.confidence for word in words) / len(words) if words else 1.0
    languages = [part.language for part in parts if part.language]
    return Transcript(
        text=" ".join(part.text for part in parts if part.text),
        words=tuple(words),
        language=max(languages, key=languages.count) if languages else None,
        confidence=mean,
        model=model,
    )
