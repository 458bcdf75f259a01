"""Styles: what may be done to an item, as ranges; and the policies that are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from emofuse.augment.draw import Mask
from emofuse.options import Options

__all__ = ["BASIC", "CODE", "CODE_COMMON", "DOCUMENTED", "MaskOptions", "Range", "Style"]

Range = tuple[float, float]
Kbits = Annotated[float, Field(ge=6.0, le=160.0)]


class MaskOptions(Options):
    """SpecAugment without time warping (Park et al. 2019): frames and bands are hidden.

    Attributes:
        times: number of time masks.
        frames: smallest and largest width of each; at 10 ms a frame.
        time_p: probability of each.
        share: a time mask hides at most this share of a clip.
        band_masks: number of frequency masks.
        bands: smallest and largest width of each.
        band_p: probability of each.
        lowest: the frequency masks lie on the lowest bands instead of anywhere.
    """

    times: int = Field(default=1, ge=0, le=20)
    frames: tuple[int, int] = (30, 90)
    time_p: float = Field(default=0.5, ge=0.0, le=1.0)
    share: float = Field(default=0.2, ge=0.0, le=1.0)
    band_masks: int = Field(default=1, ge=0, le=20)
    bands: tuple[int, int] = (5, 15)
    band_p: float = Field(default=0.5, ge=0.0, le=1.0)
    lowest: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("frames", "bands"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} = [{low}, {high}] is no range of widths")
        return self

    def draw(self, random: np.random.Generator) -> tuple[Mask, ...]:
        """Draw masks."""
        found: list[Mask] = []
        plan: tuple[tuple[Literal["time", "band"], int, tuple[int, int], float], ...] = (
            ("time", self.times, self.frames, self.time_p),
            ("band", self.band_masks, self.bands, self.band_p),
        )
        for axis, count, widths, chance in plan:
            for _ in range(count):
                hit = random.random() < chance
                size = int(random.integers(widths[0], widths[1] + 1))
                place = float(random.random())
                if hit:
                    low = self.lowest and axis == "band"
                    place = 0.0 if low else place
                    found.append(Mask(axis=axis, size=size, place=place, share=self.share))
        return tuple(found)


class Style(Options):
    """What is done to an item; each range is drawn from evenly, None is left out.

    In this order: tempo, pitch, speed, room, noise, band, echo, gain, telephone, codec.

    Attributes:
        stretch: factor on the tempo.
        pitch: semitones.
        speed: factor on tempo and pitch together.
        reverb: RT60 of a simulated room in seconds; with a folder of responses, one of those.
        noise: colours to choose from; ``environment`` is a file of the noise folder, or a generated
            murmur where there is none.
        snr: decibels between signal and noise.
        level: root mean square of the noise, instead of ``snr``.
        band: lowest and highest frequency in hertz, and the factor on their amplitude.
        echo: seconds, and the factor.
        gain: decibels.
        telephone: a line with one of these compandings (``linear``: the band alone).
        codec: coded and decoded by one of these.
        kbits: thousand bits a second; for ``mp3`` the nearest that it knows.
        masks: on the spectrogram.
    """

    stretch: Range | None = None
    pitch: Range | None = None
    speed: Range | None = None
    reverb: Range | None = None
    noise: tuple[Literal["white", "pink", "gaussian", "babble", "environment"], ...] = ()
    snr: Range = (10.0, 20.0)
    level: float | None = Field(default=None, gt=0.0, le=1.0)
    band: tuple[float, float, float] | None = None
    echo: tuple[float, float] | None = None
    gain: Range | None = None
    telephone: tuple[Literal["mu", "a", "linear"], ...] = ()
    codec: tuple[Literal["opus", "mp3"], ...] = ()
    kbits: tuple[Kbits, Kbits] = (8.0, 32.0)
    masks: MaskOptions | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("stretch", "pitch", "speed", "reverb", "snr", "gain", "kbits"):
            pair = getattr(self, name)
            if pair is not None and pair[0] > pair[1]:
                raise ValueError(f"{name} = [{pair[0]}, {pair[1]}] is no range")
        return self


DOCUMENTED: Mapping[str, Style] = {
    "anger": Style(
        pitch=(-3.0, 3.0),
        masks=MaskOptions(
            times=2, frames=(1, 40), time_p=1.0, band_masks=2, bands=(1, 15), band_p=1.0
        ),
    ),
    "happiness": Style(
        noise=("environment",), snr=(5.0, 15.0), pitch=(-1.0, 1.0), stretch=(0.95, 1.05)
    ),
    "sadness": Style(reverb=(0.2, 0.6), noise=("pink",), snr=(10.0, 20.0)),
    "neutral": Style(
        noise=("gaussian",),
        snr=(15.0, 25.0),
        masks=MaskOptions(frames=(1, 15), time_p=1.0, bands=(1, 6), band_p=1.0),
    ),
}
"""The class-differentiated policy that the Copenhagen study documents."""

BASIC = Style(stretch=(0.9, 1.1), pitch=(-2.0, 2.0), noise=("gaussian",), snr=(20.0, 30.0))
"""The same for every class: the study's common part, its noise set by a ratio."""

CODE_COMMON = Style(
    stretch=(0.9, 1.1), pitch=(-2.0, 2.0), noise=("gaussian",), level=0.005, masks=MaskOptions()
)
"""What the study's committed code does to every item (its time masks at 10 ms a frame)."""

CODE: Mapping[str, Style] = {
    "anger": Style(band=(0.0, 300.0, 1.5), masks=MaskOptions(times=0, bands=(10, 20), band_p=1.0)),
    "happiness": Style(pitch=(-4.0, 4.0), stretch=(1.1, 1.3)),
    "sadness": Style(
        stretch=(0.6, 0.8),
        pitch=(-4.0, -2.0),
        masks=MaskOptions(times=0, bands=(10, 20), band_p=1.0, lowest=True),
    ),
    "neutral": Style(
        noise=("gaussian",),
        level=0.0025,
        echo=(0.02, 0.3),
        masks=MaskOptions(frames=(15, 45), bands=(5, 10)),
    ),
}
"""What the committed code does to the items of each class, after the common part."""
