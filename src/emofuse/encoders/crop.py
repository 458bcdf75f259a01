"""Which part of a frame is looked at."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from emofuse.media.video import Image

__all__ = ["make_crop"]

Crop = Callable[[Image], "Image | None"]


def make_crop(name: str) -> Crop:
    """Give what cuts the frames of one clip.

    Args:
        name: ``whole``; ``left`` or ``right``, a half; ``centre``, the largest square in the
            middle; ``face``, the largest face; or a box in pixels, ``WIDTHxHEIGHT+LEFT+TOP``.

    Returns:
        A function of a frame; it gives None where there is nothing to see.

    Raises:
        MissingExtraError: ``face`` without OpenCV.

    >>> make_crop("2x1+3+0")(np.zeros((4, 8, 3), np.uint8)).shape
    (1, 2, 3)
    """
    if name == "face":
        from emofuse.media.face import FaceCrop

        return FaceCrop()
    if name in _PARTS:
        return _PARTS[name]
    width, height, left, top = (int(part) for part in re.split(r"[x+]", name))

    def box(image: Image) -> Image | None:
        part = image[top : top + height, left : left + width]
        return np.ascontiguousarray(part) if part.size else None

    return box


def _centre(image: Image) -> Image:
    side = min(image.shape[:2])
    top, left = ((size - side) // 2 for size in image.shape[:2])
    return image[top : top + side, left : left + side]


_PARTS: dict[str, Crop] = {
    "whole": lambda image: image,
    "left": lambda image: image[:, : image.shape[1] // 2],
    "right": lambda image: image[:, image.shape[1] // 2 :],
    "centre": _centre,
}
