"""From a style to the steps of one item: every range becomes a number."""

from __future__ import annotations

import numpy as np

from emofuse.augment.draw import (
    Band,
    Codec,
    Echo,
    Gain,
    Noise,
    Pitch,
    Reverb,
    Speed,
    Step,
    Stretch,
    Telephone,
)
from emofuse.augment.sources import Sources
from emofuse.augment.styles import Style

__all__ = ["BIGGEST_SEED", "draw_steps"]

BIGGEST_SEED = 1 << 32
MP3_KBITS = (8.0, 16.0, 24.0, 32.0, 40.0, 48.0, 56.0, 64.0, 80.0, 96.0, 112.0, 128.0, 144.0, 160.0)


def draw_steps(style: Style, random: np.random.Generator, sources: Sources) -> list[Step]:
    """Draw what a style does to one item.

    Args:
        style: the ranges.
        random: where the draws come from.
        sources: folders of noises and of impulse responses.

    Raises:
        MediaError: a folder holds no audio.
    """
    found: list[Step] = []
    if style.stretch is not None:
        found.append(Stretch(rate=random.uniform(*style.stretch)))
    if style.pitch is not None:
        found.append(Pitch(semitones=random.uniform(*style.pitch)))
    if style.speed is not None:
        found.append(Speed(rate=random.uniform(*style.speed)))
    if style.reverb is not None:
        found.append(_reverb(style.reverb, random, sources))
    if style.noise:
        found.append(_noise(style, random, sources))
    if style.band is not None:
        found.append(Band(low=style.band[0], high=style.band[1], gain=style.band[2]))
    if style.echo is not None:
        found.append(Echo(seconds=style.echo[0], gain=style.echo[1]))
    if style.gain is not None:
        found.append(Gain(decibels=random.uniform(*style.gain)))
    return found + _channel(style, random)


def _channel(style: Style, random: np.random.Generator) -> list[Step]:
    """Draw what the speech is sent through."""
    found: list[Step] = []
    if style.telephone:
        found.append(Telephone(law=style.telephone[int(random.integers(len(style.telephone)))]))
    if style.codec:
        found.append(_codec(style, random))
    return found


def _codec(style: Style, random: np.random.Generator) -> Codec:
    name = style.codec[int(random.integers(len(style.codec)))]
    kbits = random.uniform(*style.kbits)
    if name == "mp3":
        kbits = min(MP3_KBITS, key=lambda one: abs(one - kbits))
    return Codec(name=name, kbits=kbits)


def _reverb(span: tuple[float, float], random: np.random.Generator, sources: Sources) -> Reverb:
    seed, rt60 = int(random.integers(BIGGEST_SEED)), random.uniform(*span)
    if not sources.has("responses"):
        return Reverb(rt60=rt60, seed=seed)
    name = sources.responses[seed % len(sources.responses)]
    return Reverb(file=name, sha256=sources.digest("responses", name))


def _noise(style: Style, random: np.random.Generator, sources: Sources) -> Noise:
    colour = style.noise[int(random.integers(len(style.noise)))]
    seed, offset = int(random.integers(BIGGEST_SEED)), float(random.random())
    ratio = random.uniform(*style.snr)
    strength = {"snr": ratio} if style.level is None else {"level": style.level}
    if colour == "environment" and sources.has("noise"):
        name = sources.noises[seed % len(sources.noises)]
        digest = sources.digest("noise", name)
        return Noise(colour="file", file=name, sha256=digest, offset=offset, **strength)
    plain = "babble" if colour == "environment" else colour
    return Noise(colour=plain, seed=seed, **strength)
