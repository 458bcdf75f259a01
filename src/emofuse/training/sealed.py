"""Test labels, kept from everything that trains, chooses or calibrates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, Protocol

from emofuse.errors import TrainingError
from emofuse.evaluation.openings import count_openings, record_opening
from emofuse.manifest import Manifest, Utterance
from emofuse.protocols.contract import Fold

__all__ = ["Finishing", "SealedTest"]


class Finishing(Protocol):
    """A training that ends some day (see `Job`)."""

    @property
    def fold(self) -> Fold:
        """What it learns from and is judged on."""

    @property
    def finished(self) -> bool:
        """Whether its model and its answers are on disk."""


class SealedTest:
    """Gives test labels once every training is over, after writing down that it does.

    It shows no label, is neither pickled nor copied, and so goes to no worker.

    Args:
        manifest: labelled; holds every test utterance.
    """

    __slots__ = ("__manifest",)

    def __init__(self, manifest: Manifest) -> None:
        self.__manifest = manifest

    def open(self, folder: Path, jobs: Sequence[Finishing], why: str) -> list[list[Utterance]]:
        """Give the test utterances of each job's fold, labels and all, in the order of the fold.

        Args:
            folder: of the run, whose record of openings gets a line.
            jobs: every training of the run.
            why: what for.

        Raises:
            TrainingError: a training is not over: what is still to be fitted must not depend on
                test.
            WorkError: the opening cannot be recorded.
        """
        open_still = [job for job in jobs if not job.finished]
        if open_still or not jobs:
            raise TrainingError(
                f"test labels stay sealed: {len(open_still)} of {len(jobs)} trainings are not "
                "finished; train them first"
            )
        if count_openings(folder):
            why = f"{why}, again (an earlier opening is on record)"
        record_opening(folder, why, len({one for job in jobs for one in job.fold.test}))
        return [[self.__manifest[name] for name in job.fold.test] for job in jobs]

    def __repr__(self) -> str:
        return "SealedTest()"

    def __reduce__(self) -> NoReturn:
        raise TypeError("sealed test labels are neither pickled nor copied")
