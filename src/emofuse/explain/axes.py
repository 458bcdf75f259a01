"""Where frames, bands and tokens lie: seconds, hertz, words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse.encoders.logmel import HOP, WINDOW, mel_edges
from emofuse.explain.panel import NotApplicable
from emofuse.media.audio import SAMPLE_RATE

__all__ = ["TimeAxis", "band_hertz", "is_mel", "time_axis"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TimeAxis:
    """When frames happen.

    Attributes:
        rate: frames a second; None where the encoder does not say, and frames are counted.
        first: seconds at the centre of the first frame.
    """

    rate: float | None
    first: float = 0.0

    @property
    def unit(self) -> str:
        """``s``, or ``frame``."""
        return "frame" if self.rate is None else "s"

    def centres(self, count: int, start: int = 0) -> Floats:
        """Give the centres of ``count`` frames from frame ``start`` on."""
        places = np.arange(start, start + count, dtype=np.float64)
        return places if self.rate is None else self.first + places / self.rate

    @property
    def step(self) -> float:
        """From one frame to the next."""
        return 1.0 if self.rate is None else 1.0 / self.rate


def time_axis(description: Mapping[str, Any]) -> TimeAxis:
    """Give the time axis of an encoder's frames.

    Log-mel frames are placed at the centre of their 25 ms window. Of the other encoders frame
    ``i`` is said to cover ``i / rate`` to ``(i + 1) / rate``, which is true to half a frame.

    Args:
        description: of the encoder, as in a bundle.
    """
    rate = description.get("frame_rate")
    if not rate:
        return TimeAxis(None)
    spec = description.get("spec", {})
    if spec.get("name") == "logmel":
        stride = int(spec.get("stride", 1))
        first = WINDOW / 2 / SAMPLE_RATE + (stride - 1) / 2 * HOP / SAMPLE_RATE
        return TimeAxis(float(rate), first)
    return TimeAxis(float(rate), 0.5 / float(rate))


def is_mel(description: Mapping[str, Any]) -> bool:
    """Say whether an encoder gives frames of mel bands."""
    spec = description.get("spec", {})
    return bool(spec.get("name") == "logmel" and spec.get("granularity") == "frames")


def band_hertz(description: Mapping[str, Any]) -> Floats:
    """Give the frequency at the peak of each mel band, ``(bands,)`` hertz.

    Raises:
        NotApplicable: the encoder's values are no mel bands.
    """
    if not is_mel(description):
        name = description.get("spec", {}).get("name", "unknown")
        raise NotApplicable(
            f"the audio encoder is {name!r}, whose values are no mel bands: there is no frequency "
            "axis (audio: {name: logmel, granularity: frames} has one)"
        )
    found: Floats = mel_edges()[1:-1]
    return found
