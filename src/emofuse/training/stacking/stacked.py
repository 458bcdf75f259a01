"""Many small trainings as one batched computation (`torch.func`): folds x seeds at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from emofuse.training.fit import Fit
from emofuse.training.stacking.both import Both, stand_ins
from emofuse.training.stacking.fits import optimisers_of, orders_of, work_of
from emofuse.training.stacking.items import StackedItems, one_row
from emofuse.training.stacking.judging import DevJudge
from emofuse.training.stacking.noise import Layout, draw_noise, feed_dropouts
from emofuse.training.stacking.tensors import NotStackable, Rates, StackTensors
from emofuse.training.steppers import Row, check_losses, cut_epoch

__all__ = ["Stack", "StackHook"]

StackHook = Callable[[int, Row], None]
"""Told the place of a fit and the row of an epoch."""


@dataclass
class _Sum:
    """What an epoch has come to so far, per fit in its place."""

    loss: Tensor
    terms: Tensor
    norm: Tensor
    items: Tensor
    steps: Tensor
    losses: list[list[Tensor]]
    clipped: bool = False


class Stack:
    """Trains fits side by side; each ends with the numbers it would have had alone.

    Every fit keeps its own order, hidden modalities, dropout, learning rate, early stopping and
    best epoch. On a processor dropout draws the very bits of a lone training, and the results
    agree to floating point. On an accelerator the draws of dropout are others (of the same seed).

    Args:
        fits: of one recipe, made and not begun; of pooled features.
    """

    def __init__(self, fits: Sequence[Fit]) -> None:
        self.fits = list(fits)
        self.options, self.device = fits[0].options, fits[0].device
        self.alive = list(range(len(fits)))
        works = [work_of(fit) for fit in fits]
        self.works = works
        modules = [Both(fit.fusion, fit.objective) for fit in fits]
        self.base = deepcopy(modules[0])
        self.feed = feed_dropouts(self.base.model)
        self._objective_feed = feed_dropouts(self.base.objective)
        self._late = stand_ins(modules[0], tuple(fits[0].fusion.spec.dims))
        self.tensors = StackTensors(modules, self.options, tuple(self._late))
        self.best = self.tensors.flat.clone()
        self.best_buffers = {name: part.clone() for name, part in self.tensors.buffers.items()}
        self.items = StackedItems(works)
        self.dropout = [torch.Generator(self.device).manual_seed(fit.seed) for fit in fits]
        self._layouts: dict[int, Layout] = {}

    def run(
        self, hook: StackHook | None = None, after_epoch: Callable[[], None] | None = None
    ) -> None:
        """Train all fits to their ends and give each its best weights.

        Args:
            hook: told of every epoch of every fit.
            after_epoch: called between epochs, when the state is whole.

        Raises:
            TrainingError: a loss is no number any more.
            NotStackable: a parameter has a gradient in some steps alone.
        """
        while self.alive:
            started = time.monotonic()
            rows = self._epoch()
            each = round((time.monotonic() - started) / len(rows), 4)
            for place, row in rows.items():
                row["seconds"] = each
                self.fits[place].outcome.history.append(row)
                if hook is not None:
                    hook(place, row)
            self._drop_finished()
            if after_epoch is not None:
                after_epoch()
        for place in range(len(self.fits)):
            self._hand_back(place)

    def randomness(self) -> dict[str, Tensor]:
        """Give the states of all generators and of ``plateau``, for a checkpoint."""
        found: dict[str, Tensor] = {}
        for place, fit in enumerate(self.fits):
            order, hiding = orders_of(fit)
            found[f"{place}.order"], found[f"{place}.hiding"] = (
                order.get_state(),
                hiding.get_state(),
            )
            found[f"{place}.dropout"] = self.dropout[place].get_state()
            found[f"{place}.plateau"] = optimisers_of(fit).plateau.state()
        return found

    def set_randomness(self, states: Mapping[str, Tensor]) -> None:
        """Put back what `randomness` gave."""
        for place, fit in enumerate(self.fits):
            order, hiding = orders_of(fit)
            order.set_state(states[f"{place}.order"])
            hiding.set_state(states[f"{place}.hiding"])
            self.dropout[place].set_state(states[f"{place}.dropout"])
            optimisers_of(fit).plateau.restore(states[f"{place}.plateau"])

    def _epoch(self) -> dict[int, Row]:
        """Train an epoch of every fit that is not finished, and judge dev."""
        number = self.fits[self.alive[0]].outcome.epoch
        self.base.train()
        self.base.objective.advance(number / self.options.epochs)
        batches = [cut_epoch(self.works[p], orders_of(self.fits[p])[0], number) for p in self.alive]
        terms = len(self.works[0].objective.names)
        blank = torch.zeros(len(self.alive), device=self.device)
        total = _Sum(
            blank,
            blank.new_zeros(len(self.alive), terms),
            blank.clone(),
            blank.clone(),
            blank.clone(),
            [[] for _ in self.alive],
        )
        rates = [0.0] * len(self.alive)
        for step in range(max(len(one) for one in batches)):
            sizes: dict[int, list[int]] = {}
            for row, one in enumerate(batches):
                if step < len(one):
                    sizes.setdefault(len(one[step]), []).append(row)
            for rows in sizes.values():
                for row in rows:
                    done = (number + step / len(batches[row])) / self.options.epochs
                    rates[row] = optimisers_of(self.fits[self.alive[row]]).set_rate(number, done)
                self._step(rows, [batches[row][step] for row in rows], rates, total)
        return self._close_epoch(number, total, rates)

    def _step(
        self, rows: list[int], items: list[Tensor], rates: Sequence[float], total: _Sum
    ) -> None:
        """Take one step of the models in these rows, whose batches are of one size."""
        everyone = len(rows) == len(self.alive)
        index = torch.tensor(rows, device=self.device)
        places = [self.alive[row] for row in rows]
        noise = self.noise(
            [self.dropout[self.alive[row]] for row in rows],
            self.example(dict(zip(rows, items, strict=True)), len(items[0])),
        )
        hiding = [orders_of(self.fits[place])[1] for place in places]
        batch = self.items.batch(places, items, hiding)
        buffers = self.tensors.buffers_of(None if everyone else index)
        parameters = self.tensors.parameters(None if everyone else index)
        leaves = {name: part.requires_grad_() for name, part in parameters.items()}
        losses, terms, _ = self.passed((leaves, buffers), batch, noise)
        gradients = torch.autograd.grad(losses.sum(), list(leaves.values()), allow_unused=True)
        with torch.no_grad():
            self.tensors.keep_buffers(None if everyone else index, buffers)
            norm = self.tensors.step(
                None if everyone else index,
                gradients,
                self._rates(places, rows, rates),
                self._lacking(batch[1]),
            )
            size = float(len(items[0]))
            total.loss[index] += losses.detach() * size
            total.terms[index] += terms.detach() * size
            total.items[index] += size
            total.steps[index] += 1.0
            if norm is not None:
                total.norm[index] += norm
                total.clipped = True
        for row, loss in zip(rows, losses.detach().unbind(), strict=True):
            total.losses[row].append(loss)

    def passed(
        self,
        state: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
        batch: tuple[Any, ...],
        noise: Sequence[Tensor],
        shared: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run the models of ``state`` on their batches, or on one that all share."""

        def one(
            parameters: Any, buffers: Any, given: Any, factors: Any
        ) -> tuple[Tensor, Tensor, Tensor]:
            self.feed.begin(factors)
            found: tuple[Tensor, Tensor, Tensor] = functional_call(
                self.base, (parameters, buffers), given
            )
            return found

        where = (0, 0, None if shared else 0, 0)
        with self.works[0].autocast():
            found: tuple[Tensor, Tensor, Tensor] = torch.vmap(one, where, randomness="error")(
                *state, batch, list(noise)
            )
        return found

    def noise(
        self, generators: Sequence[torch.Generator], example: tuple[Any, int]
    ) -> list[Tensor]:
        """Draw the dropout of a step; a first batch of each size is rehearsed."""
        batch, size = example
        if size not in self._layouts:
            self.feed.begin(None)
            with torch.no_grad(), self.works[0].autocast():
                state = self.tensors.parameters(None), self.tensors.buffers_of(None)
                one = tuple({n: part[0].clone() for n, part in half.items()} for half in state)
                functional_call(self.base, one, tuple(one_row(part, 0) for part in batch()))
            if self._objective_feed.asked:
                raise NotStackable("its objective has a dropout")
            self._layouts[size] = Layout.of(self.feed.asked, self.device)
        return draw_noise(self._layouts[size], generators)

    def example(self, items: Mapping[int, Tensor], size: int) -> tuple[Any, int]:
        """Give a batch of one of the models, made when it is asked for, and its size."""
        row, chosen = next(iter(items.items()))
        return (lambda: self.items.batch([self.alive[row]], [chosen], None)), size

    def _lacking(self, masks: Mapping[str, Tensor]) -> Tensor | None:
        """Tell for which models a frame stands in for an absent modality: ``(models, late)``."""
        found = [~masks[name].any(dim=2).all(dim=1) for name in self._late.values()]
        return torch.stack(found, dim=1) if found else None

    def _rates(self, places: Sequence[int], rows: Sequence[int], rates: Sequence[float]) -> Rates:
        groups = [optimisers_of(self.fits[place]).main.param_groups[0] for place in places]
        first = [group["betas"][0] if "betas" in group else 0.0 for group in groups]
        columns = torch.tensor([[rates[row] for row in rows], first], device=self.device)
        return Rates(columns[0][:, None], columns[1][:, None])

    def _close_epoch(self, number: int, total: _Sum, rates: Sequence[float]) -> dict[int, Row]:
        for row, rate in enumerate(rates):
            check_losses(total.losses[row], number, rate)
        means = (total.loss / total.items).tolist()
        terms = (total.terms / total.items[:, None]).tolist()
        norms = (total.norm / total.steps).tolist()
        found: dict[int, Row] = {}
        names = self.works[0].objective.names
        for row, place in enumerate(self.alive):
            one: Row = {"epoch": number + 1, "learning_rate": rates[row], "loss": means[row]}
            if len(names) > 1:
                one |= {f"loss:{n}": v for n, v in zip(names, terms[row], strict=True)}
            if total.clipped:
                one["grad_norm"] = norms[row]
            self.fits[place].outcome.epoch += 1
            found[place] = one
        DevJudge(self).judge(found)
        return found

    def keep(self, row: int) -> None:
        """Keep the weights of a row as the best of its fit."""
        place = self.alive[row]
        self.best[place] = self.tensors.flat[row]
        for name, part in self.tensors.buffers.items():
            self.best_buffers[name][place] = part[row]

    def _drop_finished(self) -> None:
        rows = [r for r, p in enumerate(self.alive) if not self.fits[p].outcome.finished]
        if len(rows) < len(self.alive):
            self.tensors.narrow(torch.tensor(rows, dtype=torch.long, device=self.device))
            self.alive = [self.alive[row] for row in rows]

    def _hand_back(self, place: int) -> None:
        """Give a fit its best weights."""
        fit = self.fits[place]
        both = Both(fit.fusion, fit.objective)
        self.tensors.fill(both, self.best[place])
        with torch.no_grad():
            for name, buffer in both.named_buffers():
                buffer.copy_(self.best_buffers[name][place])
        fit.fusion.eval()
