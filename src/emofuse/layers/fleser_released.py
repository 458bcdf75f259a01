"""How the two releases of FleSER fuse: every branch built, one token a modality.

With one token the softmax of an attention is 1 whatever the query, so each attention below is a
linear map of its values.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from emofuse.layers.attention import MultiHeadAttention
from emofuse.layers.dropout import Dropout
from emofuse.layers.fleser_parts import Fused, Reading, Stream, name_gate

__all__ = ["FirstFusion", "SecondFusion"]


class SecondFusion(nn.Module):
    """The second release: joint projection, one attention for both directions, gate.

    Args:
        reading: the options; ``alpha`` is read by ``cross_attention`` alone.
    """

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        width = reading.width
        self.reading = reading
        self.joint = nn.Linear(2 * width, width)
        self.attention = MultiHeadAttention(width, heads=reading.heads)
        self.norm, self.drop = nn.LayerNorm(width), Dropout(reading.dropout)
        self.gate = nn.Linear(2 * width, width)

    def forward(self, streams: Mapping[str, Stream]) -> Fused:
        """Fuse text and audio, each ``(batch, 1, width)``."""
        text, audio = streams["text"].values, streams["audio"].values
        both = torch.cat([text, audio], dim=2)
        halves = self.joint.weight.chunk(2, dim=1)
        sizes = {
            "text": (text[:, 0] @ halves[0].T).norm(dim=1),
            "audio": (audio[:, 0] @ halves[1].T).norm(dim=1),
        }
        if self.reading.fusion == "gmu":
            gate = torch.sigmoid(self.gate(both))
            sizes = {"text": gate.mean(dim=(1, 2)), "audio": (1 - gate).mean(dim=(1, 2))}
            fused = (gate * text + (1 - gate) * audio)[:, 0]
            return Fused(fused, sizes, {}, name_gate(gate[:, 0]))
        joint = self.joint(both)
        if self.reading.fusion == "concat":
            return Fused(joint[:, 0], sizes)
        if self.reading.fusion == "self_attention":
            mixed, weights = self.attention(joint, joint)
            maps = {"fused->fused": weights}
        else:
            mixed, maps = _cross(self.attention, text, audio, self.reading.alpha)
        return Fused(self.norm(self.drop(mixed) + joint)[:, 0], sizes, maps)


class FirstFusion(nn.Module):
    """The first release: no residual, no norm; ``concat`` is the mean of the two vectors.

    Args:
        reading: the options; ``alpha`` weighs audio, and ``concat`` does not read it.
    """

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.reading = reading
        self.attention = MultiHeadAttention(reading.width, heads=reading.heads)

    def forward(self, streams: Mapping[str, Stream]) -> Fused:
        """Fuse text and audio, each ``(batch, 1, width)``."""
        text, audio = streams["text"].values, streams["audio"].values
        alpha = 0.5 if self.reading.fusion == "concat" else self.reading.alpha
        sizes = {
            "text": (1 - alpha) * text[:, 0].norm(dim=1),
            "audio": alpha * audio[:, 0].norm(dim=1),
        }
        if self.reading.fusion == "concat":
            return Fused(((text + audio) / 2)[:, 0], sizes)
        if self.reading.fusion == "self_attention":
            joint = alpha * audio + (1 - alpha) * text
            mixed, weights = self.attention(joint, joint)
            return Fused(mixed[:, 0], sizes, {"fused->fused": weights})
        mixed, maps = _cross(self.attention, text, audio, alpha)
        return Fused(mixed[:, 0], sizes, maps)


def _cross(
    attention: MultiHeadAttention, text: Tensor, audio: Tensor, alpha: float
) -> tuple[Tensor, dict[str, Tensor]]:
    of_audio, first = attention(text, audio)
    of_text, second = attention(audio, text)
    mixed = alpha * of_audio + (1 - alpha) * of_text
    return mixed, {"text->audio": first, "audio->text": second}
