"""A model whose every option is a defect that a probe must find, and benches to try it on."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Literal

import pytest
import torch
from torch import nn

from emofuse.errors import OptionError
from emofuse.layers import MultiHeadAttention, masked_mean
from emofuse.losses.contract import LossTerm
from emofuse.models import MODELS
from emofuse.models.contract import Batch, EmotionOutput, FusionModel, ModelSpec
from emofuse.options import Options
from emofuse.probes.bench import Bench
from emofuse.probes.drawn import drawn_items

CLASSES = ("anger", "happiness", "neutral", "sadness")
VAD = {"valence": (1.0, 5.0), "arousal": (1.0, 5.0), "dominance": (1.0, 5.0)}


class ToyOptions(Options):
    width: int = 16
    dropout: float = 0.1
    frames: Literal["all", "mean"] = "all"
    masks: bool = True
    company: Literal["none", "always", "seldom"] = "none"
    audio: Literal["used", "rounded", "ignored"] = "used"
    spare: bool = False
    fixed: bool = False
    alpha: float | None = None
    mixing: bool = False
    strict: bool = True
    gain: float = 1.0


class Toy(FusionModel):
    """Text looks at audio; sound unless an option says otherwise."""

    options_type = ToyOptions

    def __init__(self, spec: ModelSpec, options: ToyOptions) -> None:
        super().__init__(spec, options)
        if options.strict and options.alpha is not None and not options.mixing:
            raise OptionError("alpha is read with mixing: true alone")
        self.audio = nn.Linear(spec.dims["audio"], options.width)
        self.text = nn.Linear(spec.dims["text"], options.width)
        self.attention = MultiHeadAttention(options.width, heads=2)
        self.norm = nn.LayerNorm(2 * options.width)
        self.dropout = nn.Dropout(options.dropout)
        self.gain = nn.Parameter(torch.tensor(options.gain))
        self.head = nn.Linear(2 * options.width, spec.classes)
        self.spare = nn.Linear(4, 4) if options.spare else None

    def needs(self) -> frozenset[str]:
        return frozenset(self.spec.dims)

    def forward(self, batch: Batch) -> EmotionOutput:
        o: Any = self.options
        audio, text = batch.modalities["audio"], batch.modalities["text"]
        sound = self.audio(audio.values)
        if o.audio == "rounded":
            sound = torch.round(sound * 4)
        sound = sound * (0.0 if o.audio == "ignored" else 1.0)
        words, mask = self.text(text.values), audio.mask
        if not o.masks:
            mask = torch.ones_like(mask)
        if o.frames == "mean":
            sound = masked_mean(sound, mask)[:, None]
            mask = mask.any(dim=1, keepdim=True)
        queries = torch.zeros_like(words) if o.fixed else words
        keys = torch.zeros_like(sound) if o.fixed else sound
        looked, _ = self.attention(queries, keys, mask)
        if o.fixed:
            looked = looked + masked_mean(sound, mask)[:, None]
        pooled = [masked_mean(looked, text.mask), masked_mean(words, text.mask)]
        joined = self.norm(torch.cat(pooled, dim=1))
        if o.mixing:
            joined = joined * (o.alpha or 0.5)
        if o.company == "always" or (o.company == "seldom" and _skew(joined) > 0.5):
            joined = torch.tanh(joined - joined.mean())
        logits = self.head(self.dropout(joined)) * self.gain
        return EmotionOutput(logits, embeddings={"fused": joined})


def _skew(values: torch.Tensor) -> float:
    centred = values.detach() - values.detach().mean()
    return float((centred**3).mean() / centred.std() ** 3)


class ToyTermOptions(Options):
    kind: Literal["constant", "detached", "divisor", "stuck", "shrinking"] = "constant"


class ToyTerm(LossTerm):
    """A loss with a defect."""

    options_type = ToyTermOptions

    def __init__(self, options: ToyTermOptions, context: Any) -> None:
        super().__init__(options, context)
        self.kind = options.kind
        if options.kind != "constant":
            self.own = nn.Parameter(torch.tensor(2.0))

    def forward(self, output: EmotionOutput, targets: Any) -> torch.Tensor:
        plain = nn.functional.cross_entropy(output.logits, targets.labels)
        return {
            "constant": lambda: torch.tensor(0.7),
            "detached": lambda: plain.detach() + self.own.square(),
            "divisor": lambda: plain / self.own,
            "stuck": lambda: plain + self.own.detach(),
            "shrinking": lambda: plain * self.own.relu(),
        }[self.kind]()


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    """Register the toys for a test."""
    from emofuse.losses import LOSSES

    module = ModuleType("emofuse_probe_toys")
    module.Toy, module.ToyTerm = Toy, ToyTerm
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(MODELS._targets, "toy", f"{module.__name__}:Toy")
    monkeypatch.setitem(LOSSES._targets, "toy-term", f"{module.__name__}:ToyTerm")


@pytest.fixture
def make_bench():
    """A bench of drawn features."""

    def make(
        model="toy",
        dims=None,
        lengths=None,
        objective=({"name": "cross-entropy"},),
        dropout=0.0,
        **options,
    ):
        dims = {"audio": 12, "text": 8} if dims is None else dims
        lengths = {"audio": 9, "text": 5} if lengths is None else lengths
        table, part = drawn_items(dims, lengths, len(CLASSES), VAD, items=64)
        half = torch.arange(32)
        return Bench(
            model,
            options,
            tuple(objective),
            CLASSES,
            VAD,
            table,
            part.take(half),
            part.take(half + 32),
            dropout,
        )

    return make


@pytest.fixture
def findings():
    """Run one probe; give its findings as subject -> why."""

    def run(probe, bench):
        return {one.subject: one.why for one in probe(bench) if one.verdict == "finding"}

    return run
