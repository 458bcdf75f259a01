"""A small fusion model on synthetic speech, trained once: features, model and bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from emofuse.corpora import CORPORA
from emofuse.encoders.contract import EncoderSpec
from emofuse.features.encode import load_table
from emofuse.features.store import FeatureStore
from emofuse.features.table import FeatureTable
from emofuse.labels import get_scheme
from emofuse.manifest import Manifest
from emofuse.models.build import parse_model_options
from emofuse.models.bundle import BundleConfig, DataNote, ModelNote, write_bundle
from emofuse.models.contract import FusionModel
from emofuse.training.fit import Blueprint
from emofuse.training.options import TrainerOptions
from emofuse.training.parts import Part, group_numbers, make_targets
from emofuse.training.trainer import Trainer

SCHEME = get_scheme("basic4")


@dataclass(frozen=True)
class Trained:
    """What training left behind."""

    manifest: Manifest
    table: FeatureTable
    model: FusionModel
    config: BundleConfig
    bundle: Path
    test: tuple[int, ...]

    def logits(self, rows: Sequence[int], *modalities: str) -> torch.Tensor:
        """What the trainer's own model says of its own features."""
        batch = self.table.batch(torch.tensor(rows))
        with torch.no_grad():
            found: torch.Tensor = self.model(batch.only(*modalities or batch.modalities)).logits
        return found

    def audio(self, row: int) -> Path:
        return self.manifest.path(str(self.manifest[row].audio))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    home = tmp_path_factory.mktemp("trained")
    prepared = CORPORA.load("synthetic").prepare(home / "corpus", speakers=6, per_emotion=10)
    manifest = prepared.manifest.label(SCHEME)
    specs = {
        "audio": EncoderSpec.from_text("logmel:pooling=mean+std"),
        "text": EncoderSpec.from_text("ngrams"),
    }
    table = load_table(manifest, specs, FeatureStore(home / "features"))
    test = tuple(row for row, u in enumerate(manifest) if u.speaker in ("s01", "s02"))
    rows = [row for row in range(len(manifest)) if row not in test]
    learnt = [manifest[row] for row in rows]
    part = Part(torch.tensor(rows), make_targets(learnt, SCHEME), group_numbers(learnt))
    options = TrainerOptions(
        optimiser="adamw", epochs=30, weight_decay=1.0, modality_dropout=0.4, device="cpu"
    )
    terms = ({"name": "cross-entropy"},)
    blueprint = Blueprint("late-fusion", {}, terms, SCHEME.classes)
    model = Trainer(blueprint, options).fit(table, part, seed=1).model
    resolved = parse_model_options("late-fusion", {}).model_dump(mode="json")
    config = BundleConfig(
        model=ModelNote(name="late-fusion", options=resolved),
        dims=table.dims,
        scheme=SCHEME,
        encoders={name: dict(one) for name, one in table.encoders.items()},
        data=DataNote(corpora=("synthetic",), licences={"synthetic": "CC0-1.0"}),
        trained_with_dropout=True,
    )
    write_bundle(home / "run" / "bundle", model, config)
    return Trained(manifest, table, model, config, home / "run" / "bundle", test)
