"""Processes that hold a share of every parameter each end with the numbers of one process."""

from __future__ import annotations

import os
import signal
import time

import pytest
from tests.together.launching import (
    TOLERANCE,
    compare,
    finish,
    launch,
    mlp,
    run_program,
    worker_of,
)

from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train


def sharded(recipe, **trainer):
    return {**recipe, "trainer": {**recipe["trainer"], "sharding": "fsdp", **trainer}}


def test_average_clipping_and_the_losses_own_parameters(two_modalities, program, tmp_path):
    recipe = mlp(two_modalities)
    recipe["objective"] = [
        {"name": "cross-entropy"},
        {"name": "contrastive-center", "weight": 0.3},
    ]
    recipe = sharded(recipe, ema=0.9, clip=0.5, accumulate=2)
    finish(launch(program, recipe, tmp_path / "two"))
    alone = train(parse_recipe(recipe), tmp_path / "one")
    assert compare(alone.folder, tmp_path / "two") < TOLERANCE


@pytest.mark.slow
def test_parts_called_after_the_forward_pass(frames, program, tmp_path):
    recipe = {
        **frames,
        "model": {"name": "foal-net", "avel": True, "mem": True, "dropout": 0.2, "heads": 4},
        "objective": [{"name": "cross-entropy"}, {"name": "avel"}, {"name": "mem"}],
    }
    recipe = sharded(recipe)
    finish(launch(program, recipe, tmp_path / "two"))
    alone = train(parse_recipe(recipe), tmp_path / "one")
    assert compare(alone.folder, tmp_path / "two") < TOLERANCE


@pytest.mark.parametrize(
    ("kinds", "stage"),
    [
        ({"audio": "whisper"}, {"ema": 0.9, "gradient_checkpointing": True}),
        ({"audio": "hubert-group", "text": "bert"}, {"layer_decay": 0.7, "freeze_layers": 1}),
        ({"audio": "wavlm-layer"}, {"lora": {"rank": 2}}),
    ],
)
@pytest.mark.parametrize("sharding", ["fsdp", "none"])
@pytest.mark.slow
def test_fine_tuning(raw, program, tmp_path, kinds, stage, sharding):
    recipe = raw(kinds, **stage)
    recipe["trainer"]["sharding"] = sharding
    finish(launch(program, recipe, tmp_path / "two"))
    alone = train(parse_recipe(recipe), tmp_path / "one")
    assert compare(alone.folder, tmp_path / "two") < TOLERANCE


WORKER = """
import sys
import torch
from accelerate import Accelerator
from emofuse.training.together.place import take_place
from emofuse.training.together.tensors import is_shard
from emofuse.training.fit import Blueprint, Fit
from emofuse.training.options import TrainerOptions
from emofuse.training.parts import Part
from emofuse.features.table import FeatureTable, Ragged
from emofuse.losses.contract import Targets
from pathlib import Path

with take_place(Path(sys.argv[1])) as place:
    torch.manual_seed(0)
    labels = torch.arange(40) % 3
    values = torch.randn(40, 12) + labels[:, None]
    vectors = Ragged.from_arrays(values.numpy()[:, None], 12)
    table = FeatureTable(tuple(map(str, range(40))), {"audio": vectors}, {})
    options = TrainerOptions(epochs=2, batch_size=8, device="cpu", sharding="fsdp")
    part = Part(torch.arange(40), Targets(labels), labels)
    fit = Fit(
        Blueprint("mlp", {"hidden": 16}, ({"name": "cross-entropy"},), ("a", "b", "c")),
        options, table, part, None, seed=0, accelerator=Accelerator(cpu=True),
    )
    learned = dict(fit.model.named_parameters())
    size = sum(one.numel() for one in learned.values())
    assert all(is_shard(one) for one in learned.values())
    held = sum(one.to_local().numel() for one in learned.values())
    fit.stepper.epoch(0)
    state = fit.stepper.optimisers.main.state
    known = sum(one["exp_avg"].to_local().numel() for one in state.values())
    fit.run()
    after = sum(one.numel() for one in fit.model.parameters())
    assert not any(is_shard(one) for one in fit.model.parameters())
    Path(sys.argv[2], str(place.rank)).write_text(f"{size} {held} {known} {after}")
"""


def test_every_process_holds_a_share(tmp_path):
    path = tmp_path / "worker.py"
    path.write_text(WORKER)
    finish(run_program(path, [str(tmp_path / "run"), str(tmp_path)]))
    told = [[int(one) for one in (tmp_path / rank).read_text().split()] for rank in "01"]
    (size, first, known_first, after), (_, second, known_second, _) = told
    assert first + second == size == after
    assert max(first, second) <= size * 0.6
    assert (known_first, known_second) == (first, second)


@pytest.mark.slow
def test_killed_and_gone_on_by_one_process(two_modalities, program, tmp_path):
    """A checkpoint is whole: what two processes began, one can finish."""
    recipe = sharded(mlp(two_modalities), epochs=40, ema=0.9)
    folder = tmp_path / "killed"
    process = launch(program, recipe, folder)
    while process.poll() is None and not list(folder.glob("jobs/*/fit.safetensors")):
        time.sleep(0.05)
    assert process.poll() is None
    os.kill(worker_of(process.pid, "RANK=0"), signal.SIGKILL)
    process.communicate()
    assert not (folder / "metrics.json").exists()
    train(parse_recipe(recipe), folder)
    whole = train(parse_recipe(recipe), tmp_path / "whole")
    assert compare(whole.folder, folder) < TOLERANCE
    finish(launch(program, recipe, tmp_path / "two"))
    assert compare(whole.folder, tmp_path / "two") < TOLERANCE
