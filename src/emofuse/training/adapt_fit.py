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

from emofuse.encoders.contract import FloatArray
from emofuse.errors import TrainingError
from emofuse.losses.cross_entropy import class_weights, cross_entropy
from emofuse.losses.nt_xent import nt_xent, same_items
from emofuse.models.build import seeded
from emofuse.progress import Progress, ProgressEvent
from emofuse.training.adapt_data import Corpus, Material, crop, drop_words
from emofuse.training.adapt_network import Adapting, SpeechAdapting
from emofuse.training.adapt_options import AdaptOptions
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
        self.weights = self._class_weights()
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
            loss = self._loss(part, places, generator)
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
            total += float(self._loss(part, places, generator)) * len(places)
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

    def _loss(self, part: Material, places: list[int], generator: torch.Generator) -> Tensor:
        if self.options.objective == "supervised":
            logits = self.head(self._views(part, places, generator)[0])
            if part.labels is None:
                raise TrainingError("there are no labels to learn from")
            labels = part.labels[places].to(logits.device)
            return cross_entropy(logits, labels, weights=self.weights)
        first, second = (self.head(view) for view in self._views(part, places, generator, 2))
        masked = self.options.value("copies") == "masked"
        same = same_items([part.keys[place] for place in places]) if masked else None
        return nt_xent(first, second, self.options.value("temperature"), same)

    def _views(
        self, part: Material, places: list[int], generator: torch.Generator, count: int = 1
    ) -> list[Tensor]:
        works = [part.works[place] for place in places]
        if isinstance(self.encoder, SpeechAdapting):
            encoder = self.encoder
            rate = encoder.sample_rate
            waves = [encoder.prepare(self.corpus.wave(work, rate)) for work in works]
            name = "crop_seconds" if count == 2 else "longest_seconds"
            samples = max(1, round(self.options.value(name) * rate))
            clips: list[list[FloatArray]] = [
                [crop(wave, samples, generator) for wave in waves] for _ in range(count)
            ]
            return [encoder(view) for view in clips]
        texts = [work.source for work in works]
        if count == 1:
            return [self.encoder(texts)]
        rate = self.options.value("word_dropout")
        return [
            self.encoder([drop_words(text, rate, generator) for text in texts])
            for _ in range(count)
        ]

    def _class_weights(self) -> Tensor | None:
        labels = self.corpus.train.labels
        if labels is None:
            return None
        counts = torch.bincount(labels, minlength=len(self.corpus.classes))
        found = class_weights(counts, self.options.value("class_weights"))
        return None if found is None else found.to(self.encoder.device)

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
