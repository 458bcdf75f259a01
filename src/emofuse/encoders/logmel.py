"""Log-mel energies: the plain audio encoder that needs no weights.

The signal (16 kHz) is cut into frames of 400 samples (25 ms) every 160 samples (10 ms), the end
padded with zeros so that every sample is seen; a clip of 25 ms or less is one frame. Each frame is
weighed by a periodic Hann window, zero-padded to 512 samples and turned into a power spectrum
``|X|^2``. 64 triangles, equally wide on the scale ``mel = 2595 log10(1 + f / 700)`` from 20 to
8000 Hz, sum it to energies ``E``; a feature is ``ln(E + 1e-6)``, so silence is a finite floor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from emofuse.encoders.contract import Encoder, EncoderSpec, FloatArray, Item, Provenance
from emofuse.encoders.pooling import pooled_dim, reduced
from emofuse.encoders.settings import refuse_options, require_waveform
from emofuse.encoders.workers import thread_map
from emofuse.media.audio import SAMPLE_RATE

__all__ = [
    "LogMel",
    "energy_filters",
    "frame_signal",
    "hann_window",
    "log_mel",
    "mel_edges",
    "mel_filters",
    "power_pairs",
]

WINDOW, HOP, N_FFT, BANDS = 400, 160, 512, 64
LOWEST, HIGHEST = 20.0, 8000.0  # hertz
FLOOR = 1e-6
CHUNK = 8192  # frames in one transform


def mel_edges() -> NDArray[np.float64]:
    """Hertz where the triangles begin, peak and end, ``(BANDS + 2,)``: band b peaks at b + 1."""
    mel = np.linspace(_mel(LOWEST), _mel(HIGHEST), BANDS + 2)
    return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))


def mel_filters() -> FloatArray:
    """Triangular filters ``(bands, N_FFT // 2 + 1)``, peak 1, equally spaced in mel."""
    edges = mel_edges()
    bins = np.arange(N_FFT // 2 + 1) * (SAMPLE_RATE / N_FFT)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def _mel(hertz: float) -> float:
    return float(2595.0 * np.log10(1.0 + hertz / 700.0))


def frame_signal(waveform: FloatArray, window: int = WINDOW, hop: int = HOP) -> FloatArray:
    """Cut ``(samples,)`` into ``(frames, window)``; zeros fill the last frame.

    >>> frame_signal(np.ones(401, np.float32)).shape
    (2, 400)
    """
    frames = 1 + max(0, -(-(len(waveform) - window) // hop))
    padded = np.zeros((frames - 1) * hop + window, np.float32)
    padded[: len(waveform)] = waveform
    return np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]


def hann_window(size: int) -> FloatArray:
    """Periodic Hann window, ``(size,)``."""
    return (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(size) / size)).astype(np.float32)


def power_pairs(frames: FloatArray, n_fft: int) -> FloatArray:
    """Transform ``(frames, window)`` to ``(frames, 2 * bins)``: real and imaginary part, squared.

    The power of a bin is the sum of a pair; whoever sums up bins sums up pairs as well.
    """
    spectrum = np.fft.rfft(frames, n=n_fft).astype(np.complex64, copy=False)
    pairs = spectrum.view(np.float32)
    return np.square(pairs, out=pairs)


def energy_filters() -> FloatArray:
    """`mel_filters` for `power_pairs`, ``(2 * bins, BANDS)``."""
    return np.ascontiguousarray(np.repeat(mel_filters(), 2, axis=1).T)


def log_mel(frames: FloatArray, window: FloatArray, filters: FloatArray) -> FloatArray:
    """Turn ``(frames, WINDOW)`` of signal into ``(frames, BANDS)`` of log energies.

    Args:
        frames: of `frame_signal`.
        window: of `hann_window`.
        filters: of `energy_filters`.
    """
    energies = power_pairs(frames * window, N_FFT) @ filters
    return np.asarray(np.log(energies + np.float32(FLOOR)), np.float32)


class LogMel(Encoder):
    """Log-mel energies, as frames (64 values, 100 a second) or pooled.

    Args:
        spec: ``granularity`` and ``pooling`` count; ``layer`` and ``dim`` do not exist here.
        device: taken for the sake of the contract; the work is done by the processor.

    >>> encoder = LogMel(EncoderSpec(name="logmel", pooling="mean+std"))
    >>> encoder.encode([Item("a", waveform=np.zeros(16000, np.float32))])[0].shape
    (1, 128)
    """

    modality = "audio"
    reentrant = True
    revision = "logmel-1"
    sample_rate = SAMPLE_RATE
    provenance = Provenance(licence="none needed (a formula)", known=True)

    def __init__(self, spec: EncoderSpec, device: str = "cpu") -> None:
        refuse_options(spec, "layer", "dim", "revision", strides=True)
        self.spec = spec
        pooled = spec.granularity == "pooled"
        self.dim = pooled_dim(spec.pooling, BANDS) if pooled else BANDS
        self.frame_rate = None if pooled else SAMPLE_RATE / HOP / spec.stride
        self._window, self._filters = hann_window(WINDOW), energy_filters()

    def encode(self, items: Sequence[Item]) -> list[FloatArray]:
        """Give one ``(frames, 64)`` or ``(1, dim)`` array an item (see `Encoder.encode`)."""
        return thread_map(self._encode_one, [require_waveform(item) for item in items])

    def _encode_one(self, waveform: FloatArray) -> FloatArray:
        framed = frame_signal(waveform)
        values = np.empty((len(framed), BANDS), np.float32)
        for start in range(0, len(framed), CHUNK):
            chunk = framed[start : start + CHUNK]
            values[start : start + CHUNK] = log_mel(chunk, self._window, self._filters)
        return reduced(values, self.spec)
