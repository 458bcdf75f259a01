"""Trained together or one by one: the same models, epoch by epoch."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from emofuse.errors import TrainingError
from emofuse.features.table import FeatureTable, Ragged
from emofuse.layers.dropout import Dropout
from emofuse.losses.contract import Targets
from emofuse.protocols.contract import Fold
from emofuse.training.fit import Blueprint
from emofuse.training.jobs import Job
from emofuse.training.options import TrainerOptions
from emofuse.training.parallel import Task, run_tasks
from emofuse.training.parts import Part
from emofuse.training.stacking.noise import Layout, draw_noise

CLASSES = ("anger", "happiness", "sadness")
BOTH = {"audio": 10, "text": 6}
PLAIN = ({"name": "cross-entropy"},)


def make_tasks(folder, dims, lacking=0, items=90, folds=2, seeds=(0, 1), frames=1):
    """Folds of different sizes; some items lack text."""
    random = np.random.default_rng(3)
    labels = torch.arange(items) % 3
    modalities = {}
    for name, dim in dims.items():
        centres = random.normal(size=(3, dim))
        arrays = [
            (centres[k] + random.normal(size=(frames, dim)) * 1.5).astype(np.float32)
            for k in labels.tolist()
        ]
        if name == "text":
            for place in range(lacking):
                arrays[7 * place % items] = None
        modalities[name] = Ragged.from_arrays(arrays, dim)
    table = FeatureTable(tuple(f"u{n}" for n in range(items)), modalities, {})

    def part(rows):
        return Part(rows, Targets(labels[rows]), rows)

    tasks = []
    for fold in range(folds):
        train = torch.arange(0, 50 + 9 * fold)
        dev = torch.arange(60 + 5 * fold, 80)
        for seed in seeds:
            job = Job(
                Fold(f"f{fold}", ("a",), (), ("b",)), seed, folder / "jobs" / f"f{fold}-{seed}"
            )
            tasks.append(Task(job, part(train), part(dev), torch.arange(80, 90)))
    return tasks, table


def run(folder, stack, model="mlp", dims=BOTH, objective=PLAIN, options=None, hook=None, **sizes):
    tasks, table = make_tasks(folder, dims, **sizes)
    made = {"hidden": 16} if model in ("mlp", "late-fusion") else {}
    if model.startswith("fleser"):
        made = {"hidden": 16, "heads": 2}
        if model.endswith("/smooth"):
            made["fuzzy_select"] = "sigmoid"
        elif "/" in model:
            made |= {"variant": "published", "release": model.split("/")[1]}
    blueprint = Blueprint(model.split("/")[0], made, objective, CLASSES)
    defaults = {"epochs": 6, "batch_size": 16, "learning_rate": 1e-2, "patience": None}
    chosen = {**defaults, "device": "cpu", "workers": 0, "checkpoint_seconds": 0}
    parsed = TrainerOptions.parse({**chosen, "stack": stack, **(options or {})})
    run_tasks(tasks, blueprint, parsed, table, hook or (lambda *_: None))
    return tasks


def compare(one, two, atol=2e-4):
    for first, second in zip(one, two, strict=True):
        a, b = first.job.result(), second.job.result()
        assert a.note["epochs"] == b.note["epochs"]
        np.testing.assert_allclose(a.note["dev"], b.note["dev"], atol=1e-6)
        torch.testing.assert_close(a.logits, b.logits, atol=atol, rtol=1e-3)
        weights = second.job.weights()
        for name, part in first.job.weights().items():
            torch.testing.assert_close(part, weights[name], atol=atol, rtol=1e-3)
        tables = [pd.read_csv(t.job.folder / "history.csv") for t in (first, second)]
        assert list(tables[0].columns) == list(tables[1].columns)
        drop = ["phase", "fold", "seconds"]
        rows = [table.drop(columns=drop).to_numpy(dtype=float) for table in tables]
        np.testing.assert_allclose(rows[0], rows[1], rtol=2e-3, atol=max(atol, 2e-4))
        np.testing.assert_allclose(tables[0]["loss"][0], tables[1]["loss"][0], rtol=2e-4)


def notes(tasks):
    return [note for task in tasks for note in task.job.result().note["notes"]]


@pytest.mark.parametrize(
    ("model", "dims"),
    [
        ("linear", {"audio": 10}),
        ("mlp", {"audio": 10}),
        ("mlp", BOTH),
        ("late-fusion", BOTH),
        ("fleser/smooth", BOTH),
        ("fleser", BOTH),
        ("fleser/R2", BOTH),
        ("fleser/R1", BOTH),
    ],
)
def test_stacked_is_one_by_one(tmp_path, model, dims):
    lacking = 0 if model.split("/")[-1] in ("R1", "R2") or len(dims) < 2 else 5
    # A bias before a batch norm has a gradient of rounding errors, which Adam scales up.
    options = {"optimiser": "sgd"} if model == "fleser/R1" else {"learning_rate": 2e-3}
    alone = run(tmp_path / "alone", False, model, dims, lacking=lacking, options=options)
    together = run(tmp_path / "together", True, model, dims, lacking=lacking, options=options)
    assert notes(together) == []
    # Memberships of FleSER jump: a rounding error can put an item on the other side.
    compare(alone, together, atol=5e-3 if model == "fleser" else 2e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"optimiser": "adam", "clip": None, "weight_decay": 0.01},
        {"optimiser": "sgd", "learning_rate": 0.05, "clip": 0.5, "sampler": "balanced"},
        {"patience": 1, "refit": True, "monitor": "loss", "learning_rate": 0.05, "epochs": 12},
        {"schedule": "plateau", "plateau_patience": 0, "drop_last": True},
        {"schedule": "onecycle", "cycle_momentum": True, "warmup": 0.1},
    ],
    ids=["adam", "sgd", "early stop and refit", "plateau", "onecycle"],
)
def test_every_way_of_training(tmp_path, options):
    objective = ({"name": "cross-entropy", "weights": "balanced", "smoothing": 0.1},)
    alone = run(tmp_path / "alone", False, objective=objective, options=options)
    together = run(tmp_path / "together", True, objective=objective, options=options)
    assert notes(together) == []
    compare(alone, together)
    if options.get("patience") == 1:
        assert len({task.job.result().note["epochs"] for task in together}) > 1
        for one, two in zip(alone, together, strict=True):
            tables = [pd.read_csv(t.job.folder / "history-refit.csv") for t in (one, two)]
            assert len(tables[0]) == len(tables[1])


def test_frames_that_are_averaged_are_stacked_and_sequences_are_not(tmp_path):
    alone = run(tmp_path / "alone", False, frames=3)
    together = run(tmp_path / "together", True, frames=3)
    assert notes(together) == []
    compare(alone, together)
    run_sequences = run(tmp_path / "sequences", True, "fleser", frames=3)
    assert all("sequences" in note for note in notes(run_sequences))
    assert len(notes(run_sequences)) == len(run_sequences)


@pytest.mark.parametrize(
    ("objective", "options", "reason"),
    [
        (({"name": "cross-entropy"}, {"name": "supcon", "of": "text"}), {}, "one by one"),
        (PLAIN, {"select": {"learning_rate": [0.1, 0.01]}}, "select"),
        (PLAIN, {"tracking": ["csv"]}, "trackers"),
    ],
)
def test_what_cannot_be_stacked_is_trained_alone_and_says_so(tmp_path, objective, options, reason):
    alone = run(tmp_path / "alone", False, "fleser", objective=objective, options=options)
    asked = run(tmp_path / "asked", True, "fleser", objective=objective, options=options)
    assert len(notes(asked)) == len(notes(alone)) + len(asked)
    assert all(reason in note for note in notes(asked) if note.startswith("trained one by one"))
    for one, two in zip(alone, asked, strict=True):
        assert torch.equal(one.job.result().logits, two.job.result().logits)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("moment", [3, 13, 26])
def test_a_stack_that_was_killed_goes_on(tmp_path, moment):
    options = {"refit": True, "patience": 2, "schedule": "plateau", "plateau_patience": 0}
    whole = run(tmp_path / "whole", True, options=options)
    seen = 0

    def kill(place, phase, row):
        nonlocal seen
        seen += 1
        if seen == moment:
            raise KilledError

    with pytest.raises(KilledError):
        run(tmp_path / "killed", True, options=options, hook=kill)
    again = run(tmp_path / "killed", True, options=options)
    for one, two in zip(whole, again, strict=True):
        for name in ("model.safetensors", "outputs.safetensors", "result.json"):
            assert (one.job.folder / name).read_bytes() == (two.job.folder / name).read_bytes()
    assert not list((tmp_path / "killed" / "jobs").glob("stack-*"))


def test_a_loss_that_is_no_number_is_named(tmp_path):
    options = {"learning_rate": 1e30, "schedule": "constant", "clip": None}
    with pytest.raises(TrainingError, match=r"epoch \d+, batch \d+"):
        run(tmp_path, True, "fleser", options=options)


def test_factors_are_the_bits_that_dropout_draws():
    shapes = [torch.Size((5, 7)), torch.Size((3, 1, 6))]
    layers = [Dropout(0.3), Dropout(0.5)]
    layout = Layout.of(
        [(shape, layer.dropped) for shape, layer in zip(shapes, layers, strict=True)],
        torch.device("cpu"),
    )
    generators = [torch.Generator().manual_seed(seed) for seed in (4, 9)]
    factors = draw_noise(layout, generators)
    for place, seed in enumerate((4, 9)):
        torch.manual_seed(seed)
        for shape, layer, factor in zip(shapes, layers, factors, strict=True):
            assert torch.equal(layer(torch.ones(shape)), factor[place])


def test_stacking_is_not_tried_on_a_processor_unless_asked(tmp_path):
    together = run(tmp_path, "auto", seeds=(0,))
    alone = run(tmp_path / "alone", False, seeds=(0,))
    assert notes(together) == []
    for one, two in zip(alone, together, strict=True):
        assert torch.equal(one.job.result().logits, two.job.result().logits)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_an_accelerator_stacks_unasked_with_the_same_numbers(tmp_path):
    """Without dropout nothing is drawn on the device, so that results agree."""
    on_gpu = {"device": "cuda", "modality_dropout": 0.3}
    alone = run(tmp_path / "alone", False, "linear", options=on_gpu, lacking=5)
    together = run(tmp_path / "together", "auto", "linear", options=on_gpu, lacking=5)
    assert notes(together) == []
    compare(alone, together)


def test_memory_that_runs_out_halves_the_stack(tmp_path, monkeypatch):
    from emofuse.training.stacking import plan as stack_plan

    real, sizes = stack_plan.Stack, []

    def small(fits):
        sizes.append(len(fits))
        if len(fits) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return real(fits)

    monkeypatch.setattr(stack_plan, "Stack", small)
    alone = run(tmp_path / "alone", False)
    together = run(tmp_path / "together", True)
    assert sizes == [4, 2, 2]
    assert notes(together) == []
    compare(alone, together)
