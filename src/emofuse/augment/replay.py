"""From a record to samples, bit for bit."""

from __future__ import annotations

import numpy as np

from emofuse.augment import channels, signals
from emofuse.augment.activity import active_power
from emofuse.augment.draw import (
    VERSION,
    Band,
    Clip,
    Codec,
    Draw,
    Echo,
    Gain,
    Noise,
    Pitch,
    Reverb,
    Speed,
    Step,
    Stretch,
    Telephone,
    Truncate,
    Voices,
)
from emofuse.augment.sources import Sources, looped
from emofuse.errors import MediaError
from emofuse.media.audio import SAMPLE_RATE, FloatArray

__all__ = ["apply_step", "drop_words", "replay"]


def replay(
    draw: Draw, wave: FloatArray, sources: Sources | None = None, rate: int = SAMPLE_RATE
) -> FloatArray:
    """Change a waveform as a record says.

    Args:
        draw: the record.
        wave: ``(samples,)`` float32, the utterance itself.
        sources: folders that the record's files lie in.
        rate: hertz.

    Returns:
        ``(samples,)`` float32; the same record and waveform give the same samples. They may leave
        [-1, 1]: nothing is clipped.

    Raises:
        MediaError: the record is of other transforms, or a file of it is missing or has changed.
        MissingExtraError: pitch or tempo without the extra ``augment``.
    """
    if draw.version != VERSION:
        raise MediaError(
            f"{draw.utterance}: a record of version {draw.version}; this program makes {VERSION}"
        )
    for step in draw.steps:
        wave = apply_step(step, wave, sources or Sources(), rate)
    return wave


def apply_step(step: Step, wave: FloatArray, sources: Sources, rate: int) -> FloatArray:
    """Take one step (see `replay`)."""
    if isinstance(step, Noise | Voices):
        return _add_noise(step, wave, sources, rate)
    if isinstance(step, Reverb):
        return _reverberate(step, wave, sources, rate)
    if isinstance(step, Stretch):
        return signals.change_tempo(wave, rate, step.rate)
    if isinstance(step, Pitch):
        return signals.shift_pitch(wave, rate, step.semitones)
    if isinstance(step, Speed):
        return signals.respeed(wave, rate, step.rate)
    if isinstance(step, Gain):
        return np.asarray(wave * 10 ** (step.decibels / 20), np.float32)
    if isinstance(step, Echo):
        return signals.echo(wave, rate, step.seconds, step.gain)
    if isinstance(step, Band):
        return signals.emphasise(wave, rate, step.low, step.high, step.gain)
    return _transmit(step, wave, rate)


def _transmit(step: Telephone | Codec | Clip | Truncate, wave: FloatArray, rate: int) -> FloatArray:
    if isinstance(step, Telephone):
        return channels.telephone(wave, rate, step.law, (step.low, step.high))
    if isinstance(step, Codec):
        return channels.transcode(wave, rate, step.name, step.kbits)
    if isinstance(step, Clip):
        return channels.clip(wave, step.decibels)
    return channels.truncate(wave, step.keep, step.place)


def _add_noise(step: Noise | Voices, wave: FloatArray, sources: Sources, rate: int) -> FloatArray:
    loud = active_power(wave, rate) if step.by == "active" else None
    key = (step.model_copy(update={"snr": 0.0}), len(wave), rate)  # alike at every ratio
    if isinstance(step, Voices):
        murmur = sources.recall(key, lambda: _voices(step, len(wave), sources, rate))
        return signals.mix_at_snr(wave, murmur, step.snr, loud)
    noise = sources.recall(key, lambda: _noise(step, len(wave), sources, rate))
    if step.level is not None:
        return signals.mix_at_level(wave, noise, step.level)
    return signals.mix_at_snr(wave, noise, 0.0 if step.snr is None else step.snr, loud)


def _voices(step: Voices, samples: int, sources: Sources, rate: int) -> FloatArray:
    """Give every voice the same active level, and add them."""
    total = np.zeros(samples)
    for talker in step.talkers:
        found = sources.read("voices", talker.file, talker.sha256, rate, (talker.start, talker.end))
        loud = active_power(found, rate)
        if loud > signals.SILENCE:
            total += looped(found, samples, talker.offset) / loud**0.5
    return np.asarray(total, np.float32)


def _noise(step: Noise, samples: int, sources: Sources, rate: int) -> FloatArray:
    draw = np.random.default_rng(step.seed)
    if step.file is not None:
        found = sources.read("noise", step.file, step.sha256, rate)
        return looped(found, samples, step.offset)
    if step.colour == "babble":
        return signals.babble(samples, draw, rate)
    if step.colour == "pink":
        return signals.pink(samples, draw)
    return (
        signals.white(samples, draw) if step.colour == "white" else signals.gaussian(samples, draw)
    )


def _reverberate(step: Reverb, wave: FloatArray, sources: Sources, rate: int) -> FloatArray:
    if step.file is not None:
        response = sources.read("responses", step.file, step.sha256, rate)
    else:
        seconds = 0.4 if step.rt60 is None else step.rt60
        response = signals.room(seconds, np.random.default_rng(step.seed), rate)
    return signals.reverberate(wave, response)


def drop_words(draw: Draw, text: str) -> str:
    """Leave the words of a record out of a text.

    >>> drop_words(Draw(utterance="a", view=0, seed=0, policy="off", style="", words=(1,)), "a b c")
    'a c'
    """
    words = text.split()
    return " ".join(word for place, word in enumerate(words) if place not in set(draw.words))
