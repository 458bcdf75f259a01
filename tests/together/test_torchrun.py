"""Two processes that `torchrun` starts end with the numbers of one, up to floating point."""

from __future__ import annotations

import json
import os
import signal
import time

import numpy as np
import pandas as pd
import pytest
import torch
from tests.together.launching import TOLERANCE, compare, finish, launch, mlp, run_program, worker_of

from emofuse.evaluation.openings import count_openings
from emofuse.layers.dropout import Dropout
from emofuse.layers.share import Share, sharing
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train


@pytest.mark.slow
def test_mlp(two_modalities, program, tmp_path):
    recipe = mlp(two_modalities)
    out = finish(launch(program, recipe, tmp_path / "two"))
    alone = train(parse_recipe(recipe), tmp_path / "one")
    assert compare(alone.folder, tmp_path / "two") < TOLERANCE
    found = json.loads(out)  # one process alone says it
    assert found["run"] == str(tmp_path / "two")
    ua = found["summary"]["metrics"]["ua"]["mean"]
    assert ua == pytest.approx(alone.metrics["summary"]["metrics"]["ua"]["mean"], abs=0.02)
    assert count_openings(tmp_path / "two") == 1
    ours = pd.read_csv(next((tmp_path / "one" / "jobs").glob("*/history.csv")))
    theirs = pd.read_csv(next((tmp_path / "two" / "jobs").glob("*/history.csv")))
    for name in ("loss", "loss:supcon", "dev_loss", "dev_ua"):
        assert np.allclose(ours[name], theirs[name], atol=1e-3), name
    again = finish(launch(program, recipe, tmp_path / "two"))
    assert json.loads(again)["summary"] == found["summary"]


def test_foal_net_with_avel_and_mem(frames, program, tmp_path):
    recipe = {
        **frames,
        "model": {"name": "foal-net", "avel": True, "mem": True, "dropout": 0.2, "heads": 4},
        "objective": [{"name": "cross-entropy"}, {"name": "avel"}, {"name": "mem"}],
    }
    finish(launch(program, recipe, tmp_path / "two"))
    alone = train(parse_recipe(recipe), tmp_path / "one")
    assert compare(alone.folder, tmp_path / "two") < TOLERANCE


@pytest.mark.slow
def test_batch_norm_sees_the_items_of_all(frames, program, tmp_path):
    recipe = {
        **frames,
        "model": {"name": "fleser", "hidden": 16, "heads": 4, "norm": "batch", "dropout": 0.2},
    }
    # A bias before a batch norm has no gradient but rounding, of which Adam makes whole steps.
    plain = {"optimiser": "sgd", "learning_rate": 0.02}
    recipe["trainer"] = {**recipe["trainer"], **plain}
    finish(launch(program, recipe, tmp_path / "two"))
    alone = train(parse_recipe(recipe), tmp_path / "one")
    assert compare(alone.folder, tmp_path / "two") < 1e-6


@pytest.mark.slow
def test_three_processes_and_lbfgs(two_modalities, program, tmp_path):
    """The tail of an epoch has fewer items than there are processes."""
    recipe = mlp(two_modalities)
    recipe["trainer"] = {**recipe["trainer"], "batch_size": 8, "refit": True}
    finish(launch(program, recipe, tmp_path / "three", processes=3))
    alone = train(parse_recipe(recipe), tmp_path / "one")
    assert compare(alone.folder, tmp_path / "three") < TOLERANCE
    recipe = {**two_modalities, "model": {"name": "linear"}}
    recipe["trainer"] = {"optimiser": "lbfgs", "epochs": 60, "device": "cpu", "workers": 0}
    finish(launch(program, recipe, tmp_path / "two"))
    alone = train(parse_recipe(recipe), tmp_path / "whole")
    assert compare(alone.folder, tmp_path / "two") < 50 * TOLERANCE


@pytest.mark.slow
def test_killed_together_and_gone_on(two_modalities, program, tmp_path):
    recipe = mlp(two_modalities)
    recipe["trainer"] = {**recipe["trainer"], "epochs": 40}
    folder = tmp_path / "killed"
    process = launch(program, recipe, folder)
    while process.poll() is None and not list(folder.glob("jobs/*/fit.safetensors")):
        time.sleep(0.05)
    assert process.poll() is None
    os.kill(worker_of(process.pid, "RANK=0"), signal.SIGKILL)
    process.communicate()
    assert process.returncode != 0
    assert not (folder / "metrics.json").exists()
    finish(launch(program, recipe, folder))
    finish(launch(program, recipe, tmp_path / "whole"))
    assert compare(tmp_path / "whole", folder) == 0.0


def test_draws_of_dropout_are_those_of_one_process():
    drop = Dropout(0.4).train()
    values = torch.ones(7, 3, 5)
    torch.manual_seed(3)
    whole = drop(values)
    parts = []
    for start, end in ((0, 3), (3, 7), (7, 7)):
        torch.manual_seed(3)
        with sharing(Share(start, end - start, 7)):
            parts.append(drop(values[start:end] if end > start else values[:1])[: end - start])
        after = torch.rand(1)
    assert torch.equal(torch.cat(parts), whole)
    torch.manual_seed(3)
    drop(values)
    assert torch.equal(torch.rand(1), after)
    torch.manual_seed(4)
    assert not torch.equal(drop(values), whole)


DDP = """
import sys
from pathlib import Path
import torch
from torch.nn.parallel import DistributedDataParallel
from emofuse.models.build import build_model
from emofuse.models.contract import Batch, ModelSpec, Sequences
from emofuse.models.shared import average_gradients
from emofuse.training.together.place import take_place

with take_place(Path(sys.argv[1])) as place:
    given = torch.Generator().manual_seed(place.rank)
    values = torch.randn(5, 1, 12, generator=given)
    batch = Batch({"audio": Sequences(values, torch.ones(5, 1, dtype=torch.bool))})
    labels = torch.arange(5) % 3

    def learn(model, run):
        model.train()
        torch.manual_seed(7)
        torch.nn.functional.cross_entropy(run(batch).logits, labels).backward()

    ours, theirs = (
        build_model("mlp", {"hidden": 16}, ModelSpec({"audio": 12}, 3), 0) for _ in range(2)
    )
    learn(ours, ours)
    average_gradients(list(ours.parameters()))
    learn(theirs, DistributedDataParallel(theirs))
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    gaps = [float((one.grad - two.grad).abs().max()) for one, two in pairs]
    Path(sys.argv[2], str(place.rank)).write_text(" ".join(map(str, gaps)))
"""


def test_averaged_gradients_are_those_of_torchs_ddp(tmp_path):
    path = tmp_path / "worker.py"
    path.write_text(DDP)
    finish(run_program(path, [str(tmp_path / "run"), str(tmp_path)]))
    for rank in "01":
        gaps = [float(one) for one in (tmp_path / rank).read_text().split()]
        assert len(gaps) >= 4
        assert max(gaps) < 1e-6
