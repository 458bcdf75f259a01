"""Checks that all encoders share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emofuse.encoders.contract import EncoderSpec, FloatArray, Item
from emofuse.errors import EncoderError, OptionError, shorten
from emofuse.media.conditioning import condition
from emofuse.media.text import strip_annotations

__all__ = [
    "CutTexts",
    "heard_waveform",
    "refuse_options",
    "require_path",
    "require_text",
    "require_video",
    "require_waveform",
]

SPEECH_OPTIONS = ("trim", "level")
VIDEO_OPTIONS = ("crop", "every", "fps", "max_frames")


def refuse_options(
    spec: EncoderSpec,
    *keys: str,
    strides: bool = False,
    videos: bool = False,
    texts: bool = False,
    speech: bool = False,
) -> None:
    """Refuse options that an encoder does not have, instead of passing over them.

    Args:
        spec: what was asked for.
        keys: options that it does not have.
        strides: whether it can average successive frames.
        videos: whether it looks at video frames.
        texts: whether it reads texts.
        speech: whether it trims and levels what it hears.

    Raises:
        OptionError: one of ``keys`` is not at its default, or a stride that it does not have.
    """
    if strides and spec.granularity != "frames" and spec.stride != 1:
        raise OptionError(
            f"encoder {spec.name!r}: stride averages frames and needs granularity=frames"
        )
    lacking = [*keys, *(() if strides else ("stride",)), *(() if videos else VIDEO_OPTIONS)]
    lacking += () if speech else SPEECH_OPTIONS
    lacking += () if texts else ("strip_events",)
    for key in lacking:
        if getattr(spec, key) != EncoderSpec.model_fields[key].default:
            raise OptionError(
                f"encoder {spec.name!r} has no option {key!r} "
                f"(given: {shorten(getattr(spec, key))}); leave it out"
            )


def require_waveform(item: Item) -> FloatArray:
    """Give the waveform of an item.

    Raises:
        EncoderError: there is none, or it is empty, not one channel, or not finite.
    """
    wave = item.waveform
    if wave is None:
        raise EncoderError(f"{shorten(item.id)} has no waveform; an audio encoder needs one")
    if wave.ndim != 1 or not len(wave):
        raise EncoderError(
            f"{shorten(item.id)}: waveform of shape {wave.shape}; expected (samples,), not empty"
        )
    if not np.isfinite(wave).all():
        raise EncoderError(f"{shorten(item.id)}: the waveform holds NaN or infinity")
    return wave


def heard_waveform(item: Item, spec: EncoderSpec, rate: int) -> FloatArray:
    """Give the waveform of an item, trimmed and levelled as a spec says (see `condition`).

    Raises:
        EncoderError: as `require_waveform`.
    """
    wave = require_waveform(item)
    if spec.trim is None and spec.level is None:
        return wave
    return condition(wave, rate, trim=spec.trim, level=spec.level)


def require_text(item: Item, *, strip_events: bool = False) -> str:
    """Give the text of an item.

    Args:
        item: to be encoded.
        strip_events: without bracketed notes, unless there is nothing else.

    Raises:
        EncoderError: there is none, or it is blank.
    """
    if item.text is None or not item.text.strip():
        raise EncoderError(f"{shorten(item.id)} has no text; a text encoder needs some")
    return (strip_annotations(item.text) if strip_events else "") or item.text


def require_video(item: Item) -> Path | bytes:
    """Give the path of an item's video, or its bytes.

    Raises:
        EncoderError: there is none.
    """
    if item.video is None:
        raise EncoderError(f"{shorten(item.id)} has no video; a video encoder needs one")
    return item.video


def require_path(item: Item) -> Path:
    """Give the path of what stands in the place of an item's video.

    Raises:
        EncoderError: there is none.
    """
    found = require_video(item)
    if isinstance(found, bytes):
        raise EncoderError(f"{shorten(item.id)} is a video, not an array file")
    return found


class CutTexts:
    """Remembers which texts were cut at a model's length, until somebody asks."""

    def __init__(self) -> None:
        self._ids: list[str] = []

    def note(self, name: str) -> None:
        """One more."""
        self._ids.append(name)

    def take(self, longest: int) -> tuple[str, ...]:
        """Say which since the last call, in one line; nothing where there are none."""
        cut, self._ids = self._ids, []
        if not cut:
            return ()
        return (f"{len(cut)} texts were cut at {longest} tokens, {cut[0]!r} among them",)
