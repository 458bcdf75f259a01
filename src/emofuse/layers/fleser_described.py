"""How the described FleSER fuses sequences: by masks, with only the parts that are read."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from emofuse.layers.attention import MultiHeadAttention
from emofuse.layers.dropout import Dropout
from emofuse.layers.fleser_parts import Alpha, Fused, Reading, Stream, name_gate
from emofuse.layers.pooling import masked_mean

__all__ = ["SequenceFusion"]


class SequenceFusion(nn.Module):
    """Fuses the frames of text and audio, of any number each.

    The joint projection of the releases is a sum of one linear map of text and one of audio; here
    each map has its own frames. ``self_attention`` lets all projected frames look at each other,
    so that words meet sounds; ``cross_attention`` lets the frames of one modality look at the
    other's; ``concat`` and ``gmu`` work on the means over the real frames.

    Args:
        reading: the options.
    """

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        width, fusion = reading.width, reading.fusion
        self.fusion = fusion
        attends = fusion in ("self_attention", "cross_attention")
        self.joint = nn.ModuleDict(
            {"text": nn.Linear(width, width), "audio": nn.Linear(width, width, bias=False)}
            if fusion != "gmu"
            else {}
        )
        self.attention = MultiHeadAttention(width, heads=reading.heads) if attends else None
        self.norm = nn.LayerNorm(width) if attends else None
        self.drop = Dropout(reading.dropout)
        crosses = fusion == "cross_attention"
        self.alpha = Alpha(reading.alpha_mode, reading.alpha, width) if crosses else None
        self.gate = nn.Linear(2 * width, width) if fusion == "gmu" else None

    def forward(self, streams: Mapping[str, Stream]) -> Fused:
        """Fuse text and audio, each ``(batch, time, width)`` with its mask."""
        if self.fusion == "self_attention":
            return self._attend_all(streams)
        pooled = {name: masked_mean(one.values, one.mask) for name, one in streams.items()}
        if self.gate is not None:
            gate = torch.sigmoid(self.gate(torch.cat([pooled["text"], pooled["audio"]], dim=1)))
            sizes = {"text": gate.mean(dim=1), "audio": (1 - gate).mean(dim=1)}
            return Fused(
                gate * pooled["text"] + (1 - gate) * pooled["audio"], sizes, {}, name_gate(gate)
            )
        parts = {name: layer(pooled[name]) for name, layer in self.joint.items()}
        if self.fusion == "cross_attention":
            return self._attend_across(streams, pooled, parts)
        return Fused(parts["text"] + parts["audio"], _sizes(parts))

    def _attend_all(self, streams: Mapping[str, Stream]) -> Fused:
        frames = torch.cat(
            [layer(streams[name].values) for name, layer in self.joint.items()], dim=1
        )
        mask = torch.cat([streams[name].mask for name in self.joint], dim=1)
        mixed, weights = _built(self.attention)(frames, frames, mask)
        fused = masked_mean(_built(self.norm)(self.drop(mixed) + frames), mask)
        if self.training:  # nobody asks for sizes there
            return Fused(fused, {}, {"fused->fused": weights})
        pooled = {name: masked_mean(one.values, one.mask) for name, one in streams.items()}
        parts = {name: layer(pooled[name]) for name, layer in self.joint.items()}
        return Fused(fused, _sizes(parts), {"fused->fused": weights})

    def _attend_across(
        self,
        streams: Mapping[str, Stream],
        pooled: Mapping[str, Tensor],
        parts: Mapping[str, Tensor],
    ) -> Fused:
        text, audio = streams["text"], streams["audio"]
        attention = _built(self.attention)
        of_audio, first = attention(text.values, audio.values, audio.mask)
        of_text, second = attention(audio.values, text.values, text.mask)
        alpha = _built(self.alpha)(pooled["text"], pooled["audio"])
        branches = {
            "text": (1 - alpha) * masked_mean(of_text, audio.mask),
            "audio": alpha * masked_mean(of_audio, text.mask),
        }
        joint = parts["text"] + parts["audio"]
        fused = _built(self.norm)(self.drop(branches["text"] + branches["audio"]) + joint)
        sizes = _sizes({name: parts[name] + branches[name] for name in parts})
        maps = {"text->audio": first, "audio->text": second}
        return Fused(fused, sizes, maps, {"alpha": alpha[:, 0].detach()})


def _sizes(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: one.norm(dim=1) for name, one in parts.items()}


def _built(layer: nn.Module | None) -> nn.Module:
    """Give a layer that this fusion was built with.

    Raises:
        RuntimeError: it was not; the options and the branches disagree.
    """
    if layer is None:
        raise RuntimeError("a layer of this fusion was not built")
    return layer
