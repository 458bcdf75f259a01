"""Audio patches and text tokens that look at each other."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from emofuse.layers.attention_block import AttentionBlock

__all__ = ["CrossFusion", "Direction"]

Direction = Literal["both", "text->audio", "audio->text"]


class CrossFusion(nn.Module):
    """Post-norm layers of cross-attention, both directions from the same states before.

    Args:
        width, heads, depth: size of a token, heads and layers.
        dropout: everywhere.
        direction: ``text->audio`` lets text tokens look at audio alone, and so on.
    """

    def __init__(
        self, width: int, heads: int, depth: int, dropout: float, direction: Direction
    ) -> None:
        super().__init__()
        sides = {"audio": direction != "text->audio", "text": direction != "audio->text"}
        self.sides = tuple(name for name, looks in sides.items() if looks)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    name: AttentionBlock(width, heads, 4 * width, dropout, norm_first=False)
                    for name in self.sides
                }
            )
            for _ in range(depth)
        )

    def forward(
        self, tokens: dict[str, Tensor], masks: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
        """Mix.

        Args:
            tokens: ``audio`` and ``text``, each ``(batch, n, width)``.
            masks: ``(batch, n)`` bool, at least one True a row.

        Returns:
            The tokens, and a layer's attention: ``audio->text`` is ``(batch, heads, n, m)``, audio
            patches that look at text tokens.
        """
        other = {"audio": "text", "text": "audio"}
        maps: list[dict[str, Tensor]] = []
        for layer in self.layers:
            fresh, seen = dict(tokens), {}
            for name in self.sides:
                block, memory = layer[name], other[name]  # type: ignore[index]
                fresh[name], weights = block(tokens[name], masks[memory], tokens[memory])
                seen[f"{name}->{memory}"] = weights
            tokens = fresh
            maps.append(seen)
        return tokens, maps
