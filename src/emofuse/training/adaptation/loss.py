"""The loss of an encoder that is adapted: views of some utterances, through encoder and head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emofuse.encoders.contract import FloatArray
from emofuse.errors import TrainingError
from emofuse.losses.cross_entropy import class_weights, cross_entropy
from emofuse.losses.nt_xent import nt_xent, same_items
from emofuse.training.adaptation.data import Corpus, Material, crop, drop_words
from emofuse.training.adaptation.network import Adapting, AudioAdapting
from emofuse.training.adaptation.options import AdaptOptions

__all__ = ["AdaptLoss"]


class AdaptLoss:
    """NT-Xent of two views of each utterance, or cross-entropy of one.

    Args:
        encoder: what is adapted.
        head: gives projections or logits.
        corpus: where the media are, and the classes.
        options: objective and views.
    """

    def __init__(
        self, encoder: Adapting, head: nn.Module, corpus: Corpus, options: AdaptOptions
    ) -> None:
        self.encoder, self.head, self.corpus, self.options = encoder, head, corpus, options
        self.weights = self._class_weights()

    def __call__(self, part: Material, places: list[int], generator: torch.Generator) -> Tensor:
        """Draw views of the items at ``places`` of a part, and give their loss, a scalar.

        Raises:
            MediaError: a recording cannot be read.
        """
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
        if isinstance(self.encoder, AudioAdapting):
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
