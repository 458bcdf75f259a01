"""Features that were computed elsewhere, a ``.npy`` file of ``(frames, dim)`` an utterance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emofuse.encoders.contract import Encoder, EncoderSpec, FloatArray, Item
from emofuse.encoders.pooling import pool, pooled_dim
from emofuse.encoders.settings import refuse_options, require_path
from emofuse.errors import EncoderError, MediaError, OptionError
from emofuse.media.arrays import read_array

__all__ = ["Arrays"]


class Arrays(Encoder):
    """Reads an array in the place of a video.

    Args:
        spec: ``dim`` is the size of the vectors in the files; ``granularity``, ``pooling`` and
            ``max_frames`` count.
        device: not looked at.

    Raises:
        OptionError: ``dim`` is not given, or an option that arrays do not have is.
    """

    modality = "video"
    revision = "1"

    def __init__(self, spec: EncoderSpec, device: str = "cpu") -> None:
        del device
        refuse_options(spec, "layer", "revision", "crop", "every", "fps", videos=True)
        if spec.dim is None:
            raise OptionError("encoder 'arrays' needs the size of its vectors: arrays:dim=768")
        self.spec, self._width = spec, spec.dim
        pooled = spec.granularity == "pooled"
        self.dim = pooled_dim(spec.pooling, spec.dim) if pooled else spec.dim

    def encode(self, items: Sequence[Item]) -> list[FloatArray]:
        """Give one ``(frames, dim)`` or ``(1, dim)`` array an item.

        Raises:
            EncoderError: a file is no array of that size, or a slice of it is asked for.
        """
        return [self._read(item) for item in items]

    def _read(self, item: Item) -> FloatArray:
        path = require_path(item)
        if item.start or item.end is not None:
            raise EncoderError(f"{path} is an array, which start and end cannot cut")
        try:
            array = read_array(path)
        except MediaError as error:
            raise EncoderError(str(error)) from error
        if array.shape[1] != self._width:
            raise EncoderError(
                f"{path} holds vectors of size {array.shape[1]}, not {self._width}; set dim"
            )
        frames = np.array(array[: self.spec.max_frames], np.float32)
        return frames if self.spec.granularity == "frames" else pool(frames, self.spec.pooling)
