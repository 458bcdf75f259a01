"""Where the face is, by OpenCV's cascade (extra ``video``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from emofuse.errors import MissingExtraError, WorkError
from emofuse.media.video import Image

__all__ = ["FaceCrop"]

CASCADE = "haarcascade_frontalface_default.xml"
MARGIN = 0.2  # of the face's size, on each side
SMALLEST = 0.1  # of the shorter side of the frame


class FaceCrop:
    """Cuts the largest face out of one clip's frames; make a new one for every clip.

    Where a frame shows no face, it is cut where the last one was; frames before the first face are
    passed over.

    Raises:
        MissingExtraError: OpenCV is not installed.
        WorkError: this OpenCV comes without its cascades.
    """

    def __init__(self) -> None:
        try:
            import cv2
        except ImportError as error:
            raise MissingExtraError("cv2", "video") from error
        self._cv2: Any = cv2
        file = Path(self._cv2.data.haarcascades) / CASCADE
        self._cascade: Any = self._cv2.CascadeClassifier(str(file)) if file.is_file() else None
        if self._cascade is None or self._cascade.empty():
            raise WorkError(
                f"this OpenCV lacks {CASCADE}; run: pip install 'opencv-python-headless<5'"
            )
        self._box: tuple[int, int, int, int] | None = None

    def __call__(self, image: Image) -> Image | None:
        """Cut ``(height, width, 3)``; None where no face was seen yet."""
        grey = self._cv2.cvtColor(image, self._cv2.COLOR_RGB2GRAY)
        least = max(20, round(SMALLEST * min(grey.shape)))
        found = self._cascade.detectMultiScale(grey, 1.1, 5, minSize=(least, least))
        if len(found):
            left, top, width, height = max(found.tolist(), key=lambda box: box[2])
            self._box = (left, top, width, height)
        if self._box is None:
            return None
        left, top, width, height = self._box
        extra = round(MARGIN * width)
        rows = slice(max(0, top - extra), top + height + extra)
        return np.ascontiguousarray(image[rows, max(0, left - extra) : left + width + extra])
