"""What a tracker is told, and what every tracker can do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from emofuse.errors import MissingExtraError

__all__ = ["Place", "Seen", "Tracker", "environment_with", "need", "open_trackers", "prepare"]


@dataclass(frozen=True)
class Place:
    """Whose course it is, and where files go.

    Attributes:
        root: run directory; what several jobs share lies here.
        folder: of the job, below the root.
        run: name of the run.
        job: name of the job, ``<fold>-<seed>``.
        settings: what the training was set to, flat, for display.
    """

    root: Path
    folder: Path
    run: str
    job: str
    settings: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """What there is to show of one epoch.

    Attributes:
        scalars: name -> value; a ``/`` in a name groups.
        histograms: name -> finite values.
        confusion: ``(classes, classes)`` counts of dev, rows gold; None in most epochs.
        classes: class names in order.
    """

    scalars: Mapping[str, float]
    histograms: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    confusion: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()


class Tracker(Protocol):
    """Writes the course of one job."""

    @classmethod
    def prepare(cls, root: Path, run: str) -> None:
        """Do once for a run what its jobs cannot do side by side.

        Raises:
            MissingExtraError: the library is not installed.
        """

    @classmethod
    def open(cls, place: Place) -> Self:
        """Begin, or go on after a kill.

        Raises:
            MissingExtraError: the library is not installed.
        """

    def show(self, phase: str, epoch: int, seen: Seen) -> None:
        """Write an epoch of ``fit`` or ``refit``, or the ``best`` model at the end."""

    def close(self) -> None:
        """End: everything told is on disk."""


def prepare(names: tuple[str, ...], root: Path, run: str) -> None:
    """Say at once what is not installed, and make what jobs share.

    Raises:
        OptionError: no such tracker.
        MissingExtraError: the library is not installed.
    """
    for kind in _kinds(names):
        kind.prepare(root, run)


def open_trackers(names: tuple[str, ...], place: Place) -> list[Tracker]:
    """Open the trackers of a job (see `Tracker.open`)."""
    return [kind.open(place) for kind in _kinds(names)]


def _kinds(names: tuple[str, ...]) -> list[type[Tracker]]:
    from emofuse.training.trackers import TRACKERS

    return [TRACKERS.load(name) for name in names]


def need(package: str) -> None:
    """Check that a package of the extra ``tracking`` is there, without importing it.

    Raises:
        MissingExtraError: it is not installed.
    """
    if find_spec(package) is None:
        raise MissingExtraError(package, "tracking")


@contextmanager
def environment_with(**values: str) -> Iterator[None]:
    """Set environment variables inside the block, where the user has not set them."""
    added = [name for name in values if name not in os.environ]
    os.environ.update({name: values[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
