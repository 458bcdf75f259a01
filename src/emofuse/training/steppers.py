"""One epoch: a gradient step a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from emofuse.errors import TrainingError
from emofuse.layers.gather import process_count
from emofuse.losses.contract import Targets
from emofuse.losses.objective import Objective
from emofuse.models.contract import FusionModel
from emofuse.models.shared import share_model
from emofuse.training.checkpoint import under
from emofuse.training.curriculum import draw_items, learned_classes
from emofuse.training.ema import Average
from emofuse.training.feeder import Feeder
from emofuse.training.finetuning.network import rate_groups
from emofuse.training.memory import cut, too_large
from emofuse.training.mixing import Mixing
from emofuse.training.optimisers import Optimisers
from emofuse.training.options import TrainerOptions
from emofuse.training.together.gradients import make_gradients

__all__ = ["Batches", "Row", "Stepper", "Work", "check_losses", "cut_epoch"]

Row = dict[str, float | int | str | None]
Passed = tuple[int, Tensor, list[Tensor]]
"""Items of a pass, its loss, and the value of each term."""


@dataclass(frozen=True)
class Work:
    """What a stepper works on.

    Attributes:
        model, objective: what is fitted; on the device.
        feeder, targets: the training items, on the device.
        options: how to train.
        hidden_share: modality dropout in force.
        seed: of order and hidden modalities.
        accelerator: backward pass and clipping.
        frozen: parts of the model that stay in evaluation mode.
        classes: class names, for a curriculum.
    """

    model: FusionModel
    objective: Objective
    feeder: Feeder
    targets: Targets
    options: TrainerOptions
    hidden_share: float
    seed: int
    accelerator: Accelerator
    frozen: tuple[nn.Module, ...] = ()
    classes: tuple[str, ...] = ()

    @cached_property
    def shared(self) -> FusionModel:
        """What a batch is given to: the model, or those of all processes that train together."""
        return share_model(self.model)

    def train_mode(self) -> None:
        """Put everything that learns into training mode."""
        self.model.train()
        self.objective.train()
        for part in self.frozen:
            part.eval()

    def learning(self) -> dict[str, nn.Parameter]:
        """The model's parameters that are learned, by name."""
        return {name: one for name, one in self.model.named_parameters() if one.requires_grad}

    def parameters(self) -> list[nn.Parameter]:
        """Everything that is learned, the objective's own parameters included."""
        both = [*self.model.parameters(), *self.objective.parameters()]
        return [one for one in both if one.requires_grad]

    def autocast(self) -> AbstractContextManager[object]:
        """The precision in force."""
        kind = self.targets.labels.device.type
        return torch.autocast(kind, torch.bfloat16, enabled=self.options.precision == "bf16")


class Stepper(Protocol):
    """Trains for an epoch at a time."""

    converged: bool
    resumable: bool

    def epoch(self, number: int) -> Row:
        """Train epoch ``number`` (from 0); give its losses and learning rate."""

    def judged(self, loss: float) -> None:
        """Hear the dev loss of the epoch (the training loss where there is no dev)."""

    def averaged(self) -> AbstractContextManager[object]:
        """Let the model have, inside the block, the weights that count."""

    def notes(self) -> tuple[str, ...]:
        """Say what a reader of the numbers should know."""

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on after this epoch, beside the weights."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""


