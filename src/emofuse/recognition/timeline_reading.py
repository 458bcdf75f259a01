"""A recording of any length through streams, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emofuse.errors import MediaError
from emofuse.media.blocks import AudioBlocks, open_blocks
from emofuse.progress import Progress, ProgressEvent
from emofuse.recognition.adapting.patient import PatientStream
from emofuse.recognition.adapting.profile import VoiceProfile
from emofuse.recognition.adapting.voice import FEW, FEW_NOTE
from emofuse.recognition.loading import licence_line, model_line
from emofuse.recognition.query import Audio, Sound, checked_samples, path_id
from emofuse.recognition.reading import AnswerLoaded
from emofuse.recognition.stream import Stream
from emofuse.recognition.timeline import Segment, Timeline, TimelineOptions
from emofuse.recognition.turns import Turn

if TYPE_CHECKING:
    from emofuse.recognition.recognizer import Recognizer

__all__ = ["read_timeline"]

FloatArray = NDArray[np.float32]
MEMORY_BLOCK = 1 << 15


def read_timeline(
    recognizer: Recognizer,
    audio: Audio,
    options: TimelineOptions | None,
    progress: Progress,
    name: str | None,
    *,
    turns: Sequence[Turn] | None = None,
    voice: VoiceProfile | None = None,
    answer: AnswerLoaded | None = None,
) -> Timeline:
    """Do what `Recognizer.timeline` promises."""
    options = options or TimelineOptions()
    segments: list[Segment] = []
    frames = 0
    with _opened(audio) as source:
        each = options.channels == "each" and source.channels > 1
        count = source.channels if each else 1
        kind = PatientStream if options.adapt == "recording" else Stream
        streams = [
            kind(
                recognizer,
                source.sample_rate,
                options,
                n if each else None,
                turns=turns,
                voice=voice,
                answer=answer,
            )
            for n in range(count)
        ]
        for block in source.blocks:
            frames += len(block)
            for number, stream in enumerate(streams):
                segments += stream.feed(block[:, number] if each else block)
            done = int(frames / source.sample_rate)
            total = None if source.seconds is None else int(source.seconds)
            progress(ProgressEvent("timeline", done, total, "seconds"))
        for stream in streams:
            segments += stream.finish()
        rate = source.sample_rate
    if not frames:
        raise MediaError(f"{name or _name(audio)} holds no audio")
    segments.sort(key=lambda one: (one.start, one.channel or 0))
    notes = [] if segments else ["no speech was found"]
    notes += _remarks(segments)
    if answer is None:  # else the encoders may have warned of what others asked
        notes += recognizer.take_warnings()
    return Timeline(
        id=name or _name(audio),
        seconds=frames / rate,
        classes=recognizer.classes,
        segments=tuple(_spoken(one) for one in segments),
        options=options,
        calibrated=recognizer.scoring.calibrated,
        language=next((one.language for one in streams if one.language), None),
        transcriber=None if recognizer.transcriber is None else recognizer.transcriber.name,
        model=model_line(recognizer.config),
        licence=licence_line(recognizer.config),
        notes=tuple(notes),
    )


def _spoken(segment: Segment) -> Segment:
    """Take a channel that is heard by itself for one speaker."""
    if segment.channel is None:
        return segment
    return segment.model_copy(update={"speaker": f"channel{segment.channel}"})


def _remarks(segments: Sequence[Segment]) -> list[str]:
    """Say whose voice little was heard of in the end."""
    last = {one.adapted.speaker: one.adapted for one in segments if one.adapted is not None}
    few = [name for name, one in last.items() if one.utterances < FEW]
    return [f"{FEW_NOTE} ({', '.join(few)})"] if few else []


@contextmanager
def _opened(audio: Audio) -> Iterator[AudioBlocks]:
    if isinstance(audio, tuple):
        audio = Sound(np.asarray(audio[0]), int(audio[1]))
    if isinstance(audio, Sound):
        samples = checked_samples(audio)
        rate = audio.sample_rate
        blocks = (samples[n : n + MEMORY_BLOCK] for n in range(0, len(samples), MEMORY_BLOCK))
        yield AudioBlocks(rate, samples.shape[1], len(samples) / rate, blocks)
        return
    source = Path(audio) if isinstance(audio, str) else audio
    with open_blocks(source) as found:
        yield found


def _name(audio: Audio) -> str:
    return path_id(Path(audio)) if isinstance(audio, str | Path) else "recording"
