"""The cross-attention of the Copenhagen study (see `models.copenhagen`)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from emofuse.layers.copenhagen_reading import Found, Reading, Sequence
from emofuse.layers.dropout import Dropout
from emofuse.layers.patch_fusion import CrossFusion
from emofuse.layers.patches import Positions, cut_patches
from emofuse.layers.pooling import masked_mean
from emofuse.layers.presence import AbsentToken
from emofuse.layers.resnet import ResNet18

__all__ = ["CrossAttention"]

WIDTH = 256
PATCH_FRAMES = 4


class CrossAttention(nn.Module):
    """Audio patches and text tokens that look at each other, then one mean of each.

    Args:
        dims: modality -> feature size.
        classes: number of classes.
        reading: the options.
    """

    def __init__(self, dims: Mapping[str, int], classes: int, reading: Reading) -> None:
        super().__init__()
        self.reading = reading
        rate = reading.dropout
        by_map = reading.audio_tokens == "resnet_map"
        self.resnet = ResNet18(stages=3) if by_map else None
        if by_map:
            heights = -(-dims["audio"] // 16)
            self.most = -(-reading.max_frames // 16) * heights
            self.patches: nn.Module = nn.Identity()
            longest = self.most
        else:
            self.most = reading.max_frames // PATCH_FRAMES
            self.patches = nn.Linear(PATCH_FRAMES * dims["audio"], WIDTH)
            longest = -(-reading.max_frames // PATCH_FRAMES)
        self.tokens = nn.Linear(dims["text"], WIDTH)
        self.longest_text = 1 if reading.text_tokens == "cls" else reading.max_tokens
        counts = {"audio": longest, "text": self.longest_text}
        self.positions = nn.ModuleDict(
            {name: Positions(reading.positions, count, WIDTH) for name, count in counts.items()}
        )
        self.absent = nn.ModuleDict({name: AbsentToken(WIDTH) for name in counts})
        self.fusion = CrossFusion(WIDTH, 4, 2, rate, reading.direction)
        self.body = nn.Sequential(
            nn.LayerNorm(2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH), nn.GELU(), Dropout(rate)
        )
        self.head = nn.Linear(WIDTH, classes)
        if reading.text_tokens == "cls" and reading.direction != "text->audio":
            warnings.warn(
                "text_tokens is 'cls': audio looks at one token, so that its attention is 1 "
                "everywhere and means nothing; take text_tokens=sequence",
                UserWarning,
                stacklevel=2,
            )

    def forward(self, parts: Mapping[str, Sequence], size: int) -> Found:
        """Recognise a batch of ``size`` items."""
        tokens: dict[str, Tensor] = {}
        masks: dict[str, Tensor] = {}
        for name, cut in (("audio", self._audio_tokens), ("text", self._text_tokens)):
            values, mask = (None, None) if name not in parts else cut(*parts[name])
            tokens[name], masks[name], _ = self.absent[name](values, mask, size)
        tokens, maps = self.fusion(tokens, masks)
        pooled = {name: masked_mean(one, masks[name]) for name, one in tokens.items()}
        fused = self.body(torch.cat([pooled["audio"], pooled["text"]], dim=1))
        given = {name: one for name, one in pooled.items() if name in parts}
        sizes = {name: one.norm(dim=1) for name, one in given.items()}
        extras = {"constant_attention": masks["text"].sum(dim=1) == 1}
        return Found(self.head(fused), fused, given, sizes, _named(maps), extras)

    def _audio_tokens(self, values: Tensor, mask: Tensor) -> Sequence:
        if self.resnet is None:
            patches, real = cut_patches(values, mask, PATCH_FRAMES)
            found = self.patches(patches[:, : self.most])
        else:
            maps, columns = self.resnet(values, mask)
            found = maps.permute(0, 3, 2, 1).flatten(1, 2)  # column by column
            real = torch.as_tensor(columns).repeat_interleave(maps.shape[2], dim=1)
        return self.positions["audio"](found), real[:, : self.most]

    def _text_tokens(self, values: Tensor, mask: Tensor) -> Sequence:
        values, mask = values[:, : self.longest_text], mask[:, : self.longest_text]
        if self.reading.special_tokens == "drop":
            lengths = mask.sum(dim=1, keepdim=True)
            places = torch.arange(mask.shape[1], device=mask.device)
            inside = (places > 0) & (places < lengths - 1)
            mask = torch.where(lengths > 2, mask & inside, mask)
        return self.positions["text"](self.tokens(values)), mask


def _named(maps: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Name the maps: the last layer's by the direction, the others' with the layer's number."""
    found = dict(maps[-1])
    for number, layer in enumerate(maps[:-1], start=1):
        found |= {f"{name}#{number}": one for name, one in layer.items()}
    return found