class Batches:
    """A gradient step a batch or a group of batches, in shuffled or class-balanced order."""

    resumable = True

    def __init__(self, work: Work) -> None:
        self.work = work
        self.converged = False
        self.done = 0.0
        """Share of the training that is over."""
        self.order = torch.Generator().manual_seed(2 * work.seed)
        self.hiding = torch.Generator().manual_seed(2 * work.seed + 1)
        self.mixing = Mixing(work.options, work.feeder, work.seed)
        self.gradients = make_gradients(work.model, work.parameters())
        self.optimisers = Optimisers(
            work.options,
            rate_groups(work.model),
            [one for one in work.objective.parameters() if one.requires_grad],
        )
        decay = work.options.ema
        self.average = None if decay is None else Average(work.learning(), decay)
        self.most: int | None = None
        """Most items of a pass that fit into memory; None where all do."""

    def epoch(self, number: int) -> Row:
        """See `Stepper.epoch`."""
        work = self.work
        work.train_mode()
        work.objective.advance(number / work.options.epochs)
        self.mixing.begin(number)
        batches = self._cut(number)
        losses: list[Tensor] = []
        norms: list[Tensor] = []
        terms: list[list[Tensor]] = []
        sizes: list[float] = []
        rate = 0.0
        for place in range(0, len(batches), work.options.accumulate):
            done = (number + place / len(batches)) / work.options.epochs
            self.done = done
            rate = self.optimisers.set_rate(number, done)
            passed, norm = self._step(batches[place : place + work.options.accumulate])
            for items, loss, values in passed:
                sizes.append(float(items))
                losses.append(loss)
                terms.append(values)
            norms += [] if norm is None else [norm]
        check_losses(losses, number, rate)
        counts = torch.tensor(sizes)
        shares = (counts / counts.sum()).to(losses[0].device)
        row: Row = {"learning_rate": rate, "loss": float(torch.stack(losses) @ shares)}
        if len(work.objective.names) > 1:
            means = shares @ torch.stack([torch.stack(values) for values in terms])
            named = zip(work.objective.names, means.tolist(), strict=True)
            row |= {f"loss:{name}": value for name, value in named}
        if norms:
            row["grad_norm"] = float(torch.stack(norms).mean())
        return row

    def _cut(self, number: int) -> list[Tensor]:
        """Draw the batches of epoch ``number``, as item numbers."""
        return cut_epoch(self.work, self.order, number)

    def loss(self, items: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Give the loss of some items, and the value of each of its terms."""
        work = self.work
        batch = work.feeder.drawn(items, work.hidden_share, self.hiding)
        mixed = self.mixing.draw(batch, work.targets.take(items))
        return mixed.judge(work.objective, work.shared(mixed.batch))

    def _step(self, group: list[Tensor]) -> tuple[list[Passed], Tensor | None]:
        """Take one step on all items of some batches.

        Where memory runs out, the step begins anew with halves of the largest part.
        """
        work = self.work
        while True:
            parts = [part for items in group for part in cut(items, self.most)]
            before = torch.get_rng_state(), self.hiding.get_state(), self.mixing.mark()
            self.optimisers.zero_grad()
            try:
                passed = self._pass(parts)
                break
            except (RuntimeError, MemoryError) as error:
                largest = max(len(part) for part in parts) if process_count() == 1 else 1
                too_large(error, largest)
                self.most = largest // 2
                torch.set_rng_state(before[0])
                self.hiding.set_state(before[1])
                self.mixing.back(before[2])
        self.gradients.settle()
        limit = work.options.clip or (math.inf if work.options.tracking else None)
        norm = None if limit is None else self.gradients.clip(limit)
        self.optimisers.step()
        if self.average is not None:
            self.average.update()
        return passed, norm

    def _pass(self, parts: list[Tensor]) -> list[Passed]:
        """Add up the gradient of the mean loss over all items, a part of them at a time."""
        work = self.work
        total = sum(len(items) for items in parts)
        passed: list[Passed] = []
        for items in parts:
            with work.autocast():
                loss, values = self.loss(items)
            share = len(items) / total
            self.gradients.backward(loss if len(parts) == 1 else loss * share)
            passed.append((len(items), loss.detach(), list(values.values())))
        return passed

    def judged(self, loss: float) -> None:
        """See `Stepper.judged`."""
        self.optimisers.judged(loss)

    def averaged(self) -> AbstractContextManager[object]:
        """See `Stepper.averaged`."""
        return nullcontext() if self.average is None else self.average.applied()

    def notes(self) -> tuple[str, ...]:
        """See `Stepper.notes`."""
        if self.most is None:
            return ()
        cut_to = f"batches were cut into parts of at most {self.most} utterances"
        return (f"out of memory: {cut_to}, whose gradients were added up",)

    def state(self) -> dict[str, Tensor]:
        """See `Stepper.state`."""
        found = {"order": self.order.get_state(), "hiding": self.hiding.get_state()}
        if self.average is not None:
            found |= {f"average.{name}": one for name, one in self.average.state().items()}
        if self.most is not None:
            found["most"] = torch.tensor(self.most)
        return self.optimisers.state() | found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Stepper.restore`."""
        self.optimisers.restore(tensors)
        self.order.set_state(tensors["order"])
        self.hiding.set_state(tensors["hiding"])
        if self.average is not None:
            self.average.restore(under("average", tensors))
        if "most" in tensors:
            self.most = int(tensors["most"])


def cut_epoch(work: Work, order: torch.Generator, number: int) -> list[Tensor]:
    """Draw the batches of epoch ``number`` (from 0), as item numbers."""
    size, options = work.options.batch_size, work.options
    learned = learned_classes(options.curriculum, number / options.epochs, work.classes)
    balanced = options.sampler == "balanced"
    drawn = draw_items(work.targets.labels.cpu(), learned, order, balanced=balanced)
    batches = work.feeder.shuffled(size, order, drawn)
    full = [items for items in batches if len(items) == size]
    return full if options.drop_last and full else batches


def check_losses(losses: list[Tensor], epoch: int, rate: float) -> None:
    """Check that every loss of an epoch is a number.

    Raises:
        TrainingError: one is not.
    """
    finite = torch.isfinite(torch.stack(losses))
    if not bool(finite.all()):
        batch = int((~finite).int().argmax())
        raise TrainingError(
            f"the loss is {float(losses[batch])} in epoch {epoch + 1}, batch {batch + 1} (learning "
            f"rate {rate:.3g}); lower trainer.learning_rate or set trainer.clip"
        )
