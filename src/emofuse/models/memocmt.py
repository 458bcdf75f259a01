"""MemoCMT: text looks at audio and audio at text; then one vector of both.

Khan, Tran, Pham, El Saddik, Othmani: "MemoCMT: multimodal emotion recognition using cross-modal
transformer-based feature fusion", Scientific Reports 15:5473 (2025), the successor of 4M-SER.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from emofuse.errors import FeatureError, OptionError
from emofuse.layers.attention_norm import AttentionNorm
from emofuse.layers.dropout import Dropout
from emofuse.layers.head import classifier_head
from emofuse.layers.joined import Masked
from emofuse.layers.sequence_input import SequenceInput
from emofuse.layers.token_pooling import TokenPooling, TokenPoolingKind
from emofuse.models.contract import Batch, EmotionOutput, FusionModel, ModelSpec
from emofuse.models.parts import Taken, fit_inputs, shares
from emofuse.options import Options

__all__ = ["MemoCMT", "MemoCMTOptions"]

OTHER = {"text": "audio", "audio": "text"}


class MemoCMTOptions(Options):
    """Options of `MemoCMT`.

    Attributes:
        variant: ``described``, or ``published``: no masks, and with the third attention that is
            built and not used.
        pooling: ``min``, ``mean``, ``max``, ``attention`` or ``cls``: the first positions of both
            blocks, averaged; published: of the first block alone, so that the other is never read.
        heads: heads of each attention.
        dropout: share of attention weights, of each block's result and in the classifier dropped.
        head: widths of the classifier's hidden layers.
        width: size of what the two blocks give.
        normalise: standardise inputs by the training items; None = yes, and never published.
    """

    variant: Literal["described", "published"] = "described"
    pooling: TokenPoolingKind = "min"
    heads: int = Field(default=8, ge=1, le=1024)
    dropout: float = Field(default=0.5, ge=0.0, lt=1.0)
    head: tuple[int, ...] = Field(default=(128,), max_length=16)
    width: int = Field(default=768, ge=1, le=1 << 16)
    normalise: bool | None = None

    @model_validator(mode="after")
    def _released(self) -> Self:
        if self.variant == "published":
            if self.normalise is not None:
                raise ValueError("the released code has no 'normalise'")
            if self.pooling == "attention":
                raise ValueError("the released code has no pooling 'attention': described")
        return self


class MemoCMT(FusionModel):
    """MemoCMT: cross-attention both ways, the two results end to end, one vector.

    ``audio->text``: audio frames ask, text answers; ``text->audio`` the other way. The
    ``described`` variant reads masks and answers with either modality.
    """

    options_type = MemoCMTOptions
    required = frozenset()

    def __init__(self, spec: ModelSpec, options: MemoCMTOptions) -> None:
        super().__init__(spec, options)
        if set(spec.dims) != {"text", "audio"}:
            raise OptionError(f"model 'memocmt' takes text and audio, not {', '.join(spec.dims)}")
        dims = {name: spec.dims[name] for name in ("text", "audio")}
        for name, size in dims.items():
            if size % options.heads:
                raise OptionError(
                    f"model 'memocmt': {options.heads} heads do not divide {name} of {size}"
                )
        self.published = options.variant == "published"
        normalise = not self.published and options.normalise is not False
        self.inputs = nn.ModuleDict(
            {
                name: SequenceInput(size, normalise=normalise, absent=not self.published)
                for name, size in dims.items()
            }
        )
        common = {"heads": options.heads, "dropout": options.dropout}
        self.blocks = nn.ModuleDict(
            {
                name: AttentionNorm(dims[OTHER[name]], options.width, size, **common)  # type: ignore[arg-type]
                for name, size in dims.items()
            }
        )
        if self.published:
            self.unused = AttentionNorm(options.width, options.width, **common)  # type: ignore[arg-type]
        self.dropout = Dropout(options.dropout)
        self.pool = TokenPooling(options.pooling, options.width)
        self.head = classifier_head(
            options.width, options.head, spec.classes, options.dropout, last_dropout=True
        )

    def needs(self) -> frozenset[str]:
        """The published variant needs both modalities."""
        return frozenset(OTHER) if self.published else frozenset()

    def fit_normalisation(self, batch: Batch) -> None:
        """Take mean and standard deviation of the training items."""
        fit_inputs(self.inputs, batch)

    def forward(self, batch: Batch) -> EmotionOutput:
        """Recognise a batch.

        Raises:
            FeatureError: the batch has none of the model's modalities, or the published variant
                lacks one.
        """
        parts, present = self._take_in(batch)
        answers: dict[str, Masked] = {}
        maps: dict[str, Tensor] = {}
        for name, block in self.blocks.items():
            asking, answering = parts[OTHER[name]], parts[name]
            values, weights = block(asking.values, answering.values, answering.mask)
            answers[name] = Masked(self.dropout(values), asking.mask)
            maps[f"{OTHER[name]}->{name}"] = weights
        text, audio = answers["text"], answers["audio"]
        joint = self.dropout(torch.cat([text.values, audio.values], dim=1))
        mask = None
        if text.mask is not None and audio.mask is not None:
            mask = torch.cat([text.mask, audio.mask], dim=1)
        fused = self._pool(joint, mask, text.values.shape[1])
        embeddings = {name: one.mean() for name, one in answers.items()}
        taken = {name: Taken(fused, there, None) for name, there in present.items()}
        sizes = {name: one.norm(dim=1) for name, one in embeddings.items()}
        return EmotionOutput(
            self.head(fused),
            embeddings={**embeddings, "fused": fused},
            weights={} if self.training else shares(sizes, taken),
            attention={} if self.training else maps,
            extras={f"present:{name}": there for name, there in present.items()},
        )

    def _pool(self, joint: Tensor, mask: Tensor | None, where: int) -> Tensor:
        """Pool; the released ``cls`` leaves out the whole second block, ours reads both."""
        if self.pool.kind == "cls" and not self.published:
            return (joint[:, 0] + joint[:, where]) / 2
        pooled: Tensor = self.pool(joint, mask)
        return pooled

    def _take_in(self, batch: Batch) -> tuple[dict[str, Masked], dict[str, Tensor]]:
        held = [name for name in OTHER if name in batch.modalities]
        if not held or not self.needs() <= set(held):
            known, found = ", ".join(OTHER), ", ".join(batch.modalities) or "nothing"
            raise FeatureError(f"the model knows {known}; the batch holds {found}")
        parts: dict[str, Masked] = {}
        present: dict[str, Tensor] = {}
        for name, layer in self.inputs.items():
            part = batch.modalities.get(name)
            values = None if part is None else part.values
            mask = None if part is None else part.mask
            states, real, present[name] = layer(values, mask, batch.count)
            parts[name] = Masked(states, None if self.published else real)
        return parts, present
