"""Checkpoints of a stack: all its fits in one file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from emofuse.storage import sha256_text
from emofuse.training.checkpoint import load_state, save_state, under
from emofuse.training.crew import Task
from emofuse.training.fit import Outcome
from emofuse.training.options import TrainerOptions
from emofuse.training.stacking.stacked import Stack

__all__ = ["Saver"]

SHARE = 20.0
"""A checkpoint is written at most so seldom that it takes a twentieth of the time."""


class Saver:
    """Keeps one stack on disk, beside the folders of its jobs.

    Args:
        folder: of the jobs.
        phase: ``fit`` or ``refit``.
        tasks: of the stack; another set of tasks has another file.
        options: how long between checkpoints.
    """

    def __init__(
        self, folder: Path, phase: str, tasks: Sequence[Task], options: TrainerOptions
    ) -> None:
        names = "\n".join(task.job.folder.name for task in tasks)
        self.path = folder / f"stack-{sha256_text(names)[:12]}-{phase}.safetensors"
        self._pause = options.checkpoint_seconds
        self._saved = time.monotonic()

    def restore(self, stack: Stack) -> None:
        """Put a stack back where its last checkpoint left it, if there is one.

        Raises:
            TrainingError: the file is damaged.
        """
        loaded = load_state(self.path)
        if loaded is None:
            return
        tensors, note = loaded
        stack.alive = [int(place) for place in note["alive"]]
        stack.tensors.restore(under("stack", tensors))
        stack.best = tensors["best"].to(stack.device)
        found = under("best-buffer", tensors)
        stack.best_buffers = {n: found[n].to(stack.device) for n in stack.best_buffers}
        stack.set_randomness(under("random", tensors))
        for fit, outcome in zip(stack.fits, note["outcomes"], strict=True):
            fit.outcome = Outcome(**outcome)

    def save(self, stack: Stack) -> None:
        """Write a checkpoint where one is due; one more when all fits are finished."""
        started = time.monotonic()
        if stack.alive and started - self._saved < self._pause:
            return
        tensors = {
            **{f"stack.{name}": part for name, part in stack.tensors.state().items()},
            "best": stack.best,
            **{f"best-buffer.{name}": part for name, part in stack.best_buffers.items()},
            **{f"random.{name}": part for name, part in stack.randomness().items()},
        }
        outcomes: list[dict[str, Any]] = [asdict(fit.outcome) for fit in stack.fits]
        save_state(self.path, tensors, {"alive": stack.alive, "outcomes": outcomes})
        self._saved = time.monotonic()
        self._pause = max(self._pause, SHARE * (self._saved - started))

    def forget(self) -> None:
        """Remove the file: the results are kept."""
        self.path.unlink(missing_ok=True)
