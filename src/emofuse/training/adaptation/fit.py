"""The training of an encoder that is adapted: views, epochs, checkpoints, the best weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emofuse.errors import TrainingError
from emofuse.models.build import seeded
from emofuse.progress import Progress, ProgressEvent
from emofuse.training.adaptation.data import Corpus
from emofuse.training.adaptation.loss import AdaptLoss
from emofuse.training.adaptation.network import Adapting
from emofuse.training.adaptation.options import AdaptOptions
from emofuse.training.checkpoint import (
    load_state,
    pack_optimiser,
    save_state,
    under,
    unpack_optimiser,
)

__all__ = ["Fitted", "fit_encoder"]

DEV = (1 << 32) - 1  # in the place of the epoch, for draws that are the same in every epoch


@dataclass
class Fitted:
    """How far a training is.

    Attributes:
        epoch: epochs done.
        history: ``epoch``, ``train`` and ``dev`` (or None) loss of each.
        best: epoch of the lowest dev loss; without dev the last.
        stopped: whether patience ended it.
    """

    epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: int = 0
    stopped: bool = False

    @property
    def lowest(self) -> float:
        """The lowest dev loss so far."""
        known = [row["dev"] for row in self.history if row["dev"] is not None]
        return min(known, default=math.inf)


def fit_encoder(
    encoder: Adapting,
    head: nn.Module,
    corpus: Corpus,
    *,
    options: AdaptOptions,
    checkpoint: Path,
    progress: Progress,
) -> Fitted:
    """Adapt an encoder through a head, going on from a checkpoint where there is one.

    Every epoch draws from a seed of its own, so that a training that was stopped between two
    epochs ends with the same weights. Afterwards both modules hold the best weights.

    Args:
        encoder: learns in its upper layers.
        head: learns on top of it.
        corpus: train and dev.
        options: how.
        checkpoint: file, written after every epoch.
        progress: told of stage ``adapt``.

    Raises:
        TrainingError: the loss is no number, or the checkpoint is damaged.
        MediaError: a recording cannot be read.
    """
    fit = _Fit(encoder, head, corpus, options=options, checkpoint=checkpoint, progress=progress)
    return fit.run()


class _Fit:
    def __init__(
        self,
        encoder: Adapting,
        head: nn.Module,
        corpus: Corpus,
        *,
        options: AdaptOptions,
        checkpoint: Path,
        progress: Progress,
    ) -> None:
        self.encoder, self.head, self.corpus, self.options = encoder, head, corpus, options
        self.checkpoint, self.progress = checkpoint, progress
        self.parameters = {f"encoder.{n}": p for n, p in encoder.learnt().items()}
        self.parameters |= {f"head.{n}": p for n, p in head.named_parameters()}
        self.optimiser = torch.optim.AdamW(
            self.parameters.values(),
            lr=options.value("learning_rate"),
            weight_decay=options.weight_decay,
        )
        self.loss = AdaptLoss(encoder, head, corpus, options)
        self.best: dict[str, Tensor] = {}
        self.state = Fitted()

    def run(self) -> Fitted:
        self._restore()
        while not self.state.stopped and self.state.epoch < self.options.epochs:
            self._epoch()
            self._save()
        with torch.no_grad():
            for name, value in self.best.items():
                self.parameters[name].copy_(value)
        return self.state

    def _epoch(self) -> None:
        epoch = self.state.epoch
        seed = _seed(self.options.seed, epoch)
        generator = torch.Generator().manual_seed(seed)
        with seeded(seed):
            loss = self._learn(generator, epoch)
        dev = self._judge() if len(self.corpus.dev) else None
        better = dev is None or dev < self.state.lowest
        self.state.epoch = epoch + 1
        self.state.history.append({"epoch": epoch + 1, "train": loss, "dev": dev})
        if better:
            self.state.best = epoch + 1
            self.best = {name: one.detach().clone() for name, one in self.parameters.items()}
        patience = self.options.patience
        self.state.stopped = patience is not None and epoch + 1 - self.state.best >= patience
        self._tell(epoch + 1, 0, loss, dev)

    def _learn(self, generator: torch.Generator, epoch: int) -> float:
        self.encoder.train()
        self.head.train()
        part = self.corpus.train
        order = torch.randperm(len(part), generator=generator).tolist()
        batches = list(self._batches(order))
        total, seen = 0.0, 0
        for number, places in enumerate(batches):
            loss = self.loss(part, places, generator)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss became {value} in epoch {epoch + 1}; take a smaller learning_rate"
                )
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if self.options.clip is not None:
                nn.utils.clip_grad_norm_(self.parameters.values(), self.options.clip)
            self.optimiser.step()
            total, seen = total + value * len(places), seen + len(places)
            self._tell(epoch, (number + 1) / len(batches), total / seen, None)
        return total / seen

    @torch.no_grad()
    def _judge(self) -> float:
        self.encoder.eval()
        self.head.eval()
        part = self.corpus.dev
        generator = torch.Generator().manual_seed(_seed(self.options.seed, DEV))
        total, seen = 0.0, 0
        for places in self._batches(range(len(part))):
            total += float(self.loss(part, places, generator)) * len(places)
            seen += len(places)
        return total / seen if seen else math.inf

    def _batches(self, order: Sequence[int]) -> Iterator[list[int]]:
        """Cut into batches; a last one of one item has no negatives, and joins the one before."""
        size = self.options.batch_size
        starts = list(range(0, len(order), size))
        alone = self.options.objective == "contrastive" and len(order) - starts[-1] == 1
        if alone and len(starts) > 1:
            starts.pop()
        for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
            yield list(order[start:end])

    def _save(self) -> None:
        tensors: dict[str, Tensor] = {f"now.{n}": p for n, p in self.parameters.items()}
        tensors |= {f"best.{n}": p for n, p in self.best.items()}
        tensors |= {f"optimiser.{n}": p for n, p in pack_optimiser(self.optimiser).items()}
        state = self.state
        note = {
            "epoch": state.epoch,
            "history": state.history,
            "best": state.best,
            "stopped": state.stopped,
        }
        save_state(self.checkpoint, tensors, note)

    def _restore(self) -> None:
        loaded = load_state(self.checkpoint)
        if loaded is None:
            return
        tensors, note = loaded
        now: Mapping[str, Tensor] = under("now", tensors)
        if now.keys() != self.parameters.keys():
            raise TrainingError(f"checkpoint {self.checkpoint} is of another model; delete it")
        with torch.no_grad():
            for name, value in now.items():
                self.parameters[name].copy_(value)
        device = self.encoder.device
        self.best = {name: value.to(device) for name, value in under("best", tensors).items()}
        unpack_optimiser(self.optimiser, under("optimiser", tensors))
        self.state = Fitted(note["epoch"], note["history"], note["best"], note["stopped"])

    def _tell(self, epoch: int, share: float, loss: float, dev: float | None) -> None:
        values: dict[str, float | str] = {"epoch": str(epoch + (share > 0)), "loss": loss}
        if dev is not None:
            values["dev"] = dev
        done = round(100 * (epoch + share))
        self.progress(ProgressEvent("adapt", done, 100 * self.options.epochs, "% epochs", values))


def _seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
