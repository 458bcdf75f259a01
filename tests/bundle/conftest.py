from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from emofuse.labels import get_scheme
from emofuse.models import MODELS
from emofuse.models.bundle import BundleConfig, DataNote, ModelNote, ProtocolNote
from emofuse.models.contract import Batch, EmotionOutput, FusionModel, ModelSpec
from emofuse.options import Options


class ToyOptions(Options):
    hidden: int = 5


class Toy(FusionModel):
    """Two layers and a buffer: enough to see every kind of tensor travel."""

    options_type = ToyOptions

    def __init__(self, spec: ModelSpec, options: Options) -> None:
        super().__init__(spec, options)
        assert isinstance(options, ToyOptions)
        self.first = nn.ModuleDict({m: nn.Linear(d, options.hidden) for m, d in spec.dims.items()})
        self.last = nn.Linear(options.hidden, spec.classes)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, batch: Batch) -> EmotionOutput:
        hidden = sum(self.first[m](s.values).mean(1) for m, s in batch.modalities.items())
        return EmotionOutput(self.last(hidden))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> FusionModel:
    monkeypatch.setitem(MODELS._targets, "toy", f"{Toy.__module__}:Toy")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Toy(ModelSpec({"audio": 6, "text": 4}, 4), ToyOptions())


def describe(name: str, dim: int, **provenance: Any) -> dict[str, Any]:
    return {
        "spec": {"name": name},
        "revision": "1" * 40,
        "dim": dim,
        "frame_rate": None,
        "sample_rate": 16000,
        "provenance": {"licence": "MIT", "known": True, "labelled_on": [], **provenance},
    }


@pytest.fixture
def config() -> BundleConfig:
    return BundleConfig(
        model=ModelNote(name="toy", options={"hidden": 5}),
        dims={"audio": 6, "text": 4},
        scheme=get_scheme("basic4"),
        encoders={"audio": describe("logmel", 6), "text": describe("ngrams", 4)},
        protocol=ProtocolNote(
            name="leave-one-speaker-out",
            stamp="speaker-independent: yes",
            speaker_independent="yes",
        ),
        metrics={"ua": 0.71, "ua_low": 0.66, "ua_high": 0.75, "wa": 0.7},
        data=DataNote(corpora=("emodb",), licences={"emodb": "CC0"}, utterances=535),
        trained_with_dropout=True,
    )
