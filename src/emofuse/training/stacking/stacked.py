"""Many small trainings as one batched computation (`torch.func`): folds x seeds at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from emofuse.layers.modality_dropout import keep_drawn
from emofuse.layers.presence import AbsentToken
from emofuse.losses.contract import Targets
from emofuse.losses.objective import Objective
from emofuse.models.contract import Batch, FusionModel, Sequences
from emofuse.training.feeder import Feeder
from emofuse.training.fit import Fit
from emofuse.training.judge import better_is_higher, judge
from emofuse.training.stacking.noise import Layout, draw_noise, feed_dropouts
from emofuse.training.stacking.tensors import NotStackable, Rates, StackTensors
from emofuse.training.steppers import Row, Work, check_losses, cut_epoch

__all__ = ["Stack", "StackHook"]

StackHook = Callable[[int, Row], None]
"""Told the place of a fit and the row of an epoch."""
DEV_ITEMS = 1024


class _Both(nn.Module):
    """A model and its objective as one function of tensors."""

    def __init__(self, model: FusionModel, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(
        self,
        values: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        batch = Batch({name: Sequences(part, masks[name]) for name, part in values.items()})
        output = self.model(batch)
        told = Targets(targets["labels"], targets.get("soft"), targets.get("vad"))
        loss, terms = self.objective(output, told)
        return loss, torch.stack(list(terms.values())), output.logits


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
        works = [_work(fit) for fit in fits]
        self._works = works
        modules = [_Both(fit.fusion, fit.objective) for fit in fits]
        self._base = deepcopy(modules[0])
        self._feed = feed_dropouts(self._base.model)
        self._objective_feed = feed_dropouts(self._base.objective)
        self._late = _late(modules[0], tuple(fits[0].fusion.spec.dims))
        self.tensors = StackTensors(modules, self.options, tuple(self._late))
        self.best = self.tensors.flat.clone()
        self.best_buffers = {name: part.clone() for name, part in self.tensors.buffers.items()}
        self._data = _Data(works)
        self._dropout = [torch.Generator(self.device).manual_seed(fit.seed) for fit in fits]
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

    def rehearse(self) -> None:
        """Check that the first batch has the same loss in the stack as alone.

        Raises:
            NotStackable: it has not, or the model takes a way that a stack cannot.
        """
        _same_attributes([_Both(fit.fusion, fit.objective) for fit in self.fits])
        before = torch.get_rng_state()
        try:
            self._rehearse()
        except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
            raise NotStackable(f"{type(error).__name__}: {error}") from error
        if not torch.equal(before, torch.get_rng_state()):
            raise NotStackable("it draws random numbers outside of its dropouts")

    def _rehearse(self) -> None:
        items = {
            p: cut_epoch(self._works[p], _copy(_orders(self.fits[p])[0]), 0) for p in self.alive
        }
        size = min(len(batches[0]) for batches in items.values())
        rows = list(range(min(2, len(self.alive))))
        chosen = {p: items[self.alive[p]][0][:size] for p in rows}
        self._base.train()
        noise = self._noise([_copy(self._dropout[p]) for p in rows], self._example(chosen, size))
        index = torch.tensor(rows, device=self.device)
        batch = self._data.batch([self.alive[p] for p in rows], [chosen[p] for p in rows], None)
        state = self.tensors.parameters(index), self.tensors.buffers_of(index)
        copied = {name: part.clone() for name, part in state[1].items()}
        together, _, _ = self._pass((state[0], copied), batch, noise)
        for row in rows:
            one = [{n: part[row] for n, part in half.items()} for half in state]
            one[1] = {n: part.clone() for n, part in one[1].items()}
            self._feed.begin([part[row] for part in noise])
            with self._works[0].autocast():
                alone, _, _ = functional_call(
                    self._base, (one[0], one[1]), tuple(_row(part, row) for part in batch)
                )
            if not torch.allclose(together[row], alone, rtol=1e-3, atol=1e-5):
                raise NotStackable("its loss is another one in a stack")

    def randomness(self) -> dict[str, Tensor]:
        """Give the states of all generators and of ``plateau``, for a checkpoint."""
        found: dict[str, Tensor] = {}
        for place, fit in enumerate(self.fits):
            order, hiding = _orders(fit)
            found[f"{place}.order"], found[f"{place}.hiding"] = (
                order.get_state(),
                hiding.get_state(),
            )
            found[f"{place}.dropout"] = self._dropout[place].get_state()
            found[f"{place}.plateau"] = _optimisers(fit).plateau.state()
        return found

    def set_randomness(self, states: Mapping[str, Tensor]) -> None:
        """Put back what `randomness` gave."""
        for place, fit in enumerate(self.fits):
            order, hiding = _orders(fit)
            order.set_state(states[f"{place}.order"])
            hiding.set_state(states[f"{place}.hiding"])
            self._dropout[place].set_state(states[f"{place}.dropout"])
            _optimisers(fit).plateau.restore(states[f"{place}.plateau"])

    def _epoch(self) -> dict[int, Row]:
        """Train an epoch of every fit that is not finished, and judge dev."""
        number = self.fits[self.alive[0]].outcome.epoch
        self._base.train()
        self._base.objective.advance(number / self.options.epochs)
        batches = [cut_epoch(self._works[p], _orders(self.fits[p])[0], number) for p in self.alive]
        terms = len(self._works[0].objective.names)
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
                    rates[row] = _optimisers(self.fits[self.alive[row]]).set_rate(number, done)
                self._step(rows, [batches[row][step] for row in rows], rates, total)
        return self._close_epoch(number, total, rates)

    def _step(
        self, rows: list[int], items: list[Tensor], rates: Sequence[float], total: _Sum
    ) -> None:
        """Take one step of the models in these rows, whose batches are of one size."""
        everyone = len(rows) == len(self.alive)
        index = torch.tensor(rows, device=self.device)
        places = [self.alive[row] for row in rows]
        noise = self._noise(
            [self._dropout[self.alive[row]] for row in rows],
            self._example(dict(zip(rows, items, strict=True)), len(items[0])),
        )
        hiding = [_orders(self.fits[place])[1] for place in places]
        batch = self._data.batch(places, items, hiding)
        buffers = self.tensors.buffers_of(None if everyone else index)
        parameters = self.tensors.parameters(None if everyone else index)
        leaves = {name: part.requires_grad_() for name, part in parameters.items()}
        losses, terms, _ = self._pass((leaves, buffers), batch, noise)
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

    def _pass(
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
            self._feed.begin(factors)
            found: tuple[Tensor, Tensor, Tensor] = functional_call(
                self._base, (parameters, buffers), given
            )
            return found

        where = (0, 0, None if shared else 0, 0)
        with self._works[0].autocast():
            found: tuple[Tensor, Tensor, Tensor] = torch.vmap(one, where, randomness="error")(
                *state, batch, list(noise)
            )
        return found

    def _noise(
        self, generators: Sequence[torch.Generator], example: tuple[Any, int]
    ) -> list[Tensor]:
        """Draw the dropout of a step; a first batch of each size is rehearsed."""
        batch, size = example
        if size not in self._layouts:
            self._feed.begin(None)
            with torch.no_grad(), self._works[0].autocast():
                state = self.tensors.parameters(None), self.tensors.buffers_of(None)
                one = tuple({n: part[0].clone() for n, part in half.items()} for half in state)
                functional_call(self._base, one, tuple(_row(part, 0) for part in batch()))
            if self._objective_feed.asked:
                raise NotStackable("its objective has a dropout")
            self._layouts[size] = Layout.of(self._feed.asked, self.device)
        return draw_noise(self._layouts[size], generators)

    def _example(self, items: Mapping[int, Tensor], size: int) -> tuple[Any, int]:
        row, chosen = next(iter(items.items()))
        return (lambda: self._data.batch([self.alive[row]], [chosen], None)), size

    def _lacking(self, masks: Mapping[str, Tensor]) -> Tensor | None:
        """Tell for which models a frame stands in for an absent modality: ``(models, late)``."""
        found = [~masks[name].any(dim=2).all(dim=1) for name in self._late.values()]
        return torch.stack(found, dim=1) if found else None

    def _rates(self, places: Sequence[int], rows: Sequence[int], rates: Sequence[float]) -> Rates:
        groups = [_optimisers(self.fits[place]).main.param_groups[0] for place in places]
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
        names = self._works[0].objective.names
        for row, place in enumerate(self.alive):
            one: Row = {"epoch": number + 1, "learning_rate": rates[row], "loss": means[row]}
            if len(names) > 1:
                one |= {f"loss:{n}": v for n, v in zip(names, terms[row], strict=True)}
            if total.clipped:
                one["grad_norm"] = norms[row]
            self.fits[place].outcome.epoch += 1
            found[place] = one
        self._judge(found)
        return found

    @torch.no_grad()
    def _judge(self, found: Mapping[int, Row]) -> None:
        """Judge dev, one pass for all fits of the same dev; keep best weights; stop early."""
        groups: dict[bytes, list[int]] = {}
        self._base.eval()
        for row, place in enumerate(self.alive):
            dev = self.fits[place].dev
            if dev is None:
                self.fits[place].outcome.best_epoch = self.fits[place].outcome.epoch
                self._settle(row, found[place], None)
            else:
                groups.setdefault(dev.rows.cpu().numpy().tobytes(), []).append(row)
        for rows in groups.values():
            fit = self.fits[self.alive[rows[0]]]
            losses, predicted = self._look(rows, fit)
            labels = fit.dev_targets.labels.cpu()
            for row, loss, guess in zip(rows, losses.tolist(), predicted, strict=True):
                scored = judge(labels, guess, len(fit.classes))
                metrics = {"loss": loss, **scored}
                shown = found[self.alive[row]]
                shown |= {f"dev_{name}": value for name, value in metrics.items()}
                self._settle(row, shown, better_is_higher(metrics, self.options.monitor))

    def _look(self, rows: list[int], fit: Fit) -> tuple[Tensor, Tensor]:
        """Give the dev losses ``(rows,)`` and decisions ``(rows, items)``, on the CPU."""
        index = torch.tensor(rows, device=self.device)
        state = self.tensors.parameters(index), self.tensors.buffers_of(index)
        feeder, targets = fit.dev_feeder, fit.dev_targets
        total = torch.zeros(len(rows), device=self.device)
        guesses, order = [], []
        for items in feeder.in_order(DEV_ITEMS):
            part = feeder.batch(items).modalities
            batch = (
                {name: one.values for name, one in part.items()},
                {name: one.mask for name, one in part.items()},
                _targets(targets.take(items)),
            )
            losses, _, logits = self._pass(state, batch, (), shared=True)
            total += losses * len(items)
            guesses.append(logits.argmax(dim=2))
            order.append(items)
        places = torch.argsort(torch.cat(order)).cpu()
        return (total / len(feeder)).cpu(), torch.cat(guesses, dim=1).cpu()[:, places]

    def _settle(self, row: int, shown: Row, score: float | None) -> None:
        """Keep the weights where they are the best so far, and see whether this fit is over."""
        fit = self.fits[self.alive[row]]
        outcome, patience = fit.outcome, self.options.patience
        if score is None or outcome.best is None or score > outcome.best:
            if score is not None:
                outcome.best, outcome.best_epoch, outcome.waiting = score, outcome.epoch, 0
            self._keep(row)
        else:
            outcome.waiting += 1
        fit.stepper.judged(float(shown.get("dev_loss", shown["loss"]) or 0.0))
        waited = patience is not None and outcome.waiting >= patience
        outcome.finished = outcome.epoch >= fit.epochs or waited

    def _keep(self, row: int) -> None:
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
        both = _Both(fit.fusion, fit.objective)
        self.tensors.fill(both, self.best[place])
        with torch.no_grad():
            for name, buffer in both.named_buffers():
                buffer.copy_(self.best_buffers[name][place])
        fit.fusion.eval()


class _Data:
    """The training items of all fits in one matrix a modality; fits of one fold share theirs."""

    def __init__(self, works: Sequence[Work]) -> None:
        feeders: dict[int, tuple[int, Work]] = {}
        start = 0
        for work in works:
            if id(work.feeder) not in feeders:
                feeders[id(work.feeder)] = (start, work)
                start += len(work.feeder)
        distinct = [work for _, work in feeders.values()]
        self._starts = [feeders[id(work.feeder)][0] for work in works]
        dense = [work.feeder.dense for work in distinct]
        held = [one for one in dense if one is not None]
        if len(held) < len(dense):
            raise NotStackable("its features are sequences of frames")
        self._values = {n: torch.cat([one[n].values for one in held]) for n in held[0]}
        self._masks = {n: torch.cat([one[n].mask for one in held]) for n in held[0]}
        parts = [_targets(work.targets) for work in distinct]
        self._targets = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        self._hidden = works[0].hidden_share

    def batch(
        self,
        places: Sequence[int],
        items: Sequence[Tensor],
        hiding: Sequence[torch.Generator] | None,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Give ``(fits, items, ...)`` values, masks and targets; hide modalities on request."""
        starts = [self._starts[place] for place in places]
        rows = torch.stack([one + start for one, start in zip(items, starts, strict=True)])
        values = {name: part[rows] for name, part in self._values.items()}
        masks = {name: part[rows] for name, part in self._masks.items()}
        if hiding is not None and self._hidden and len(masks) > 1:
            present = torch.stack([part.any(dim=2) for part in masks.values()], dim=2)
            draws = [torch.rand((2, *present.shape[1:]), generator=one) for one in hiding]
            drawn = torch.stack(draws, dim=1).to(present.device)
            kept = keep_drawn(present, self._hidden, drawn)
            masks = {n: m & kept[:, :, i, None] for i, (n, m) in enumerate(masks.items())}
        return values, masks, {name: part[rows] for name, part in self._targets.items()}


