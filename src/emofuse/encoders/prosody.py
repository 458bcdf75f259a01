"""Pitch, energy, rhythm and timbre in 106 figures: a plain audio encoder of more use than bands.

Frames are those of `logmel` (25 ms every 10 ms). The cepstrum is the orthonormal cosine transform
of the 64 log-mel bands, places 0 to 19. The pitch is the highest peak of the autocorrelation of a
40 ms Hann window, divided by that of the window, between 60 and 500 Hz, where an octave down costs
0.05 (a voice is as periodic over two periods); its height is the voicing; the pitch is smoothed by
a median over five frames. Speech is active within 35 dB of the loudest frame, and statistics are
taken over active frames; a frame is voiced where the voicing is over one half and speech is active.
Energy is relative to its mean and place 0 of the cepstrum has no mean, so that a recording's level
does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from emofuse.encoders.cepstra import slope
from emofuse.encoders.contract import Encoder, EncoderSpec, FloatArray, Item, Provenance
from emofuse.encoders.logmel import (
    BANDS,
    HOP,
    WINDOW,
    energy_filters,
    frame_signal,
    hann_window,
    log_mel,
    power_pairs,
)
from emofuse.encoders.settings import refuse_options, require_waveform
from emofuse.encoders.workers import thread_map
from emofuse.media.audio import SAMPLE_RATE

__all__ = ["NAMES", "Prosody"]

CEPSTRA = 20
PITCH_WINDOW, PITCH_FFT = 640, 1024  # up to lag 384 nothing wraps around
SHORTEST_LAG, LONGEST_LAG = 32, 266  # samples: 500 to 60 Hz
OCTAVE_COST = 0.05  # an octave lower must be this much more periodic
ACTIVE_DECIBELS = 35.0
VOICED = 0.5
CHUNK = 4096  # frames in one transform
PITCH_CHUNK = 128  # of 27 kB each; the results are the same to the bit whatever the number
QUANTILES = (0.05, 0.2, 0.5, 0.8, 0.95)
_Q = tuple(f"q{round(100 * q)}" for q in QUANTILES)

NAMES = (
    *(f"cepstrum{i}.mean" for i in range(1, CEPSTRA)),
    *(f"cepstrum{i}.std" for i in range(CEPSTRA)),
    *(f"cepstrum{i}.slope.std" for i in range(CEPSTRA)),
    *(f"cepstrum{i}.curve.std" for i in range(CEPSTRA)),
    *(f"pitch.{name}" for name in ("mean", "std", *_Q, "rise")),
    *("voiced.share", "pitch.step", "pitch.step.std", "pitch.drift"),
    *("voicing.mean", "voicing.std"),
    *(f"energy.{name}" for name in ("std", *_Q, "step", "step.std")),
    *("active.seconds", "active.share", "voiced.runs", "voiced.length", "voiced.length.std"),
)
"""What each place of the pooled vector holds (pitch in natural logarithms of hertz)."""

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]


class Prosody(Encoder):
    """Statistics of pitch, energy and cepstrum; or with ``granularity: frames`` the curves.

    A frame holds 20 cepstra, the log energy relative to the clip's mean, the log pitch and the
    voicing (23 values, 100 frames a second).

    Args:
        spec: only ``granularity`` counts; the statistics are the pooling.
        device: taken for the sake of the contract; the work is done by the processor.

    >>> encoder = Prosody(EncoderSpec(name="prosody"))
    >>> encoder.encode([Item("a", waveform=np.zeros(16000, np.float32))])[0].shape
    (1, 106)
    """

    modality = "audio"
    reentrant = True
    revision = "prosody-1"
    sample_rate = SAMPLE_RATE
    provenance = Provenance(licence="none needed (a formula)", known=True)

    def __init__(self, spec: EncoderSpec, device: str = "cpu") -> None:
        refuse_options(spec, "layer", "pooling", "dim", "revision")
        self.spec = spec
        pooled = spec.granularity == "pooled"
        self.dim = len(NAMES) if pooled else CEPSTRA + 3
        self.frame_rate = None if pooled else SAMPLE_RATE / HOP
        self._window, self._filters, self._cosines = (
            hann_window(WINDOW),
            energy_filters(),
            _cosines(),
        )
        self._pitch_window = hann_window(PITCH_WINDOW)
        lags = _autocorrelation(self._pitch_window[None])
        octaves = np.log2(np.arange(SHORTEST_LAG, LONGEST_LAG + 1, dtype=np.float32))
        self._octave_cost = np.float32(OCTAVE_COST) * octaves
        self._pitch_weight = 1.0 / np.maximum(lags / lags[:, :1], np.float32(0.05))

    def encode(self, items: Sequence[Item]) -> list[FloatArray]:
        """Give one ``(1, 106)`` or ``(frames, 23)`` array an item (see `Encoder.encode`)."""
        return thread_map(self._encode_one, [require_waveform(item) for item in items])

    def _encode_one(self, waveform: FloatArray) -> FloatArray:
        energy, cepstra = self._spectral(waveform)
        pitch, voicing = self._pitch(waveform)
        if self.spec.granularity == "pooled":
            return _statistics(energy, cepstra, pitch, voicing)[None, :]
        parts = (cepstra, energy[:, None] - energy.mean(), pitch[:, None], voicing[:, None])
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _spectral(self, waveform: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give log energy ``(frames,)`` and cepstra ``(frames, 20)``."""
        energies: list[FloatArray] = []
        cepstra: list[FloatArray] = []
        for chunk in _chunks(frame_signal(waveform), CHUNK):
            mel = log_mel(chunk, self._window, self._filters)
            energies.append(np.logaddexp.reduce(mel, axis=1))
            cepstra.append(mel @ self._cosines)
        return np.concatenate(energies), np.concatenate(cepstra)

    def _pitch(self, waveform: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give log pitch and voicing, each ``(frames,)``, in step with the log-mel frames."""
        side = (PITCH_WINDOW - WINDOW) // 2
        padded = np.pad(waveform, (side, side + max(0, WINDOW - len(waveform))))
        first, last = SHORTEST_LAG, LONGEST_LAG
        pitches: list[FloatArray] = []
        voicings: list[FloatArray] = []
        for chunk in _chunks(frame_signal(padded, PITCH_WINDOW, HOP), PITCH_CHUNK):
            frames = chunk * self._pitch_window
            lags = _autocorrelation(frames - frames.mean(axis=1, keepdims=True))
            height = lags / (lags[:, :1] + np.float32(1e-9)) * self._pitch_weight
            height = height[:, first : last + 1]
            best = (height - self._octave_cost).argmax(axis=1)
            pitches.append(np.log(SAMPLE_RATE / (first + best)).astype(np.float32))
            voicings.append(np.take_along_axis(height, best[:, None], axis=1)[:, 0])
        return _smooth(np.concatenate(pitches)), np.concatenate(voicings)


def _cosines() -> FloatArray:
    """Orthonormal cosine transform (II), ``(bands, cepstra)``."""
    place, band = np.arange(CEPSTRA)[None, :], np.arange(BANDS)[:, None]
    table = np.sqrt(2.0 / BANDS) * np.cos(np.pi * place * (2 * band + 1) / (2 * BANDS))
    table[:, 0] /= np.sqrt(2.0)
    return np.asarray(table, np.float32)


def _autocorrelation(frames: FloatArray) -> FloatArray:
    pairs = power_pairs(frames, PITCH_FFT)
    power = pairs[:, ::2] + pairs[:, 1::2]
    lags = np.fft.irfft(power, n=PITCH_FFT)[:, : PITCH_WINDOW // 2]
    return np.asarray(lags, np.float32)


def _chunks(frames: FloatArray, size: int) -> Iterator[FloatArray]:
    return (frames[start : start + size] for start in range(0, len(frames), size))


def _smooth(values: FloatArray) -> FloatArray:
    """Median over five frames; the ends are repeated."""
    padded = np.pad(values, 2, mode="edge")
    medians = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    return np.asarray(medians, np.float32)


def _statistics(
    energy: FloatArray, cepstra: FloatArray, pitch: FloatArray, voicing: FloatArray
) -> FloatArray:
    active: Mask = energy >= energy.max() - ACTIVE_DECIBELS / 10 * np.log(10)
    voiced: Mask = active & (voicing > VOICED)
    first = slope(cepstra)
    curve = slope(first)
    parts = (
        cepstra[active, 1:].mean(axis=0),
        cepstra[active].std(axis=0),
        first[active].std(axis=0),
        curve[active].std(axis=0),
        _pitch_figures(pitch, voiced, active),
        (voicing[active].mean(), voicing[active].std()),
        _energy_figures(energy, active),
        (active.sum() * HOP / SAMPLE_RATE, active.mean()),
        _rhythm_figures(voiced, active),
    )
    return np.concatenate([np.asarray(part, np.float64) for part in parts]).astype(np.float32)


def _pitch_figures(pitch: FloatArray, voiced: Mask, active: Mask) -> list[float]:
    share = voiced.sum() / active.sum()
    spoken = voiced if voiced.sum() > 2 else np.ones_like(voiced)
    curve = pitch[spoken].astype(np.float64)
    steps = np.diff(pitch)[spoken[1:] & spoken[:-1]].astype(np.float64)
    steps = steps if len(steps) else np.zeros(1)
    rise = curve.max() - np.median(curve)
    return [
        *(curve.mean(), curve.std(), *np.quantile(curve, QUANTILES), rise),
        *(share, np.abs(steps).mean(), steps.std(), steps.mean()),
    ]


def _energy_figures(energy: FloatArray, active: Mask) -> list[float]:
    spoken = energy[active].astype(np.float64)
    steps = np.diff(energy)[active[1:]].astype(np.float64)
    steps = steps if len(steps) else np.zeros(1)
    relative = np.quantile(spoken - spoken.mean(), QUANTILES)
    return [spoken.std(), *relative, np.abs(steps).mean(), steps.std()]


def _rhythm_figures(voiced: Mask, active: Mask) -> list[float]:
    """Voiced runs a second of active speech; mean and std of their lengths in frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], voiced.astype(np.int8), [0]])))
    lengths = edges[1::2] - edges[::2]
    if not len(lengths):
        return [0.0, 0.0, 0.0]
    rate = len(lengths) / (active.sum() * HOP / SAMPLE_RATE)
    return [rate, lengths.mean(), lengths.std()]
