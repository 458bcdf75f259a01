"""The early fusions of the Copenhagen study (see `models.copenhagen`)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from emofuse.layers.clip import fix_length
from emofuse.layers.copenhagen_reading import Found, Reading, Sequence, hidden_layer
from emofuse.layers.copenhagen_solo import ResNetTrunk, decibels
from emofuse.layers.pooling import masked_mean
from emofuse.layers.presence import AbsentToken

__all__ = ["EarlyFusion"]


class EarlyFusion(nn.Module):
    """One vector a modality, side by side, and a perceptron.

    Args:
        dims: modality -> feature size.
        classes: number of classes.
        reading: the options.
    """

    def __init__(self, dims: Mapping[str, int], classes: int, reading: Reading) -> None:
        super().__init__()
        self.reading = reading
        resnet = reading.fusion == "resnet+cls"
        self.trunk = ResNetTrunk(reading) if resnet else None
        flat = reading.max_frames * dims["audio"]
        sizes = {"resnet+cls": 512, "w2v2+cls": dims["audio"], "flatmel+cls": flat}
        order = ("text", "audio") if reading.fusion == "w2v2+cls" else ("audio", "text")
        widths = {"audio": sizes[reading.fusion], "text": dims["text"]}
        self.widths = {name: widths[name] for name in order}
        self.norms = nn.ModuleDict(
            {name: nn.LayerNorm(width) for name, width in self.widths.items() if resnet}
        )
        self.absent = nn.ModuleDict(
            {n: AbsentToken(width) for n, width in self.widths.items() if not reading.published}
        )
        total, rate = sum(self.widths.values()), reading.dropout
        layers = hidden_layer(total, 512, rate)
        if reading.classifier == "mlp":
            layers += hidden_layer(512, 256, rate)
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(256 if reading.classifier == "mlp" else 512, classes)

    def forward(self, parts: Mapping[str, Sequence], size: int) -> Found:
        """Recognise a batch of ``size`` items."""
        vectors = {name: self._vector(name, parts.get(name), size) for name in self.widths}
        fused = self.body(torch.cat(list(vectors.values()), dim=1))
        given = {name: vector for name, vector in vectors.items() if name in parts}
        return Found(self.head(fused), fused, given, self._sizes(given))

    def _vector(self, name: str, part: Sequence | None, size: int) -> Tensor:
        vector = None if part is None else self._pooled(name, *part)
        if vector is not None and name in self.norms:
            vector = self.norms[name](vector)
        if name not in self.absent:
            return vector if vector is not None else torch.zeros(size, self.widths[name])
        if vector is None or part is None:
            tokens, _, _ = self.absent[name](None, None, size)
        else:
            there = part[1].any(dim=1, keepdim=True)
            tokens, _, _ = self.absent[name](vector[:, None], there, size)
        found: Tensor = tokens[:, 0]
        return found

    def _pooled(self, name: str, values: Tensor, mask: Tensor) -> Tensor:
        if name == "text" or self.reading.fusion == "w2v2+cls":
            return masked_mean(values, mask)
        if self.trunk is not None:
            vector, _ = self.trunk(values, mask)
            return torch.as_tensor(vector)
        if self.reading.published:
            values = decibels(values, mask)
        return fix_length(values, self.reading.max_frames).transpose(1, 2).flatten(1)

    def _sizes(self, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the norm of what each modality adds to the first layer, in evaluation mode."""
        first = self.body[0]
        if self.training or not isinstance(first, nn.Linear):
            return {}
        cut = torch.split(first.weight, list(self.widths.values()), dim=1)
        weights = dict(zip(self.widths, cut, strict=True))
        return {name: (part @ weights[name].T).norm(dim=1) for name, part in vectors.items()}