def _late(module: nn.Module, modalities: Sequence[str]) -> dict[str, str]:
    """Name the frames that stand in for an absent modality, and the modality of each.

    A batch that lacks nothing does not use them, and an optimiser then passes over them.

    Raises:
        NotStackable: a frame that does not say for which modality it stands.
    """
    found: dict[str, str] = {}
    for name, part in module.named_modules():
        if isinstance(part, AbsentToken):
            stands_for = [one for one in name.split(".") if one in modalities]
            if len(stands_for) != 1:
                raise NotStackable(f"{name} stands for no one modality")
            found |= {f"{name}.{inner}": stands_for[0] for inner, _ in part.named_parameters()}
    return found


def share_feeders(fits: Sequence[Fit], parts: Sequence[bytes]) -> None:
    """Let fits of the same training part use one feeder.

    Args:
        fits: whose.
        parts: what tells training parts apart, one a fit.
    """
    known: dict[bytes, Feeder] = {}
    for fit, part in zip(fits, parts, strict=True):
        work = _work(fit)
        feeder = known.setdefault(part, work.feeder)
        fit.stepper.work = replace(work, feeder=feeder)  # type: ignore[attr-defined]


def _targets(targets: Targets) -> dict[str, Tensor]:
    found = {"labels": targets.labels, "soft": targets.soft, "vad": targets.vad}
    return {name: part for name, part in found.items() if part is not None}


