"""TensorBoard: event files below the job, ``tensorboard/<phase>``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from emofuse.errors import MissingExtraError
from emofuse.evaluation.plots import confusion_png
from emofuse.training.trackers.contract import Place, Seen, need

__all__ = ["TensorboardTracker"]


class TensorboardTracker:
    """Scalars, histograms and pictures of confusion matrices.

    Args:
        folder: where the event files go, one folder a phase.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, Any] = {}

    @classmethod
    def prepare(cls, root: Path, run: str) -> None:
        """Check that TensorBoard is there."""
        del root, run
        need("tensorboard")

    @classmethod
    def open(cls, place: Place) -> Self:
        """Begin; after a kill, epochs that are written again replace what was there."""
        need("tensorboard")
        return cls(place.folder / "tensorboard")

    def show(self, phase: str, epoch: int, seen: Seen) -> None:
        """Write an epoch."""
        writer = self._writer(phase, epoch)
        for name, value in seen.scalars.items():
            writer.add_scalar(name, value, epoch)
        for name, values in seen.histograms.items():
            writer.add_histogram(name, values, epoch)
        if seen.confusion is not None:
            writer.add_image(
                "dev/confusion", _pixels(seen.confusion, seen.classes), epoch, dataformats="HWC"
            )
        writer.flush()

    def close(self) -> None:
        """Close the event files."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, phase: str, epoch: int) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError("tensorboard", "tracking") from error
        if phase not in self._writers:
            self._writers[phase] = SummaryWriter(str(self._folder / phase), purge_step=epoch)
        return self._writers[phase]


def _pixels(counts: NDArray[np.int64], classes: tuple[str, ...]) -> Any:
    from PIL import Image

    picture = Image.open(io.BytesIO(confusion_png(counts, classes)))
    return np.asarray(picture.convert("RGB"))
