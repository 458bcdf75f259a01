"""Bundles with drawn weights over tiny encoders, to be exported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.encoders.conftest import checkpoint  # noqa: F401 (a fixture)

from emofuse.encoders.build import describe_encoder, load_encoder
from emofuse.encoders.contract import EncoderSpec
from emofuse.labels import get_scheme
from emofuse.models.build import build_model, parse_model_options
from emofuse.models.bundle import BundleConfig, DataNote, ModelNote, write_bundle
from emofuse.models.contract import ModelSpec

SCHEME = get_scheme("basic4")
MakeBundle = Callable[..., Path]


def write_drawn(
    folder: Path,
    encoders: Mapping[str, str],
    model: str = "mlp",
    options: Mapping[str, Any] | None = None,
    **more: Any,
) -> Path:
    """Write a bundle whose weights are drawn, not learnt."""
    found = {
        name: load_encoder(name, EncoderSpec.from_text(text))  # type: ignore[arg-type]
        for name, text in encoders.items()
    }
    dims = {name: one.dim for name, one in found.items()}
    made = build_model(model, options or {}, ModelSpec(dims, len(SCHEME.classes)), seed=3)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(4)
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    config = BundleConfig(
        model=ModelNote(
            name=model,
            options=parse_model_options(model, options or {}).model_dump(mode="json"),
        ),
        dims=dims,
        scheme=SCHEME,
        encoders={name: describe_encoder(one) for name, one in found.items()},
        data=DataNote(corpora=("synthetic",), licences={"synthetic": "CC0-1.0"}),
        trained_with_dropout=True,
        **more,
    )
    write_bundle(folder, made, config)
    return folder


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six synthetic utterances."""
    from emofuse.corpora import CORPORA

    home = tmp_path_factory.mktemp("voices")
    prepared = CORPORA.load("synthetic").prepare(home, speakers=2, per_emotion=1)
    return [prepared.manifest.path(str(one.audio)) for one in prepared.manifest][:6]
