"""Foal-Net: align the modalities, let each look at the other, classify.

Li, Gao, Wen, Wang, Li: "Enhancing Modal Fusion by Alignment and Label Matching for Multimodal
Emotion Recognition", Interspeech 2024, pp. 4663-4667. Its two auxiliary tasks are the losses `avel`
(alignment) and `mem` (label matching); inference needs neither labels nor draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import linear

from emofuse.errors import FeatureError, OptionError
from emofuse.layers import Dropout, Pooling, masked_mean
from emofuse.layers.alignment import Alignment
from emofuse.layers.cross_stack import CrossAttentionStack
from emofuse.layers.gather import gather_sequences
from emofuse.layers.on_demand import OnDemand
from emofuse.layers.residual_projection import ResidualProjection
from emofuse.layers.sequence_input import SequenceInput
from emofuse.layers.temperature import TemperatureKind
from emofuse.manifest import Modality
from emofuse.models.contract import (
    Batch,
    EmotionOutput,
    FusionModel,
    ModelSpec,
    Rematch,
    Sequences,
)
from emofuse.models.parts import Taken, fit_inputs, shares
from emofuse.options import Options

__all__ = ["FoalNet", "FoalNetOptions"]

PUBLISHED_FRAMES: Mapping[str, int] = {"audio": 299, "video": 180}
"""6 s of WavLM frames; 6 s of video at 30 frames a second."""
SPREAD = 0.02  # standard deviation of initial weights

Inputs = dict[str, tuple[Tensor, Tensor]]


class FoalNetOptions(Options):
    """Options of `FoalNet`. None means: what the variant and the number of modalities ask for.

    Attributes:
        variant: ``described``, or ``published``, the released network.
        avel: build the projections that the loss ``avel`` aligns (with two modalities: yes).
        mem: build the matching heads that the loss ``mem`` teaches (with two modalities: yes).
        temperature: factor of similarities, see `layers.temperature.Temperature`.
        layers, heads: of each of the two cross-attention stacks.
        projection: size of the aligned vectors.
        head: with one modality: ``linear`` classes from the pooled features, or from a
            ``projection`` of them (video: the latter).
        pooling: how a stack's frames become a vector: ``mean`` or ``attention``.
        positions: modalities whose frames get sinusoidal positions (only ``described``).
        max_frames: modality -> frames looked at, from the start (``published``: 299 of audio and
            180 of video).
        normalise: standardise by the training items (``described``: yes; ``published``: never).
        dropout: of the features and before the classifier.
        fusion_dropout: of each layer's update in the stacks.
        projection_dropout: within the projections.
    """

    variant: Literal["described", "published"] = "described"
    avel: bool | None = None
    mem: bool | None = None
    temperature: TemperatureKind | None = None
    layers: int = Field(default=2, ge=1, le=32)
    heads: int = Field(default=4, ge=1, le=64)
    projection: int = Field(default=512, ge=1, le=1 << 14)
    head: Literal["linear", "projection"] | None = None
    pooling: Literal["mean", "attention"] = "mean"
    positions: tuple[Modality, ...] = ()
    max_frames: dict[Modality, int] | None = None
    normalise: bool | None = None
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    fusion_dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    projection_dropout: float = Field(default=0.5, ge=0.0, lt=1.0)


class FoalNet(FusionModel):
    """Foal-Net: two stacks of cross-attention, one for each modality as the query.

    ``logits = W [u ; w] + b``, where ``u`` is the pooled sequence of the first modality after it
    looked at the second, and ``w`` the other way round. One modality alone gets the paper's
    baseline: pooled features, or a projection of them, and a linear layer. A modality's weight is
    its vector's share of the spread between the logits; it is given in evaluation mode.

    Extras: ``projection:<modality>``, ``(batch, projection)`` of length 1; ``present:<modality>``,
    ``(batch,)`` bool; ``scale``, the factor of similarities; ``match:<modality>``, ``(batch, 2)``
    logits (other emotion, same emotion) of each item's own pair, by the stack whose query the
    modality is. ``rematch({first: i, second: j})`` gives ``match:<modality>`` of other pairs; each
    is computed when it is asked for.
    """

    options_type = FoalNetOptions

    def __init__(self, spec: ModelSpec, options: FoalNetOptions) -> None:
        super().__init__(spec, options)
        self.options: FoalNetOptions = options
        self.names = tuple(spec.dims)
        _check(options, self.names)
        self.published = options.variant == "published"
        both = len(self.names) == 2
        limits: dict[str, int] = dict(PUBLISHED_FRAMES) if self.published else {}
        limits.update({str(name): most for name, most in (options.max_frames or {}).items()})
        self.inputs = nn.ModuleDict(
            {
                name: SequenceInput(
                    dim,
                    normalise=not self.published and options.normalise is not False,
                    absent=not self.published and both,
                    positions=name in options.positions,
                    limit=limits.get(name),
                )
                for name, dim in spec.dims.items()
            }
        )
        self.dropout = Dropout(options.dropout)
        self.pooling = nn.ModuleDict(
            {name: Pooling(options.pooling, dim) for name, dim in spec.dims.items()}
        )
        self.alignment: Alignment | None = None
        if both if options.avel is None else options.avel:
            kind: TemperatureKind = "raw_divisor" if self.published else "exp_logit_scale"
            self.alignment = Alignment(
                spec.dims,
                options.projection,
                options.projection_dropout,
                options.temperature or kind,
            )
        matched = spec.dims if both and options.mem is not False else {}
        self.matchers = nn.ModuleDict({name: nn.Linear(dim, 2) for name, dim in matched.items()})
        self.stacks = self._build_stacks() if both else nn.ModuleDict()
        self.single: nn.Module = nn.Identity()
        width = sum(spec.dims.values()) if both else self._build_single()
        self.head = nn.Linear(width, spec.classes)
        self.apply(_initialise)

    def _build_stacks(self) -> nn.ModuleDict:
        dims, options = self.spec.dims, self.options
        pairs = zip(self.names, reversed(self.names), strict=True)
        return nn.ModuleDict(
            {
                name: CrossAttentionStack(
                    dims[name], dims[other], options.layers, options.heads, options.fusion_dropout
                )
                for name, other in pairs
            }
        )

    def _build_single(self) -> int:
        (name, dim), options = next(iter(self.spec.dims.items())), self.options
        kind = options.head or ("projection" if name == "video" else "linear")
        if kind == "linear":
            return dim
        self.single = ResidualProjection(dim, options.projection, options.projection_dropout)
        return options.projection

    def needs(self) -> frozenset[str]:
        """The published network lives with both of its modalities alone."""
        return frozenset(self.names) if self.published else self.required

    def fit_normalisation(self, batch: Batch) -> None:
        """Take mean and standard deviation over the real frames of the training items."""
        fit_inputs(self.inputs, batch)

    def condense(self, batch: Batch) -> Batch:
        """Average in advance, where one modality stands alone and nothing else is asked for."""
        name, options = self.names[0], self.options
        plain = options.pooling == "mean" and not options.positions and not options.dropout
        layer, part = self.inputs[name], batch.modalities.get(name)
        if len(self.names) > 1 or not plain or part is None or not isinstance(layer, SequenceInput):
            return batch
        mean = masked_mean(*layer.cut(part.values, part.mask))
        return Batch({name: Sequences(mean[:, None], part.present[:, None])})

    def forward(self, batch: Batch) -> EmotionOutput:
        """Recognise a batch.

        Raises:
            FeatureError: the batch has none of the model's modalities, or the published variant
                lacks one.
        """
        inputs, present = self._take_in(batch)
        if len(self.names) == 1:
            return self._alone(inputs, present)
        vectors: dict[str, Tensor] = {}
        maps: dict[str, Tensor] = {}
        for name, other in zip(self.names, reversed(self.names), strict=True):
            vectors[name], weights = self._fuse(name, inputs[name], inputs[other])
            if not self.training:
                maps[f"{name}->{other}"] = weights
        fused = torch.cat([vectors[name] for name in self.names], dim=1)
        extras = self._aligned(inputs, present)
        extras |= {f"match:{name}": head(vectors[name]) for name, head in self.matchers.items()}
        return EmotionOutput(
            self.head(self.dropout(fused)),
            embeddings={**vectors, "fused": fused},
            weights={} if self.training else self._weights(vectors, present),
            attention=maps,
            extras=extras,
            rematch=self._rematcher(inputs) if self.matchers else None,
        )

    def _alone(self, inputs: Inputs, present: Mapping[str, Tensor]) -> EmotionOutput:
        name = self.names[0]
        values, mask = inputs[name]
        vector = self.single(self.pooling[name](values, mask)[0])
        share = present[name].float()
        return EmotionOutput(
            self.head(self.dropout(vector)),
            embeddings={name: vector, "fused": vector},
            weights={} if self.training else {name: share},
            extras=self._aligned(inputs, present),
        )

    def _take_in(self, batch: Batch) -> tuple[Inputs, dict[str, Tensor]]:
        known, found = ", ".join(self.names), ", ".join(batch.modalities) or "nothing"
        lacking = [name for name in self.names if name not in batch.modalities]
        if len(lacking) == len(self.names) or (self.published and lacking):
            raise FeatureError(f"the model knows {known}; the batch holds {found}")
        inputs: Inputs = {}
        present: dict[str, Tensor] = {}
        for name, layer in self.inputs.items():
            part = batch.modalities.get(name)
            values, mask, present[name] = layer(
                None if part is None else part.values,
                None if part is None else part.mask,
                batch.count,
            )
            if self.published:
                # A file without frames wraps the released mask around: every frame counts as real.
                mask = mask | ~present[name][:, None]
                present[name] = torch.ones_like(present[name])
            inputs[name] = self.dropout(values), mask
        return inputs, present

    def _fuse(
        self, name: str, query: tuple[Tensor, Tensor], memory: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        refined, weights = self.stacks[name](query[0], *memory)
        vector: Tensor = self.pooling[name](refined, query[1])[0]
        return vector, weights

    def _aligned(self, inputs: Inputs, present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        extras = {f"present:{name}": there for name, there in present.items()}
        return extras if self.alignment is None else extras | self.alignment(inputs)

    def _rematcher(self, inputs: Inputs) -> Rematch:
        everyone = cache(lambda: gather_sequences(inputs))  # once, and not before it is needed
        return lambda pairs: self._rematch(everyone(), pairs)

    def _rematch(self, inputs: Inputs, pairs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        def match(name: str, other: str) -> Tensor:
            query, memory = (
                (values[pairs[one]], mask[pairs[one]])
                for one, (values, mask) in ((name, inputs[name]), (other, inputs[other]))
            )
            logits: Tensor = self.matchers[name](self._fuse(name, query, memory)[0])
            return logits

        first, second = self.names
        return OnDemand(
            {
                f"match:{first}": lambda: match(first, second),
                f"match:{second}": lambda: match(second, first),
            }
        )

    def _weights(
        self, vectors: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        sizes = [self.spec.dims[name] for name in self.names]
        parts = torch.split(self.head.weight, sizes, dim=1)
        spreads = {
            name: linear(vectors[name], part).std(dim=1, unbiased=False)
            for name, part in zip(self.names, parts, strict=True)
        }
        taken = {name: Taken(vectors[name], present[name], None) for name in self.names}
        return shares(spreads, taken)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=SPREAD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _check(options: FoalNetOptions, names: tuple[str, ...]) -> None:
    """Refuse what the chosen mode does not read.

    Raises:
        OptionError: three modalities, or an option outside of its mode.
    """
    if len(names) > 2:
        raise OptionError(f"model 'foal-net' takes one or two modalities, not {', '.join(names)}")
    alone, published = len(names) == 1, options.variant == "published"
    unused = {
        "mem": alone and bool(options.mem),
        "variant: published": alone and published,
        "head": not alone and options.head is not None,
        "temperature": options.temperature is not None
        and (options.avel is False or (alone and not options.avel)),
    }
    for key, given in unused.items():
        if given:
            mode = f"one modality ({names[0]})" if alone else f"two modalities, avel {options.avel}"
            raise OptionError(f"model 'foal-net': {key} is not read with {mode}; leave it out")
    fixed = {
        "avel": options.avel is False,
        "mem": options.mem is False,
        "normalise": options.normalise is not None,
        "positions": bool(options.positions),
    }
    for key, given in fixed.items():
        if published and given:
            raise OptionError(f"model 'foal-net': the published variant has no {key}; leave it out")
    named = {*options.positions, *(options.max_frames or {})}
    strange = sorted(named - set(names))
    if strange:
        raise OptionError(
            f"model 'foal-net' has no {strange[0]!r} here (positions, max_frames); it has "
            f"{' and '.join(names)}"
        )
    if min((options.max_frames or {"audio": 1}).values()) < 1:
        raise OptionError("model 'foal-net': max_frames are counts of 1 or more")
