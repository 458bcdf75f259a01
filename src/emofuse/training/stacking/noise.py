"""Dropout of many models at once: each has its own draws, the ones it would have alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from emofuse.layers.dropout import LEVELS, Dropout

__all__ = ["FedDropout", "Feed", "Layout", "draw_noise", "feed_dropouts"]


@dataclass
class Feed:
    """What the dropouts of a model are given in one pass, in the order in which they ask.

    Attributes:
        noise: factors to multiply by; None = the pass is a rehearsal that only notes what is asked.
        asked: size and dropped levels of each question of a rehearsal.
    """

    noise: Sequence[Tensor] | None = None
    asked: list[tuple[torch.Size, int]] = field(default_factory=list)
    _place: int = 0

    def begin(self, noise: Sequence[Tensor] | None) -> None:
        """Begin a pass."""
        self.noise, self._place = noise, 0
        self.asked = []

    def factor(self, values: Tensor, dropped: int) -> Tensor | None:
        """Give the factor for the next dropout."""
        if self.noise is None:
            self.asked.append((values.shape, dropped))
            return None
        self._place += 1
        return self.noise[self._place - 1].to(values.dtype)


class FedDropout(nn.Module):
    """`Dropout` that is given its factors instead of drawing them.

    Args:
        dropped: levels of 32,768 that are dropped.
        feed: shared by all dropouts of the model.
    """

    def __init__(self, dropped: int, feed: Feed) -> None:
        super().__init__()
        self._dropped, self._feed = dropped, feed

    def forward(self, values: Tensor) -> Tensor:
        """Drop; in evaluation mode give what comes in."""
        if not self.training or not self._dropped:
            return values
        factor = self._feed.factor(values, self._dropped)
        return values if factor is None else values * factor


def feed_dropouts(model: nn.Module) -> Feed:
    """Replace every `Dropout` of a model, and give what feeds them."""
    feed = Feed()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Dropout):
                setattr(module, name, FedDropout(child.dropped, feed).train(child.training))
    return feed


@dataclass(frozen=True)
class Layout:
    """Where the factors of each dropout lie in one long row of draws.

    Attributes:
        shapes: what each dropout asks for.
        starts: where its draws begin, four to a word as in `Dropout`.
        words: length of the row in words.
        dropped, scale: ``(4 * words,)``, levels that are dropped and what the rest is scaled by.
    """

    shapes: tuple[torch.Size, ...]
    starts: tuple[int, ...]
    words: int
    dropped: Tensor
    scale: Tensor

    @classmethod
    def of(cls, asked: Sequence[tuple[torch.Size, int]], device: torch.device) -> Layout:
        """Lay out what a rehearsal has asked for."""
        starts, words = [], 0
        for shape, _ in asked:
            starts.append(4 * words)
            words += -(-shape.numel() // 4)
        dropped = torch.zeros(4 * words, dtype=torch.int16, device=device)
        scale = torch.ones(4 * words, device=device)
        for (shape, levels), start in zip(asked, starts, strict=True):
            dropped[start : start + shape.numel()] = levels
            scale[start : start + shape.numel()] = LEVELS / (LEVELS - levels)
        return cls(tuple(shape for shape, _ in asked), tuple(starts), words, dropped, scale)


def draw_noise(layout: Layout, generators: Sequence[torch.Generator]) -> list[Tensor]:
    """Draw the factors of one step.

    On a processor each model gets the bits that `Dropout` would have drawn from the same state.

    Args:
        layout: of one model's pass.
        generators: one a model, on the device of the layout.

    Returns:
        One tensor a dropout, ``(models, *shape)``.
    """
    device = layout.scale.device
    words = torch.empty(len(generators), layout.words, dtype=torch.int64, device=device)
    for row, generator in zip(words, generators, strict=True):
        row.random_(generator=generator)
    draws = words.view(torch.int16).bitwise_and_(LEVELS - 1)
    kept = (draws >= layout.dropped).float().mul_(layout.scale)
    return [
        kept[:, start : start + shape.numel()].reshape(len(generators), *shape)
        for shape, start in zip(layout.shapes, layout.starts, strict=True)
    ]
