"""FleSER: fuzzy memberships chosen by a rule base, then attention fusion of text and audio.

Source: Engineering Applications of Artificial Intelligence 165 (2026) 113396, and its code: R1 is
the release of June 2025, R2 that of November 2025.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from emofuse.errors import FeatureError, OptionError
from emofuse.layers import masked_mean
from emofuse.layers.fleser_described import SequenceFusion
from emofuse.layers.fleser_parts import (
    AttendedEncoder,
    Fused,
    Norm,
    PlainEncoder,
    Reading,
    Stream,
    fuzzify,
    make_head,
)
from emofuse.layers.fleser_released import FirstFusion, SecondFusion
from emofuse.layers.fuzzy import RULES, Fuzzifier, Select
from emofuse.layers.sequence_input import SequenceInput
from emofuse.models.contract import Batch, EmotionOutput, FusionModel, ModelSpec, Sequences
from emofuse.models.parts import Taken, average_frames, fit_inputs, shares
from emofuse.options import Options

__all__ = ["FleSER", "FleSEROptions"]

MODALITIES = ("text", "audio")
FUSIONS = ("fusion", "alpha", "alpha_mode")


class FleSEROptions(Options):
    """Options of `FleSER`. None = the default in brackets; one that is not read is an error.

    Attributes:
        variant: ``described``: sequences by their masks, nothing of the batch at inference; or
            ``published``: what the released code does, every branch built.
        release: of the published code, ``R2`` (256 wide) or ``R1`` (512 wide) [R2].
        fusion: ``self_attention``, ``cross_attention``, ``concat`` or, but for R1, ``gmu``
            [self_attention]; not read where there is one modality.
        fuzzy_select: how the membership is chosen, see `layers.fuzzy.Fuzzifier`
            [sample_rule; published batch_rule]. The described variant has no ``batch_rule``, the
            published no ``soft_mixture``.
        fuzzy_input: what the rules look at, the ``projected`` frames or the ``raw`` features
            [projected].
        alpha: share of the branch whose values are audio, in [0, 1] [0.3]. The described variant
            reads it with ``cross_attention``; so does R2, which takes it with every fusion and
            passes over it; R1 reads it but for ``concat``.
        alpha_mode: ``fixed``, ``learnable`` (from ``alpha``) or ``gate``, one an item [fixed].
        hidden: width [256; R1 512].
        heads: of every attention.
        norm: of the classifier, ``layer`` or ``batch`` [layer]; R1 always has batch norms.
        dropout: share dropped.
        normalise: standardise the features by the training items [true; published never].
    """

    variant: Literal["described", "published"] = "described"
    release: Literal["R1", "R2"] | None = None
    fusion: Literal["self_attention", "cross_attention", "concat", "gmu"] | None = None
    fuzzy_select: Select | None = None
    fuzzy_input: Literal["projected", "raw"] | None = None
    alpha: float | None = Field(default=None, ge=0.0, le=1.0)
    alpha_mode: Literal["fixed", "learnable", "gate"] | None = None
    hidden: int | None = Field(default=None, ge=8, le=1 << 16)
    heads: int = Field(default=4, ge=1, le=1024)
    norm: Norm | None = None
    dropout: float = Field(default=0.3, ge=0.0, lt=1.0)
    normalise: bool | None = None

    @model_validator(mode="after")
    def _all_read(self) -> Self:
        chosen = self.reading()
        if chosen.width % self.heads:
            raise ValueError(f"hidden {chosen.width} is no multiple of {self.heads} heads")
        if self.fuzzy_input is not None and chosen.select not in RULES:
            raise ValueError(f"fuzzy_select {chosen.select!r} does not read 'fuzzy_input'")
        if chosen.published:
            self._check_published(chosen)
        else:
            self._check_described(chosen)
        return self

    def _check_described(self, chosen: Reading) -> None:
        if self.release is not None:
            raise ValueError("variant 'described' does not read 'release'")
        if chosen.select == "batch_rule":
            raise ValueError(
                "variant 'described' reads nothing of the batch at inference: take fuzzy_select "
                "'sample_rule', or variant 'published'"
            )
        if chosen.fusion != "cross_attention":
            for name in ("alpha", "alpha_mode"):
                if getattr(self, name) is not None:
                    raise ValueError(f"fusion {chosen.fusion!r} does not read {name!r}")
        if self.alpha_mode == "gate" and self.alpha is not None:
            raise ValueError("alpha_mode 'gate' does not read 'alpha'")

    def _check_published(self, chosen: Reading) -> None:
        if chosen.select == "soft_mixture" or chosen.alpha_mode != "fixed":
            what = "'soft_mixture'" if chosen.select == "soft_mixture" else "'alpha_mode'"
            raise ValueError(f"the released code has no {what}: take variant 'described'")
        if self.normalise:
            raise ValueError("variant 'published' does not standardise: leave 'normalise' out")
        if chosen.release == "R1" and chosen.fusion == "gmu":
            raise ValueError("release 'R1' has no fusion 'gmu'; R2 has")
        if chosen.release == "R1" and self.norm is not None:
            raise ValueError("release 'R1' does not read 'norm': all its norms are batch norms")

    def reading(self) -> Reading:
        """Every option with its default in place."""
        published = self.variant == "published"
        first = published and self.release == "R1"
        return Reading(
            published=published,
            release="R1" if first else "R2",
            fusion=self.fusion or "self_attention",
            select=self.fuzzy_select or ("batch_rule" if published else "sample_rule"),
            raw=self.fuzzy_input == "raw",
            alpha=0.3 if self.alpha is None else self.alpha,
            alpha_mode=self.alpha_mode or "fixed",
            width=self.hidden or (512 if first else 256),
            heads=self.heads,
            norm="batch" if first else self.norm or "layer",
            dropout=self.dropout,
            normalise=not published and self.normalise is not False,
        )


class FleSER(FusionModel):
    """FleSER: fuzzy memberships and attention over text and audio, or one of them alone.

    Each modality is projected, its frames look at each other, a membership bends them, the two are
    fused and a small perceptron classifies. ``extras`` holds ``fuzzy:<modality>``, the shares of
    the five memberships ``(batch, 5)``, and ``alpha`` ``(batch,)`` where frames look across. A
    modality's weight is its share of the norm of what is added up, or of the gate.
    """

    options_type = FleSEROptions

    def __init__(self, spec: ModelSpec, options: FleSEROptions) -> None:
        super().__init__(spec, options)
        self.reading = reading = options.reading()
        names = [name for name in MODALITIES if name in spec.dims]
        _check_modalities(spec, names, options)
        lone = len(names) == 1
        kind = PlainEncoder if reading.release == "R1" else AttendedEncoder
        self.inputs = nn.ModuleDict(
            {
                name: SequenceInput(
                    spec.dims[name],
                    normalise=reading.normalise,
                    absent=not (reading.published or lone),
                )
                for name in names
            }
        )
        self.encoders = nn.ModuleDict({name: kind(spec.dims[name], reading) for name in names})
        self.fuzzifiers = nn.ModuleDict({name: Fuzzifier(reading.select) for name in names})
        self.fusion = None if lone else _fusion(reading)
        self.head = make_head(reading.width, spec.classes, reading.norm, reading.dropout)

    def needs(self) -> frozenset[str]:
        """The published variant needs all its modalities."""
        return frozenset(self.spec.dims) if self.reading.published else frozenset()

    def fit_normalisation(self, batch: Batch) -> None:
        """Take mean and standard deviation of each feature over the training items' frames."""
        fit_inputs(self.inputs, batch)

    def condense(self, batch: Batch) -> Batch:
        """Average the frames for the published variant, which knows one vector an item."""
        return average_frames(batch, batch.modalities if self.reading.published else ())

    def forward(self, batch: Batch) -> EmotionOutput:
        """Recognise a batch.

        Raises:
            FeatureError: the batch has none of the model's modalities, or lacks one that the
                published variant needs.
        """
        parts = self.condense(batch).modalities
        known = set(parts) & set(self.inputs)
        if not known or not self.needs() <= known:
            names, held = ", ".join(self.spec.dims), ", ".join(parts) or "nothing"
            raise FeatureError(f"the model knows {names}; the batch holds {held}")
        streams = {name: self._read(name, parts.get(name), batch.count) for name in self.inputs}
        fused = self._fuse(streams)
        embeddings = {name: masked_mean(one.values, one.mask) for name, one in streams.items()}
        silent = self.training
        return EmotionOutput(
            self.head(fused.vector),
            embeddings={**embeddings, "fused": fused.vector},
            weights={} if silent else _weights(fused, streams),
            attention={} if silent else {**_maps(streams), **fused.attention},
            extras={**_chosen(streams), **fused.extras},
        )

    def _read(self, name: str, part: Sequences | None, size: int) -> Stream:
        values, mask = (None, None) if part is None else (part.values, part.mask)
        values, mask, present = self.inputs[name](values, mask, size)
        stream = Stream(values, mask, present, values)
        fuzzifier = self.fuzzifiers[name]
        if not isinstance(fuzzifier, Fuzzifier):
            raise TypeError(f"no fuzzifier for {name}")
        return fuzzify(fuzzifier, self.reading.raw, stream, self.encoders[name](values, mask))

    def _fuse(self, streams: Mapping[str, Stream]) -> Fused:
        if self.fusion is not None:
            fused: Fused = self.fusion(streams)
            return fused
        ((name, one),) = streams.items()
        vector = masked_mean(one.values, one.mask)
        return Fused(vector, {name: vector.new_ones(len(vector))})


