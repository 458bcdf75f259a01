"""Options of VGA-Fusion, and what they come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from emofuse.layers.vga import StrengthKind
from emofuse.options import Options

__all__ = ["Reading", "VGAFusionOptions"]

GUIDANCE = ("vga", "vad_lambda", "lambda_mode")
GATES = ("gates", "gate_temperature")
PAIRS = ("micl", "micl_from")
ALONE = (*GUIDANCE, "cross_attention", "layers", *GATES, *PAIRS)
STRENGTHS = {"novel": 0.1, "enhanced": 0.5}


@dataclass(frozen=True)
class Reading:
    """Options with every default in place; a strength of None = no guidance."""

    published: bool
    layers: int
    crossing: bool
    strength: float | None
    kind: StrengthKind
    gates: bool
    micl: bool
    early: bool
    supcon: bool
    vad: bool
    normalise: bool


class VGAFusionOptions(Options):
    """Options of `VGAFusion`. None = the default in brackets; one that is not read is an error.

    Attributes:
        variant: ``described``, or ``published``, the released network: pooled vectors, all
            branches, batch norms in the projections of MICL, gates behind a norm.
        architecture: ``novel`` (VGA, EAAF, MICL), ``enhanced`` (VGA, constrained fusion, MICL) or
            ``baseline`` (plain cross-attention, concatenation, supervised contrast).
        hidden: width of the tokens.
        heads: of every attention.
        layers: of cross-attention [2].
        dropout: share dropped, everywhere.
        views: average the frames first and make so many tokens of the vector; the way to attend
            to pooled features [frames are the tokens].
        cross_attention: let the modalities look at each other [true].
        vga: guide the cross-attention [true].
        vad_lambda: strength of the guidance, at the start where it is learned [0.1; enhanced 0.5].
        lambda_mode: ``learnable`` (never below 0; published: of any sign) or ``fixed``
            [learnable].
        gates: fuse by gates; off = concatenation [true].
        gate_temperature: of the shares of ``enhanced`` [1].
        micl: build the projections that the loss ``micl`` reads [true].
        micl_from: project what each modality is ``before`` it saw the other, or ``after``
            [before; published after].
        supcon: of the baseline, build the projection that the loss ``supcon`` reads [true].
        vad: build the head that predicts valence, arousal and dominance [true].
        normalise: standardise by the training items [true; published never].
    """

    variant: Literal["described", "published"] = "described"
    architecture: Literal["novel", "baseline", "enhanced"] = "novel"
    hidden: int = Field(default=384, ge=8, le=1 << 14)
    heads: int = Field(default=8, ge=1, le=1024)
    layers: int | None = Field(default=None, ge=1, le=64)
    dropout: float = Field(default=0.3, ge=0.0, lt=1.0)
    views: int | None = Field(default=None, ge=1, le=256)
    cross_attention: bool | None = None
    vga: bool | None = None
    vad_lambda: float | None = Field(default=None, ge=0.0, le=1000.0)
    lambda_mode: Literal["learnable", "fixed"] | None = None
    gates: bool | None = None
    gate_temperature: float | None = Field(default=None, gt=0.0, le=1000.0)
    micl: bool | None = None
    micl_from: Literal["before", "after"] | None = None
    supcon: bool | None = None
    vad: bool | None = None
    normalise: bool | None = None

    @model_validator(mode="after")
    def _all_read(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is no multiple of {self.heads} heads")
        for mode, unread in self._unread():
            self.refuse(mode, unread)
        chosen = self.reading()
        if chosen.strength == 0.0 and chosen.kind == "positive":
            raise ValueError("a learnable vad_lambda starts above 0; to switch it off: vga=false")
        return self

    def _unread(self) -> list[tuple[str, tuple[str, ...]]]:
        """Modes that are on, and what each leaves unread."""
        baseline = self.architecture == "baseline"
        switches = ("views", "vga", "lambda_mode", *GATES, *PAIRS, "supcon", "vad", "normalise")
        rules = (
            (baseline, "architecture 'baseline'", (*GUIDANCE, *GATES, *PAIRS)),
            (not baseline, f"architecture {self.architecture!r}", ("supcon",)),
            (self.architecture == "novel", "architecture 'novel'", ("gate_temperature",)),
            (self.variant == "published", "variant 'published'", switches),
            (
                self.variant == "published" and not baseline,
                "variant 'published' of this architecture",
                ("cross_attention",),
            ),
            (self.cross_attention is False, "cross_attention false", (*GUIDANCE, "layers")),
            (self.vga is False, "vga false", ("vad_lambda", "lambda_mode")),
            (self.gates is False, "gates false", ("gate_temperature",)),
            (self.micl is False, "micl false", ("micl_from",)),
        )
        return [(mode, unread) for on, mode, unread in rules if on]

    def refuse(self, mode: str, unread: tuple[str, ...]) -> None:
        """Raise a ValueError where an option is given that a mode does not read."""
        for name in unread:
            if getattr(self, name) is not None:
                raise ValueError(f"{mode} does not read {name!r}; leave it out")

    def reading(self) -> Reading:
        """Every option with its default in place."""
        published, baseline = self.variant == "published", self.architecture == "baseline"
        guided = not baseline and self.vga is not False and self.cross_attention is not False
        given = STRENGTHS.get(self.architecture) if self.vad_lambda is None else self.vad_lambda
        kind: StrengthKind = "free" if published else "positive"
        return Reading(
            published=published,
            layers=self.layers or 2,
            crossing=self.cross_attention is not False,
            strength=given if guided else None,
            kind="fixed" if self.lambda_mode == "fixed" else kind,
            gates=not baseline and self.gates is not False,
            micl=not baseline and self.micl is not False,
            early=not published and self.micl_from != "after",
            supcon=baseline and self.supcon is not False,
            vad=self.vad is not False,
            normalise=not published and self.normalise is not False,
        )

    def refuse_alone(self, name: str) -> None:
        """Refuse what a single modality does not read.

        Raises:
            ValueError: such an option is given.
        """
        if self.variant == "published":
            raise ValueError(f"variant 'published' needs two modalities, not {name} alone")
        self.refuse(f"one modality ({name})", ALONE)
