"""Which part of a frame is looked at."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from emofuse.errors import EncoderError, shorten
from emofuse.media.video import Image

__all__ = ["make_crop"]

IEMOCAP_ID = re.compile(r"Ses0[1-5]([FM])_\w+_([FM])\d{3}$")
ROWS = (112, 368)  # of 480: the picture between the black bars

Crop = Callable[[Image], "Image | None"]


def make_crop(name: str, item: str = "") -> Crop:
    """Give what cuts the frames of one clip.

    Args:
        name: ``whole``; ``left`` or ``right``, a half; ``centre``, the largest square in the
            middle; ``face``, the largest face; ``iemocap``, the speaker's half of IEMOCAP's picture
            without its black bars; or a box in pixels, ``WIDTHxHEIGHT+LEFT+TOP``.
        item: id of the utterance, which says who speaks in IEMOCAP.

    Returns:
        A function of a frame; it gives None where there is nothing to see.

    Raises:
        MissingExtraError: ``face`` without OpenCV.
        EncoderError: ``iemocap`` and an id of another kind.

    >>> make_crop("2x1+3+0")(np.zeros((4, 8, 3), np.uint8)).shape
    (1, 2, 3)
    """
    if name == "face":
        from emofuse.media.face import FaceCrop

        return FaceCrop()
    if name in _PARTS:
        return _PARTS[name]
    if name == "iemocap":
        return _iemocap(item)
    width, height, left, top = (int(part) for part in re.split(r"[x+]", name))

    def box(image: Image) -> Image | None:
        part = image[top : top + height, left : left + width]
        return np.ascontiguousarray(part) if part.size else None

    return box


def _centre(image: Image) -> Image:
    side = min(image.shape[:2])
    top, left = ((size - side) // 2 for size in image.shape[:2])
    return image[top : top + side, left : left + side]


def _iemocap(item: str) -> Crop:
    """The actor that the session's letter names wears the markers and sits on the left."""
    match = IEMOCAP_ID.search(item)
    if match is None:
        raise EncoderError(f"{shorten(item)} is no id of IEMOCAP; crop=iemocap needs one")
    left = match[1] == match[2]

    def half(image: Image) -> Image:
        height, width = image.shape[:2]
        rows = slice(height * ROWS[0] // 480, height * ROWS[1] // 480)
        return image[rows, : width // 2] if left else image[rows, width // 2 :]

    return half


_PARTS: dict[str, Crop] = {
    "whole": lambda image: image,
    "left": lambda image: image[:, : image.shape[1] // 2],
    "right": lambda image: image[:, image.shape[1] // 2 :],
    "centre": _centre,
}
