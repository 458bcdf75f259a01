"""Dev of all fits of a stack: one pass for those that share it; best weights; early ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from emofuse.training.fit import Fit
from emofuse.training.judge import better_is_higher, judge
from emofuse.training.stacking.items import named_targets
from emofuse.training.steppers import Row

if TYPE_CHECKING:
    from emofuse.training.stacking.stacked import Stack

__all__ = ["DevJudge"]

DEV_ITEMS = 1024


class DevJudge:
    """Judges the fits of a stack after an epoch.

    Args:
        stack: whose fits.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    @torch.no_grad()
    def judge(self, found: Mapping[int, Row]) -> None:
        """Judge dev, one pass for all fits of the same dev; keep best weights; stop early."""
        groups: dict[bytes, list[int]] = {}
        self._stack.base.eval()
        for row, place in enumerate(self._stack.alive):
            dev = self._stack.fits[place].dev
            if dev is None:
                self._stack.fits[place].outcome.best_epoch = self._stack.fits[place].outcome.epoch
                self._settle(row, found[place], None)
            else:
                groups.setdefault(dev.rows.cpu().numpy().tobytes(), []).append(row)
        for rows in groups.values():
            fit = self._stack.fits[self._stack.alive[rows[0]]]
            losses, predicted = self._look(rows, fit)
            labels = fit.dev_targets.labels.cpu()
            for row, loss, guess in zip(rows, losses.tolist(), predicted, strict=True):
                scored = judge(labels, guess, len(fit.classes))
                metrics = {"loss": loss, **scored}
                shown = found[self._stack.alive[row]]
                shown |= {f"dev_{name}": value for name, value in metrics.items()}
                self._settle(row, shown, better_is_higher(metrics, self._stack.options.monitor))

    def _look(self, rows: list[int], fit: Fit) -> tuple[Tensor, Tensor]:
        """Give the dev losses ``(rows,)`` and decisions ``(rows, items)``, on the CPU."""
        index = torch.tensor(rows, device=self._stack.device)
        state = self._stack.tensors.parameters(index), self._stack.tensors.buffers_of(index)
        feeder, targets = fit.dev_feeder, fit.dev_targets
        total = torch.zeros(len(rows), device=self._stack.device)
        guesses, order = [], []
        for items in feeder.in_order(DEV_ITEMS):
            part = feeder.batch(items).modalities
            batch = (
                {name: one.values for name, one in part.items()},
                {name: one.mask for name, one in part.items()},
                named_targets(targets.take(items)),
            )
            losses, _, logits = self._stack.passed(state, batch, (), shared=True)
            total += losses * len(items)
            guesses.append(logits.argmax(dim=2))
            order.append(items)
        places = torch.argsort(torch.cat(order)).cpu()
        return (total / len(feeder)).cpu(), torch.cat(guesses, dim=1).cpu()[:, places]

    def _settle(self, row: int, shown: Row, score: float | None) -> None:
        """Keep the weights where they are the best so far, and see whether this fit is over."""
        fit = self._stack.fits[self._stack.alive[row]]
        outcome, patience = fit.outcome, self._stack.options.patience
        if score is None or outcome.best is None or score > outcome.best:
            if score is not None:
                outcome.best, outcome.best_epoch, outcome.waiting = score, outcome.epoch, 0
            self._stack.keep(row)
        else:
            outcome.waiting += 1
        fit.stepper.judged(float(shown.get("dev_loss", shown["loss"]) or 0.0))
        waited = patience is not None and outcome.waiting >= patience
        outcome.finished = outcome.epoch >= fit.epochs or waited
