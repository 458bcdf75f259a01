"""L-BFGS on all training items at once, for convex models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from emofuse.training.feeder import hide_modalities
from emofuse.training.steppers import Batches, Row, Stepper, Work, check_losses
from emofuse.training.together.gradients import make_gradients

__all__ = ["Whole", "make_stepper"]

LBFGS_ITERATIONS = 20
"""Iterations of L-BFGS that make one row of the history."""


def make_stepper(work: Work) -> Stepper:
    """Give the stepper of the optimiser that the options name."""
    return Whole(work) if work.options.optimiser == "lbfgs" else Batches(work)


class Whole:
    """L-BFGS on all training items at once; modalities are hidden by one draw for the whole fit.

    Where items have views, the objective is what drawing them would give on average: ``1 - p`` of
    that on the items, and ``p`` of its mean over their views.
    """

    resumable = False

    def __init__(self, work: Work) -> None:
        self.work = work
        self.converged = False
        self.gradients = make_gradients(work.model, work.parameters())
        self.optimiser = torch.optim.LBFGS(
            self.gradients.parameters,
            max_iter=LBFGS_ITERATIONS,
            history_size=10,
            tolerance_grad=1e-6,
            tolerance_change=1e-9,
            line_search_fn="strong_wolfe",
        )
        hiding = torch.Generator().manual_seed(2 * work.seed + 1)
        self.shares = [
            (share, hide_modalities(batch, work.hidden_share, hiding))
            for share, batch in work.feeder.everything()
        ]

    def epoch(self, number: int) -> Row:
        """See `Stepper.epoch`."""
        work = self.work
        work.train_mode()
        left = work.options.epochs - number * LBFGS_ITERATIONS
        iterations = max(1, min(LBFGS_ITERATIONS, left))
        self.optimiser.param_groups[0]["max_iter"] = iterations
        before = self._done()
        loss = float(self.optimiser.step(self._closure))  # type: ignore[no-untyped-call]
        if not math.isfinite(loss):
            check_losses([torch.tensor(loss)], number, 1.0)
        self.converged = self._done() - before < iterations or left <= LBFGS_ITERATIONS
        return {"learning_rate": 1.0, "loss": loss}

    def _done(self) -> int:
        state = self.optimiser.state[self.gradients.parameters[0]]
        return int(state.get("n_iter", 0))

    def _closure(self) -> float:
        work = self.work
        self.optimiser.zero_grad()
        weights = [p.square().sum() for p in self.gradients.parameters if p.ndim >= 2]
        none = torch.zeros((), device=work.targets.labels.device)
        total = 0.5 * work.options.weight_decay * sum(weights, none)
        for share, batch in self.shares:
            with work.autocast():
                loss, _ = work.objective(work.shared(batch), work.targets)
            total = total + (loss if share == 1.0 else share * loss)
        self.gradients.backward(total)
        self.gradients.settle()
        return float(total.detach())

    def judged(self, loss: float) -> None:
        """See `Stepper.judged`."""
        del loss

    def averaged(self) -> AbstractContextManager[object]:
        """See `Stepper.averaged`."""
        return nullcontext()

    def notes(self) -> tuple[str, ...]:
        """See `Stepper.notes`."""
        return ()

    def state(self) -> dict[str, Tensor]:
        """See `Stepper.state`."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Stepper.restore`."""
        del tensors