def _check_modalities(spec: ModelSpec, names: list[str], options: FleSEROptions) -> None:
    if set(names) != set(spec.dims):
        have = ", ".join(spec.dims)
        raise OptionError(f"fleser takes text, audio or both; the encoders give {have}")
    given = [name for name in FUSIONS if getattr(options, name) is not None]
    if len(names) == 1 and given:
        raise OptionError(
            f"fleser with {names[0]} alone fuses nothing and does not read {given[0]!r}: "
            f"set model.{given[0]}=null"
        )


def _fusion(reading: Reading) -> nn.Module:
    if not reading.published:
        return SequenceFusion(reading)
    return FirstFusion(reading) if reading.release == "R1" else SecondFusion(reading)


def _weights(fused: Fused, streams: Mapping[str, Stream]) -> dict[str, Tensor]:
    taken = {name: Taken(one.inputs, one.present, None) for name, one in streams.items()}
    return shares({name: fused.sizes[name] for name in streams}, taken)


def _maps(streams: Mapping[str, Stream]) -> dict[str, Tensor]:
    return {
        f"{name}->{name}": one.attention
        for name, one in streams.items()
        if one.attention is not None
    }


def _chosen(streams: Mapping[str, Stream]) -> dict[str, Tensor]:
    return {
        f"fuzzy:{n}": one.shares.detach() for n, one in streams.items() if one.shares is not None
    }