def _row(part: Mapping[str, Tensor], row: int) -> dict[str, Tensor]:
    return {name: one[row] for name, one in part.items()}


def _copy(generator: torch.Generator) -> torch.Generator:
    made = torch.Generator(generator.device)
    made.set_state(generator.get_state())
    return made


def _work(fit: Fit) -> Work:
    work: Work = fit.stepper.work  # type: ignore[attr-defined]
    return work


def _orders(fit: Fit) -> tuple[torch.Generator, torch.Generator]:
    stepper: Any = fit.stepper
    return stepper.order, stepper.hiding


def _optimisers(fit: Fit) -> Any:
    stepper: Any = fit.stepper
    return stepper.optimisers


def _same_attributes(modules: Sequence[nn.Module]) -> None:
    """Check that models differ in tensors alone: in a stack the first speaks for all.

    Raises:
        NotStackable: another attribute differs.
    """
    first = [_plain_attributes(one) for one in modules[0].modules()]
    for other in modules[1:]:
        for one, two in zip(first, other.modules(), strict=True):
            found = _plain_attributes(two)
            differing = [name for name in one if one[name] != found.get(name)]
            if differing:
                kind = type(two).__name__
                raise NotStackable(f"{differing[0]!r} of {kind} differs between the trainings")


def _plain_attributes(module: nn.Module) -> dict[str, Any]:
    plain = (int, float, str, bool, tuple, list, dict)
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, plain) and not name.startswith("_") and not _holds_tensor(value)
    }


def _holds_tensor(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value
    return isinstance(value, list | tuple | dict) and any(isinstance(one, Tensor) for one in inner)
