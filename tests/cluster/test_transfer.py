"""A matrix of transfer by the workers of an engine: the bytes of one process."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from emofuse.cluster.engine import Engine
from emofuse.training.transfer import transfer
from emofuse.training.transfer_recipe import load_transfer

HERE = Path(__file__).parent


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(HERE.parent / "transfer"))
    spec = importlib.util.spec_from_file_location(
        "transfer_fixtures", HERE.parent / "transfer" / "conftest.py"
    )
    fixtures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fixtures)
    fixtures.save_corpora(tmp_path)
    data = fixtures.matrix_recipe(tmp_path)
    data["methods"] = ["none", "finetune", "coral"]
    return data


@pytest.mark.slow
@pytest.mark.parametrize("engine", [Engine(workers=2), Engine("ray", workers=2)])
def test_same_matrix(recipe, tmp_path, engine):
    import yaml

    path = tmp_path / "matrix.yaml"
    path.write_text(yaml.safe_dump(recipe))
    one = transfer(load_transfer(str(path)), tmp_path / "one")
    two = transfer(load_transfer(str(path)), tmp_path / "two", engine=engine)
    assert one.matrix.to_json() == two.matrix.to_json()
    names = sorted(p.relative_to(one.folder) for p in one.folder.glob("settings/*/*.parquet"))
    assert names
    for name in names:
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()
