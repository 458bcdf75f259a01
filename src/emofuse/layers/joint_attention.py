"""The fusion network of 3M-SER and 4M-SER: text and audio side by side in one sequence."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from emofuse.layers.attention_norm import AttentionNorm
from emofuse.layers.frame_norm import FrameNorm, FrameNormKind
from emofuse.layers.joined import Joined, Masked
from emofuse.layers.pooling import masked_mean
from emofuse.layers.token_pooling import TokenPooling, TokenPoolingKind

__all__ = ["FusionKind", "JointAttention"]

FusionKind = Literal["self-attention", "concat", "none"]


class JointAttention(nn.Module):
    """Text looks at itself; then text and audio, end to end, look at themselves; then a vector.

    Args:
        text_dim: size of text tokens.
        audio_dim: size of audio frames.
        width: size inside; audio of another size is projected.
        heads: heads of both attentions.
        dropout: share of attention weights dropped.
        audio_norm: how audio frames are levelled.
        fusion: ``self-attention``; ``concat`` pools text and audio each by itself and sets the
            vectors side by side; ``none`` pools the sequence without the second attention.
        pooling: how a sequence becomes a vector.
        residual: add what goes into each attention to what comes out.
    """

    def __init__(
        self,
        text_dim: int,
        audio_dim: int,
        width: int,
        *,
        heads: int,
        dropout: float,
        audio_norm: FrameNormKind,
        fusion: FusionKind,
        pooling: TokenPoolingKind,
        residual: bool,
    ) -> None:
        super().__init__()
        self.kind, self.pooling = fusion, pooling
        common = {"heads": heads, "dropout": dropout}
        inside, around = ("inside", "around") if residual else ("none", "none")
        self.text = AttentionNorm(text_dim, width, **common, residual=inside)  # type: ignore[arg-type]
        self.project = nn.Linear(audio_dim, width) if audio_dim != width else nn.Identity()
        self.audio_norm = FrameNorm(audio_norm, width)
        self.fusion = (
            AttentionNorm(width, width, **common, residual=around)  # type: ignore[arg-type]
            if fusion == "self-attention"
            else None
        )
        parts = ("text", "audio") if fusion == "concat" else ("joint",)
        self.pools = nn.ModuleDict({name: TokenPooling(pooling, width) for name in parts})
        self.outputs = width * len(parts)

    def forward(self, text: Masked, audio: Masked) -> Joined:
        """Fuse two sequences; both masks are given, or neither."""
        states, looked = self.text(text.values, text.values, text.mask)
        words = Masked(states, text.mask)
        sound = Masked(self.audio_norm(self.project(audio.values), audio.mask), audio.mask)
        maps = {"text->text": looked}
        if self.kind == "concat":
            pooled = {
                name: self.pools[name](one.values, one.mask)
                for name, one in (("text", words), ("audio", sound))
            }
            sizes = {name: one.norm(dim=1) for name, one in pooled.items()}
            fused = torch.cat([pooled["text"], pooled["audio"]], dim=1)
            return Joined(fused, self._embeddings(words, sound), sizes, maps)
        joint = _join(words, sound)
        if self.fusion is None:
            sums = {"text": _total(words), "audio": _total(sound)}
            sizes = {name: one.norm(dim=1) for name, one in sums.items()}
        else:
            # Where the first position alone is read, the others need not be computed.
            asking = joint.values[:, :1] if self.pooling == "cls" else joint.values
            values, weights = self.fusion(asking, joint.values, joint.mask)
            mask = None if self.pooling == "cls" else joint.mask
            maps["joint->joint"] = weights
            sizes = _masses(weights, mask, states.shape[1])
            joint = Masked(values, mask)
        fused = self.pools["joint"](joint.values, joint.mask)
        return Joined(fused, self._embeddings(words, sound), sizes, maps)

    def _embeddings(self, words: Masked, sound: Masked) -> dict[str, Tensor]:
        if words.mask is None:
            return {"text": words.values[:, 0], "audio": sound.values[:, 0]}
        return {"text": words.mean(), "audio": sound.mean()}


def _join(words: Masked, sound: Masked) -> Masked:
    values = torch.cat([words.values, sound.values], dim=1)
    if words.mask is None or sound.mask is None:
        return Masked(values, None)
    return Masked(values, torch.cat([words.mask, sound.mask], dim=1))


def _total(part: Masked) -> Tensor:
    count = part.values.shape[1] if part.mask is None else part.mask.sum(dim=1, keepdim=True)
    return part.mean() * count


def _masses(weights: Tensor, mask: Tensor | None, tokens: int) -> dict[str, Tensor]:
    """Attention that went to text and to audio, averaged over heads and real queries."""
    rows = weights.detach().mean(dim=1)
    mean = rows.mean(dim=1) if mask is None else masked_mean(rows, mask)
    return {"text": mean[:, :tokens].sum(dim=1), "audio": mean[:, tokens:].sum(dim=1)}
