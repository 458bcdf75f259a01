"""VGA-Fusion: cross-attention guided by valence, arousal and dominance, then gated fusion.

Source: the research code ``muxiddin19/multimodal-ser`` (MIT licence), read from December 2025 on:
its "novel" and "enhanced" models and its baseline, SentimentogramSER. Its losses are `micl`,
`supcon`, `vad` and `focal-smooth`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from emofuse.errors import FeatureError, OptionError
from emofuse.layers import Dropout, masked_mean
from emofuse.layers.eaaf import EAAF, ConcatFusion, ConstrainedFusion, Gated
from emofuse.layers.sequence_input import SequenceInput
from emofuse.layers.vga import CrossBlock, Crossed, CrossLayer, Strength
from emofuse.layers.vga_options import VGAFusionOptions
from emofuse.layers.vga_stream import Stream, VGAStream
from emofuse.models.contract import Batch, EmotionOutput, FusionModel, ModelSpec, Sequences
from emofuse.models.parts import Taken, shares

__all__ = ["VGAFusion", "VGAFusionOptions"]

PROJECTION = 128


class VGAFusion(FusionModel):
    """VGA-Fusion: two streams that look at each other, fused into one vector.

    A modality's weight is its share of what the fusion lets in: of the norms of the gated vectors
    (novel), of the gates (enhanced), of the norms before the sum (concatenation).

    Extras: ``present:<modality>``, ``(batch,)`` bool; ``micl:<modality>`` and ``supcon``,
    ``(batch, 128)``; ``vad:<layer>:<block>:<modality>``, ``(batch, 3)``, where the guidance puts a
    modality; ``gate:...``, ``(batch, width)`` or ``(batch,)``, in evaluation mode.
    """

    options_type = VGAFusionOptions

    def __init__(self, spec: ModelSpec, options: VGAFusionOptions) -> None:
        super().__init__(spec, options)
        self.names = tuple(spec.dims)
        _check_modalities(self.names, options)
        self.reading = reading = options.reading()
        width, dropout, pair = options.hidden, options.dropout, len(self.names) > 1
        self.means = reading.published or options.views is not None
        self.inputs = nn.ModuleDict(
            {
                name: SequenceInput(
                    dim, normalise=reading.normalise, absent=pair and not reading.published
                )
                for name, dim in spec.dims.items()
            }
        )
        self.streams = nn.ModuleDict(
            {
                name: VGAStream(dim, width, options.heads, dropout, options.views)
                for name, dim in spec.dims.items()
            }
        )
        self.cross = nn.ModuleList()
        for _ in range(reading.layers if pair and (reading.crossing or reading.published) else 0):
            strength = Strength(reading.strength, reading.kind)
            self.cross.append(CrossLayer(self.names, width, options.heads, dropout, strength))
        self.fusion = _fusion(options, pair=pair)
        self.projectors = nn.ModuleDict(
            {
                name: _projector(width, nn.BatchNorm1d if reading.published else nn.LayerNorm)
                for name in (self.names if reading.micl and pair else ())
            }
        )
        self.contrast = _projector(width, None) if reading.supcon else None
        self.head = nn.Sequential(
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(width, spec.classes),
        )
        self.vad_head: nn.Module | None = None
        if reading.vad:
            self.vad_head = nn.Sequential(
                nn.Linear(width, width // 2),
                nn.GELU(),
                Dropout(dropout),
                nn.Linear(width // 2, 3),
                nn.Tanh(),
            )
        self._initialise()

    def _initialise(self) -> None:
        """Xavier for every matrix; those of a packed attention as if query, key, value were one."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        packed = [stream.encoder.attention for stream in self._each_stream()]
        if self.reading.strength is None:
            blocks = [one for one in self.cross.modules() if isinstance(one, CrossBlock)]
            packed += [one.attention for one in blocks]
        with torch.no_grad():
            for one in packed:
                for part in (one.query, one.key, one.value):
                    part.weight.mul_(0.5**0.5)

    def _each_stream(self) -> list[VGAStream]:
        return [one for one in self.streams.values() if isinstance(one, VGAStream)]

    def needs(self) -> frozenset[str]:
        """The published variant needs both modalities."""
        return frozenset(self.names) if self.reading.published else frozenset()

    def fit_normalisation(self, batch: Batch) -> None:
        """Take mean and standard deviation of the training items' frames, or of their means.

        Raises:
            OptionError: the guidance is on and there is nothing but one frame an item.
        """
        parts = self.condense(batch).modalities
        for name, layer in self.inputs.items():
            if name in parts and isinstance(layer, SequenceInput):
                layer.fit(parts[name].values, parts[name].mask)
        guided = len(self.cross) and self.reading.strength is not None and not self.means
        if guided and all(part.mask.shape[1] <= 1 for part in parts.values()):
            raise OptionError(
                "model 'vga-fusion': over pooled features (one frame an item) guided attention "
                "does nothing; set model.views=4, or give granularity: frames, or model.vga=false"
            )

    def condense(self, batch: Batch) -> Batch:
        """Average the frames where the network knows one vector an item."""
        if not self.means:
            return batch
        found = dict(batch.modalities)
        for name, part in batch.modalities.items():
            mean = masked_mean(part.values, part.mask)
            found[name] = Sequences(mean[:, None], part.present[:, None])
        return Batch(found)

    def forward(self, batch: Batch) -> EmotionOutput:
        """Recognise a batch.

        Raises:
            FeatureError: the batch has none of the model's modalities, or the published variant
                lacks one.
        """
        streams, present = self._take_in(batch)
        alone = self._gather(streams, {name: one.tokens for name, one in streams.items()})
        crossed = self._cross(streams)
        vectors = alone
        if crossed:
            vectors = self._gather(streams, {n: one.values for n, one in crossed[-1].items()})
        gated: Gated = self.fusion(*vectors.values())
        sizes = dict(zip(self.names, gated.sizes, strict=True))
        taken = {name: Taken(gated.fused, there, None) for name, there in present.items()}
        extras = {f"present:{name}": there for name, there in present.items()}
        extras |= self._projected(alone if self.reading.early else vectors)
        extras |= _places(streams, crossed)
        if self.contrast is not None:
            extras["supcon"] = self.contrast(gated.fused)
        silent = self.training
        return EmotionOutput(
            self.head(gated.fused),
            vad=None if self.vad_head is None else self.vad_head(gated.fused),
            embeddings={**vectors, "fused": gated.fused},
            weights={} if silent else shares(sizes, taken),
            attention={} if silent else _maps(streams, crossed),
            extras=extras if silent else extras | _named_gates(gated, self.names),
        )

    def _take_in(self, batch: Batch) -> tuple[dict[str, Stream], dict[str, Tensor]]:
        parts = self.condense(batch.only(*self.names)).modalities
        if not parts or not self.needs() <= set(parts):
            known, found = ", ".join(self.names), ", ".join(batch.modalities) or "nothing"
            raise FeatureError(f"the model knows {known}; the batch holds {found}")
        streams: dict[str, Stream] = {}
        present: dict[str, Tensor] = {}
        for name, layer in self.inputs.items():
            part = parts.get(name)
            values, mask = (None, None) if part is None else (part.values, part.mask)
            values, mask, present[name] = layer(values, mask, batch.count)
            if self.reading.published:  # knows no masks: what is not there is a vector of zeros
                mask, present[name] = torch.ones_like(mask), torch.ones_like(present[name])
            streams[name] = self.streams[name](values, mask)
        return streams, present

    def _gather(
        self, streams: Mapping[str, Stream], tokens: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        pairs = zip(streams.items(), self._each_stream(), strict=True)
        return {name: part.gather(one, tokens[name]) for (name, one), part in pairs}

    def _cross(self, streams: Mapping[str, Stream]) -> list[dict[str, Crossed]]:
        if not self.reading.crossing:
            return []
        tokens = {name: one.tokens for name, one in streams.items()}
        masks = {name: one.mask for name, one in streams.items()}
        found: list[dict[str, Crossed]] = []
        for layer in self.cross:
            found.append(layer(tokens, masks))
            tokens = {name: one.values for name, one in found[-1].items()}
        return found

    def _projected(self, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        norms = self.reading.published and self.training and len(self.projectors)
        if norms and len(next(iter(vectors.values()))) < 2:  # asked last: a graph has no number
            raise FeatureError(
                "the published vga-fusion cannot learn from a batch of one item (batch norm); "
                "set trainer.drop_last=true"
            )
        return {f"micl:{name}": layer(vectors[name]) for name, layer in self.projectors.items()}


def _check_modalities(names: tuple[str, ...], options: VGAFusionOptions) -> None:
    """Refuse a third modality, and with one alone what it does not read.

    Raises:
        OptionError: either.
    """
    if len(names) > 2:
        raise OptionError(f"model 'vga-fusion' takes one or two modalities, not {', '.join(names)}")
    if len(names) == 2:
        return
    try:
        options.refuse_alone(names[0])
    except ValueError as error:
        raise OptionError(f"model 'vga-fusion': {error}") from error


def _fusion(options: VGAFusionOptions, *, pair: bool) -> nn.Module:
    width, dropout, reading = options.hidden, options.dropout, options.reading()
    if not pair or not reading.gates:
        return ConcatFusion(2 if pair else 1, width, dropout)
    if options.architecture == "enhanced":
        return ConstrainedFusion(width, dropout, options.gate_temperature or 1.0)
    return EAAF(width, dropout, pinned=reading.published)


def _projector(width: int, norm: type[nn.Module] | None) -> nn.Sequential:
    between = [] if norm is None else [norm(width)]
    return nn.Sequential(nn.Linear(width, width), *between, nn.ReLU(), nn.Linear(width, PROJECTION))


def _places(streams: Mapping[str, Stream], crossed: list[dict[str, Crossed]]) -> dict[str, Tensor]:
    """Where the guidance of each block puts its two modalities, averaged over their tokens."""
    found: dict[str, Tensor] = {}
    for number, layer in enumerate(crossed):
        for name, other in zip(layer, reversed(layer), strict=True):
            places = layer[name].places
            for side, place in zip((name, other), places or (), strict=False):
                found[f"vad:{number}:{name}:{side}"] = masked_mean(place, streams[side].mask)
    return found


def _maps(streams: Mapping[str, Stream], crossed: list[dict[str, Crossed]]) -> dict[str, Tensor]:
    """Self-attention of each stream, and the last layer's cross-attention both ways."""
    found = {f"{name}->{name}": one.weights for name, one in streams.items()}
    last = crossed[-1] if crossed else {}
    for name, other in zip(last, reversed(last), strict=True):
        found[f"{name}->{other}"] = last[name].weights
    return found


def _named_gates(gated: Gated, names: tuple[str, ...]) -> dict[str, Tensor]:
    places = dict(zip(("first", "second"), names, strict=False))
    return {f"gate:{places.get(key, key)}": one.detach() for key, one in gated.gates.items()}
