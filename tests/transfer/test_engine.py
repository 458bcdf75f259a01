"""A matrix of transfer by the workers of an engine: the bytes of one process."""

from __future__ import annotations

import pytest
import yaml

from emofuse.cluster.engine import Engine
from emofuse.training.transferring.recipe import load_transfer
from emofuse.training.transferring.transfer import transfer


@pytest.mark.slow
@pytest.mark.parametrize("engine", [Engine(workers=2), Engine("ray", workers=2)])
def test_same_matrix(recipe_data, tmp_path, engine):
    recipe_data["methods"] = ["none", "finetune", "coral"]
    path = tmp_path / "matrix.yaml"
    path.write_text(yaml.safe_dump(recipe_data))
    one = transfer(load_transfer(str(path)), tmp_path / "one")
    two = transfer(load_transfer(str(path)), tmp_path / "two", engine=engine)
    assert one.matrix.to_json() == two.matrix.to_json()
    names = sorted(p.relative_to(one.folder) for p in one.folder.glob("settings/*/*.parquet"))
    assert names
    for name in names:
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()
