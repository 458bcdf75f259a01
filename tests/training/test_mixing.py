"""Disturbed and mixed features, and classes that come in one after another."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emofuse.augment.vectors import FeatureNoiseOptions, MixupOptions, blend, disturb, draw_share
from emofuse.errors import OptionError
from emofuse.features.table import FeatureTable, Ragged
from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.objective import build_objective
from emofuse.models.contract import EmotionOutput
from emofuse.training.curriculum import CurriculumOptions, draw_items, learned_classes
from emofuse.training.feeder import Feeder
from emofuse.training.fit import Blueprint
from emofuse.training.mixing import Mixed, Mixing
from emofuse.training.options import TrainerOptions
from emofuse.training.parts import Part
from emofuse.training.trainer import Trainer

CLASSES = ("anger", "happiness", "sadness")


def tensors(items=6, time=5, dim=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([5, 2, 3, 1, 4, 0])[:items]
    mask = torch.arange(time) < lengths[:, None]
    values = torch.randn(items, time, dim, generator=generator) * mask[..., None]
    return values, mask


def corpus(items=48, frames=1, seed=0, scale=1.0):
    random = np.random.default_rng(seed)
    labels = np.arange(items) % len(CLASSES)
    parts = {}
    for name, dim in (("audio", 6), ("text", 4)):
        centres = random.normal(size=(len(CLASSES), dim)) * 2
        arrays = [
            (
                scale
                * (centres[k] + random.normal(size=(int(random.integers(1, frames + 1)), dim)))
            ).astype(np.float32)
            for k in labels
        ]
        parts[name] = Ragged.from_arrays(arrays, dim)
    table = FeatureTable(tuple(f"u{n}" for n in range(items)), parts, {})
    cut = items * 3 // 4
    made = [
        Part(rows, Targets(torch.from_numpy(labels)[rows]), rows % 6)
        for rows in (torch.arange(cut), torch.arange(cut, items))
    ]
    return table, made[0], made[1]


def trainer(**options):
    base = {"epochs": 4, "batch_size": 8, "device": "cpu", "patience": None, "select": None}
    blueprint = Blueprint("mlp", {"hidden": 8}, ({"name": "cross-entropy"},), CLASSES)
    return Trainer(blueprint, TrainerOptions.parse(base | options))


def test_a_blend_is_the_loops():
    values, mask = tensors()
    partners = torch.tensor([1, 0, 5, 2, 4, 3])
    found = blend(values, mask, partners, 0.7)
    for item, partner in enumerate(partners.tolist()):
        for step in range(mask.shape[1]):
            own, other = values[item, step], values[partner, step]
            both = bool(mask[item, step] and mask[partner, step])
            expected = 0.7 * own + 0.3 * other if both else own
            torch.testing.assert_close(found[item, step], expected)
    assert not found[~mask].any()


def test_an_item_has_half_of_its_pair_or_more_and_as_released_any_share():
    rng = np.random.default_rng(0)
    shares = [draw_share(MixupOptions(), rng) for _ in range(4000)]
    mixed = [one for one in shares if one is not None]
    assert len(mixed) / len(shares) == pytest.approx(0.3, abs=0.02)
    assert min(mixed) >= 0.5
    legacy = [draw_share(MixupOptions(legacy=True, p=1.0), rng) for _ in range(4000)]
    assert np.mean(legacy) == pytest.approx(0.5, abs=0.02)
    assert np.var(legacy) == pytest.approx(0.25 / 1.8, abs=0.01)  # of Beta(0.4, 0.4)


def test_noise_is_as_loud_as_the_features_and_dropped_values_are_the_mean():
    items, dim = 400, 3
    spread, mean = torch.tensor([1.0, 10.0, 0.1]), torch.tensor([5.0, -2.0, 0.0])
    values = mean + spread * torch.randn(items, 1, dim, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(items, 1, dtype=torch.bool)

    def changed(**options):
        generator = torch.Generator().manual_seed(2)
        chosen = FeatureNoiseOptions(**({"p": 1.0} | options))
        return disturb(values, mask, chosen, mean=mean, spread=spread, generator=generator)

    added = changed(dropout=0.0) - values
    torch.testing.assert_close(
        added.std(dim=(0, 1)) / spread, torch.full((3,), 0.05), atol=5e-3, rtol=0
    )
    released = changed(dropout=0.0, legacy=True) - values
    torch.testing.assert_close(released.std(dim=(0, 1)), torch.full((3,), 0.05), atol=5e-3, rtol=0)
    dropped = changed(noise=0.0)
    gone = dropped != values
    assert gone.float().mean() == pytest.approx(0.1, abs=0.02)
    assert torch.equal(dropped[gone], mean.expand_as(values)[gone])
    whole = changed(noise=0.0, legacy=True)
    assert torch.allclose(whole[whole != 0], (values / 0.9)[whole != 0])
    half = changed(p=0.5, dropout=0.0)
    assert (half != values).any(dim=(1, 2)).float().mean() == pytest.approx(0.5, abs=0.08)


def test_as_released_a_whole_batch_is_changed_or_none_of_it():
    values, mask = tensors()
    options = FeatureNoiseOptions(legacy=True, dropout=0.0)
    seen = set()
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        zero = torch.zeros(3)
        found = disturb(values, mask, options, mean=zero, spread=zero, generator=generator)
        moved = (found != values).any(dim=2)[mask]
        seen.add((bool(moved.any()), bool(moved.all())))
        assert not found[~mask].any()
    assert seen == {(True, True), (False, False)}


def test_the_loss_is_mixed_as_the_items_are_and_as_released_micl_is_not():
    generator = torch.Generator().manual_seed(0)
    labels, others = torch.tensor([0, 1, 2, 0]), torch.tensor([2, 0, 1, 1])
    extras = {f"micl:{n}": torch.randn(4, 5, generator=generator) for n in ("audio", "text")}
    output = EmotionOutput(torch.randn(4, 3, generator=generator), extras=extras)
    entries = ({"name": "cross-entropy"}, {"name": "micl", "weight": 0.5, "same_label": "pull"})
    objective = build_objective(entries, LossContext(torch.ones(3), {}, CLASSES))
    one, two = (objective(output, Targets(found)) for found in (labels, others))
    for first_alone in (False, True):
        mixed = Mixed(None, Targets(labels), Targets(others), 0.6, first_alone)
        total, values = mixed.judge(objective, output)
        for name in objective.names:
            expected = 0.6 * one[1][name] + 0.4 * two[1][name]
            if first_alone and name == "micl":
                expected = one[1][name]
            torch.testing.assert_close(values[name], expected)
        torch.testing.assert_close(total, values["cross-entropy"] + 0.5 * values["micl"])
    plain, _ = Mixed(None, Targets(labels)).judge(objective, output)
    assert torch.equal(plain, one[0])


def test_draws_depend_on_seed_and_epoch_alone_and_leave_other_draws_be():
    table, train, _ = corpus()
    feeder = Feeder(table, train.rows)
    items = torch.arange(8)
    options = TrainerOptions.parse({"mixup": {"p": 1.0}, "feature_noise": {}})

    def drawn(seed, epoch):
        mixing = Mixing(options, feeder, seed)
        mixing.begin(epoch)
        return mixing.draw(feeder.batch(items), train.targets.take(items))

    before = torch.get_rng_state()
    first, again, later, other = drawn(3, 5), drawn(3, 5), drawn(3, 6), drawn(4, 5)
    assert torch.equal(torch.get_rng_state(), before)
    values = [one.batch.modalities["audio"].values for one in (first, again, later, other)]
    assert torch.equal(values[0], values[1])
    assert first.share == again.share
    assert not torch.equal(values[0], values[2])
    assert not torch.equal(values[0], values[3])
    mixing = Mixing(options, feeder, 3)
    mixing.begin(5)
    place = mixing.mark()
    mixing.draw(feeder.batch(items), train.targets.take(items))
    mixing.back(place)  # as where memory ran out
    renewed = mixing.draw(feeder.batch(items), train.targets.take(items))
    assert torch.equal(renewed.batch.modalities["audio"].values, values[0])
    off = Mixing(TrainerOptions(), feeder, 3)
    off.begin(0)
    batch = feeder.batch(items)
    assert off.draw(batch, train.targets).batch is batch


@pytest.mark.parametrize(
    "options",
    [
        {"mixup": {"p": 1.0}},
        {"feature_noise": {"p": 1.0, "noise": 0.5}},
        {"curriculum": {"phases": [{"until": 0.5, "without": ["sadness"]}]}},
    ],
)
def test_training_items_alone_are_changed_and_switches_act(options):
    table, train, dev = corpus()
    plain = trainer().fit(table, train, dev)
    changed = trainer(**options).fit(table, train, dev)
    again = trainer(**options).fit(table, train, dev)
    name = (
        "head.weight"
        if "head.weight" in plain.model.state_dict()
        else next(iter(plain.model.state_dict()))
    )
    assert [r["loss"] for r in changed.history] == [r["loss"] for r in again.history]
    assert [r["loss"] for r in changed.history] != [r["loss"] for r in plain.history]
    assert torch.equal(changed.model.state_dict()[name], again.model.state_dict()[name])


def test_a_killed_training_goes_on_with_the_same_draws(tmp_path):
    table, train, dev = corpus()
    options = {
        "mixup": {"p": 0.5},
        "feature_noise": {},
        "curriculum": {"phases": [{"until": 0.5, "without": ["sadness"]}]},
        "checkpoint_seconds": 0.0,
    }
    whole = trainer(**options).fit(table, train, dev).history

    def hook(phase, row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(**options).fit(table, train, dev, folder=tmp_path, hook=hook)
    rest = trainer(**options).fit(table, train, dev, folder=tmp_path).history
    assert [row["loss"] for row in rest] == [row["loss"] for row in whole]


def test_classes_come_in_and_every_item_of_theirs_once():
    plan = CurriculumOptions.parse(
        {
            "phases": [
                {"until": 0.3, "without": ["sadness", "joy"]},
                {"until": 0.6, "without": ["sadness"]},
            ]
        }
    )
    assert plan.withheld(0.0) == ("sadness", "happiness")
    assert plan.withheld(0.3) == plan.withheld(0.59) == ("sadness",)
    assert plan.withheld(0.6) == ()
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 2])
    generator = torch.Generator().manual_seed(0)
    learned = learned_classes(plan, 0.4, CLASSES)
    items = draw_items(labels, learned, generator, balanced=False)
    assert sorted(items.tolist()) == [0, 1, 3, 4]
    drawn = draw_items(labels.repeat(300), learned, generator, balanced=True)
    counts = torch.bincount(labels.repeat(300)[drawn], minlength=3)
    assert counts[2] == 0
    assert int(counts[0]) / len(drawn) == pytest.approx(0.5, abs=0.06)
    assert draw_items(labels, None, generator, balanced=False) is None
    only = torch.tensor([2, 2])
    assert draw_items(only, learned, generator, balanced=False) is None  # nothing else to learn


def test_patience_waits_for_every_class_unless_as_released():
    table, train, dev = corpus(items=36)
    phases = [{"until": 0.8, "without": ["happiness", "sadness"]}]
    epochs = {}
    for legacy in (False, True):
        plan = {"phases": phases, "legacy": legacy}
        made = trainer(curriculum=plan, epochs=20, patience=2, learning_rate=1e-6)
        epochs[legacy] = len(made.fit(table, train, dev).history)
    assert epochs[False] >= 16  # the classes come in after 16 epochs
    assert epochs[True] < 16  # it stopped with one class seen: an F1 of 0 for the others


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimiser": "lbfgs", "mixup": {}}, "need batches, not lbfgs"),
        ({"mixup": {"alpha": 0}}, "alpha"),
        ({"curriculum": {"phases": []}}, "phases"),
        (
            {
                "curriculum": {
                    "phases": [
                        {"until": 0.5, "without": ["anger"]},
                        {"until": 0.4, "without": ["anger"]},
                    ]
                }
            },
            "later than the one before",
        ),
    ],
)
def test_mistakes_in_options_are_named(options, message):
    with pytest.raises(OptionError, match=message):
        TrainerOptions.parse(options)


@pytest.mark.parametrize(
    ("names", "message"),
    [(["anger", "happiness", "sadness"], "every class"), (["disgust"], "'disgust', which is no")],
)
def test_a_curriculum_of_other_classes_is_refused(names, message):
    table, train, dev = corpus()
    plan = {"phases": [{"until": 0.5, "without": names}]}
    with pytest.raises(OptionError, match=message):
        trainer(curriculum=plan).fit(table, train, dev)
