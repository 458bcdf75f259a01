"""The trainer: it learns, it is repeatable, it chooses within train and dev, it goes on."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from emofuse.errors import OptionError, TrainingError
from emofuse.features.table import FeatureTable
from emofuse.losses.contract import Targets
from emofuse.training.feeder import Feeder, hide_modalities
from emofuse.training.fit import Blueprint
from emofuse.training.judge import judge, recognise
from emofuse.training.options import TrainerOptions
from emofuse.training.parts import Part
from emofuse.training.schedule import schedule_factor
from emofuse.training.selection import group_folds
from emofuse.training.trainer import Trainer

CLASSES = ("anger", "happiness", "sadness")
PLAIN = ({"name": "cross-entropy"},)


def trainer(model="mlp", objective=PLAIN, model_options=None, **options):
    options = {"epochs": 15, "batch_size": 16, "device": "cpu"} | options
    made = {"hidden": 16} if model != "linear" else {}
    blueprint = Blueprint(model, model_options or made, objective, CLASSES)
    return Trainer(blueprint, TrainerOptions.parse(options))


def accuracy(trained, table, part):
    seen = recognise(trained.model, Feeder(table, part.rows))
    return judge(part.targets.labels, seen.logits.argmax(dim=1), 3)["ua"]


def same(one, two):
    a, b = one.model.state_dict(), two.model.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("model", ["linear", "mlp", "late-fusion"])
@pytest.mark.parametrize(
    "dims", [{"audio": 12}, {"audio": 12, "text": 6}], ids=["audio", "audio+text"]
)
@pytest.mark.parametrize("frames", [1, 6])
def test_it_learns(make_parts, model, dims, frames):
    table, train, dev, test = make_parts(dims=dims, frames=frames)
    trained = trainer(model, learning_rate=1e-2).fit(table, train, dev)
    assert accuracy(trained, table, test) > 0.8
    assert trained.dev is not None
    assert not trained.model.training


def test_same_seed_same_model_and_other_seed_another(make_parts):
    table, train, dev, _ = make_parts(dims={"audio": 12, "text": 6})
    fit = trainer().fit
    state = torch.get_rng_state()
    one = fit(table, train, dev, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert same(one, fit(table, train, dev, seed=4))
    assert not same(one, fit(table, train, dev, seed=5))


def test_rows_that_are_not_train_or_dev_do_not_matter(make_parts):
    table, train, dev, test = make_parts()
    reference = trainer(refit=True).fit(table, train, dev)
    part = table.modalities["audio"]
    values = part.values.clone()
    values[part.offsets[test.rows]] = torch.nan
    spoiled = FeatureTable(table.ids, {"audio": type(part)(values, part.offsets)}, {})
    assert same(reference, trainer(refit=True).fit(spoiled, train, dev))


def test_dev_chooses_the_epoch_and_its_weights_are_kept(make_parts):
    table, train, dev, _ = make_parts(spread=4.0)
    for monitor in ("ua", "wa", "wf1", "mf1", "loss"):
        trained = trainer(monitor=monitor, patience=4, learning_rate=1e-2).fit(table, train, dev)
        column = [row[f"dev_{monitor}"] for row in trained.history]
        best = min(column) if monitor == "loss" else max(column)
        assert trained.epochs == column.index(best) + 1
        assert len(column) in (15, trained.epochs + 4)
        assert trained.dev == (-best if monitor == "loss" else best)
        if monitor != "loss":
            seen = recognise(trained.model, Feeder(table, dev.rows)).logits.argmax(dim=1)
            assert judge(dev.targets.labels, seen, 3)[monitor] == best


def test_without_dev_the_last_epoch_counts_and_it_says_so(make_parts):
    table, train, _, _ = make_parts()
    trained = trainer().fit(table, train)
    assert trained.epochs == 15
    assert trained.dev is None
    assert any("no dev part" in note for note in trained.notes)


def test_refit_trains_on_both_for_the_chosen_epochs(make_parts):
    table, train, dev, _ = make_parts(spread=3.0)
    plain = trainer(patience=3).fit(table, train, dev)
    again = trainer(patience=3, refit=True).fit(table, train, dev)
    phases = [row["phase"] for row in again.history]
    assert phases.count("fit") == len(plain.history)
    assert phases.count("refit") == plain.epochs == again.epochs
    assert again.dev == plain.dev
    both = trainer(patience=None, epochs=15).fit(table, train.join(dev))
    assert not same(again, plain)
    first = next(row for row in again.history if row["phase"] == "refit")
    assert first["loss"] == both.history[0]["loss"]


def test_lbfgs_is_logistic_regression(make_parts):
    table, train, _, test = make_parts(spread=3.0)
    values = table.modalities["audio"].values.numpy()
    scaler = StandardScaler().fit(values[train.rows])
    for decay in (0.3, 0.01):
        reference = LogisticRegression(
            C=1 / (len(train) * decay), class_weight="balanced", tol=1e-8, max_iter=5000
        ).fit(scaler.transform(values[train.rows]), train.targets.labels)
        objective = ({"name": "cross-entropy", "weights": "balanced"},)
        trained = trainer(
            "linear", objective, optimiser="lbfgs", weight_decay=decay, epochs=500
        ).fit(table, train)
        shown = recognise(trained.model, Feeder(table, test.rows)).logits.softmax(dim=1)
        expected = reference.predict_proba(scaler.transform(values[test.rows]))
        np.testing.assert_allclose(shown.numpy(), expected, atol=2e-3)


def test_selection_by_grouped_folds_and_by_dev(make_parts):
    table, train, dev, _ = make_parts(dims={"audio": 60}, spread=6.0)
    options = {"optimiser": "lbfgs", "epochs": 100}
    grid = {"weight_decay": [1e4, 0.3, 1e-6]}
    by_folds = trainer("linear", refit=True, select={**grid, "folds": 3}, **options)
    chosen = by_folds.fit(table, train, dev)
    assert chosen.chosen == {"weight_decay": 0.3}
    assert chosen.dev is not None
    assert {row["phase"] for row in chosen.history} == {"refit"}
    by_dev = trainer("linear", select=grid, **options).fit(table, train, dev)
    assert by_dev.chosen["weight_decay"] in grid["weight_decay"]
    with pytest.raises(OptionError, match="no dev part"):
        trainer("linear", select=grid, **options).fit(table, train)
    lonely = Part(train.rows, train.targets, torch.zeros(len(train), dtype=torch.long))
    with pytest.raises(OptionError, match="one group"):
        by_folds.fit(table, lonely)
    edge = trainer("linear", select={"weight_decay": [1e4, 1e5, 1e6], "folds": 3}, **options)
    assert any("edge" in note for note in edge.fit(table, train, dev).notes)


def test_group_folds_keep_groups_whole():
    groups = torch.tensor([0] * 7 + [1] * 2 + [2] * 3 + [5] * 4)
    folds = group_folds(groups, 3)
    assert sorted(torch.cat(folds).tolist()) == list(range(16))
    owners = [set(groups[fold].tolist()) for fold in folds]
    assert sum(len(owner) for owner in owners) == 4
    assert len(group_folds(groups, 10)) == 4


def test_a_diverging_run_is_named(make_parts):
    table, train, dev, _ = make_parts()
    with pytest.raises(TrainingError, match=r"epoch \d+, batch \d+ \(learning rate 1e\+30\)"):
        trainer(
            learning_rate=1e30, schedule="constant", clip=None, model_options={"normalise": False}
        ).fit(table, train, dev)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("moment", [1, 9, 15, 18])
@pytest.mark.parametrize("select", [None, {"learning_rate": [1e-2, 1e-3]}])
def test_a_killed_fit_goes_on_as_if_nothing_had_been(make_parts, tmp_path, moment, select):
    table, train, dev, _ = make_parts(dims={"audio": 12, "text": 6}, spread=3.0)
    made = trainer(refit=True, patience=None, checkpoint_seconds=0, select=select)
    undisturbed = made.fit(table, train, dev)
    seen = 0

    def kill(phase, row):
        nonlocal seen
        seen += 1
        if seen == moment:
            raise KilledError

    for _ in range(3):  # three lives, each ends a little later
        seen = 0
        with suppress(KilledError):
            made.fit(table, train, dev, folder=tmp_path, hook=kill)
    trained = made.fit(table, train, dev, folder=tmp_path)
    assert same(trained, undisturbed)

    def rows(one):
        return [{k: v for k, v in row.items() if k != "seconds"} for row in one.history]

    assert rows(trained) == rows(undisturbed)
    assert (trained.dev, trained.epochs) == (undisturbed.dev, undisturbed.epochs)


def test_a_damaged_checkpoint_is_named(make_parts, tmp_path):
    table, train, dev, _ = make_parts()
    trainer().fit(table, train, dev, folder=tmp_path)
    (tmp_path / "fit.safetensors").write_bytes(b"nonsense")
    with pytest.raises(TrainingError, match="delete it"):
        trainer().fit(table, train, dev, folder=tmp_path)


def test_modality_dropout_makes_either_modality_suffice(make_parts):
    table, train, dev, test = make_parts(dims={"audio": 8, "text": 8}, items=300, spread=1.0)

    def alone(model, name):
        only = FeatureTable(table.ids, {name: table.modalities[name]}, {})
        seen = recognise(model, Feeder(only, test.rows)).logits.argmax(dim=1)
        return judge(test.targets.labels, seen, 3)["ua"]

    trained = trainer("mlp", learning_rate=1e-2, modality_dropout=0.3).fit(table, train, dev)
    assert min(alone(trained.model, name) for name in ("audio", "text")) > 0.75
    assert accuracy(trained, table, test) > 0.9
    assert trainer().options.dropout_for(2) == 0.2
    assert trainer().options.dropout_for(1) == 0.0
    assert trainer(modality_dropout=0.0).options.dropout_for(2) == 0.0


def test_hidden_modalities_leave_every_item_one(make_table):
    table, _, _ = make_table(dims={"audio": 3, "text": 2}, frames=4)
    batch = Feeder(table, torch.arange(120)).batch(torch.arange(120))
    hidden = hide_modalities(batch, 0.9, torch.Generator().manual_seed(0))
    present = torch.stack([part.present for part in hidden.modalities.values()])
    assert present.any(dim=0).all()
    assert not present.all()


def test_bf16_learns_too(make_parts):
    table, train, dev, test = make_parts()
    trained = trainer(precision="bf16", learning_rate=1e-2).fit(table, train, dev)
    assert accuracy(trained, table, test) > 0.8
    assert all(part.dtype == torch.float32 for part in trained.model.parameters())


def test_soft_labels_reach_the_loss(make_parts):
    table, train, dev, _ = make_parts()
    soft = torch.full((len(train), 3), 1 / 3)
    softened = Part(train.rows, Targets(train.targets.labels, soft), train.groups)
    certain = torch.eye(3)[dev.targets.labels]  # a run gives every utterance shares, or none
    dev = Part(dev.rows, Targets(dev.targets.labels, certain), dev.groups)
    objective = ({"name": "cross-entropy", "soft": True},)
    trained = trainer("mlp", objective).fit(table, softened, dev)
    assert trained.history[-1]["loss"] == pytest.approx(np.log(3), abs=0.2)
    named = trainer(learning_rate=1e-2).fit(table, softened, dev)
    assert accuracy(named, table, dev) > 0.8


@pytest.mark.parametrize("frames", [1, 7])
def test_an_epoch_feeds_every_item_once(make_table, frames):
    table, _, _ = make_table(frames=frames)
    feeder = Feeder(table, torch.arange(10, 110))
    order = torch.Generator().manual_seed(0)
    for batches in (feeder.shuffled(8, order), list(feeder.in_order(8))):
        assert sorted(torch.cat(batches).tolist()) == list(range(100))
        assert max(len(items) for items in batches) == 8
    items = torch.tensor([5, 3, 99])
    part = feeder.batch(items).modalities["audio"]
    for place, item in enumerate(items.tolist()):
        start, end = table.modalities["audio"].offsets[10 + item : 12 + item].tolist()
        torch.testing.assert_close(
            part.values[place][part.mask[place]], table.modalities["audio"].values[start:end]
        )


def test_schedules():
    assert schedule_factor("constant", 0.7) == 1.0
    assert schedule_factor("linear", 0.25) == 0.75
    assert schedule_factor("cosine", 1.0) == pytest.approx(0.0)
    for kind in ("constant", "cosine", "linear"):
        values = [schedule_factor(kind, step / 100, 0.2) for step in range(101)]
        assert values[0] == 0.0
        assert max(values) == pytest.approx(1.0)
        assert values.index(max(values)) == 20
    cycle = [schedule_factor("onecycle", step / 100) for step in range(101)]
    assert cycle.index(max(cycle)) == 30
    assert cycle[0] == pytest.approx(0.04)
    assert cycle[-1] < 1e-4
