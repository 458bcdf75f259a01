"""Weights & Biases: one run a job, grouped by run; offline unless the user says otherwise."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Self

import numpy as np

from emofuse.errors import MissingExtraError
from emofuse.training.trackers.contract import Place, Seen, environment_with, need

__all__ = ["WandbTracker"]

PROJECT = "emofuse"


class WandbTracker:
    """Scalars, histograms and confusion tables of one job as a run of W&B.

    Files lie in ``RUN/wandb``; ``wandb sync`` sends them. Nothing is sent from here unless the user
    has set ``WANDB_MODE``. Statistics of the machine, the code and error reports are left out.

    Args:
        run: an open run.
    """

    def __init__(self, run: Any) -> None:
        self._run = run

    @classmethod
    def prepare(cls, root: Path, run: str) -> None:
        """Check that W&B is there."""
        del root, run
        need("wandb")

    @classmethod
    def open(cls, place: Place) -> Self:
        """Begin; a job that was killed goes on under the same id."""
        need("wandb")
        with environment_with(WANDB_ERROR_REPORTING="false", WANDB_SILENT="true"):
            try:
                import wandb
            except ImportError as error:
                raise MissingExtraError("wandb", "tracking") from error
            (place.root / "wandb").mkdir(parents=True, exist_ok=True)
            mode: Any = os.environ.get("WANDB_MODE", "offline")
            run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                group=place.run,
                name=f"{place.run} {place.job}",
                id=hashlib.sha256(str(place.folder.resolve()).encode()).hexdigest()[:16],
                resume="allow",
                reinit="create_new",
                dir=str(place.root),
                mode=mode,
                config=dict(place.settings),
                save_code=False,
                settings=wandb.Settings(
                    console="off",
                    disable_git=True,
                    disable_job_creation=True,
                    silent=True,
                    x_disable_stats=True,
                    x_disable_meta=True,
                    x_disable_machine_info=True,
                ),
            )
        return cls(run)

    def show(self, phase: str, epoch: int, seen: Seen) -> None:
        """Write an epoch; the phase and the epoch are columns of their own."""
        import wandb

        found: dict[str, Any] = {f"{phase}/{name}": value for name, value in seen.scalars.items()}
        found |= {
            f"{phase}/{name}": wandb.Histogram(np_histogram=np.histogram(values, bins=32))
            for name, values in seen.histograms.items()
        }
        if seen.confusion is not None:
            rows = [
                [gold, *counts]
                for gold, counts in zip(seen.classes, seen.confusion.tolist(), strict=True)
            ]
            columns = ["gold", *seen.classes]
            found[f"{phase}/dev/confusion"] = wandb.Table(columns=columns, data=rows)
        self._run.log({"phase": phase, "epoch": epoch, **found})
        if phase == "best":
            self._run.summary.update({f"best/{name}": v for name, v in seen.scalars.items()})

    def close(self) -> None:
        """Finish the run."""
        with environment_with(WANDB_SILENT="true"):
            self._run.finish()
