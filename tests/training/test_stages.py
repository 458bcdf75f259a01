"""Optimisers, schedules, samplers and stages, against torch's own where torch has them."""

from __future__ import annotations

import pytest
import torch

from emofuse.errors import OptionError
from emofuse.features.table import FeatureTable, Ragged
from emofuse.losses import LOSSES
from emofuse.losses.contract import LossTerm
from emofuse.models.contract import Batch, FusionModel, ModelSpec, Sequences
from emofuse.options import Options
from emofuse.training.feeder import Feeder
from emofuse.training.fit import Blueprint
from emofuse.training.optimisers import Optimisers
from emofuse.training.options import TrainerOptions
from emofuse.training.trainer import Trainer

CLASSES = ("anger", "happiness", "sadness")


class Centre(LossTerm):
    """A loss with a parameter of its own."""

    def __init__(self, options, context):
        super().__init__(options, context)
        self.centres = torch.nn.Parameter(torch.zeros(3, 3))
        self.heard = []

    def advance(self, done):
        self.heard.append(done)

    def forward(self, output, targets):
        return (output.logits - self.centres[targets.labels]).square().mean()


@pytest.fixture
def centre(monkeypatch):
    monkeypatch.setitem(LOSSES._targets, "centre", f"{__name__}:Centre")
    load = LOSSES.load
    monkeypatch.setattr(LOSSES, "load", lambda name: Centre if name == "centre" else load(name))
    return ({"name": "cross-entropy"}, {"name": "centre", "weight": 0.1})


def trainer(objective=({"name": "cross-entropy"},), **options):
    options = {"epochs": 6, "batch_size": 16, "device": "cpu", "patience": None} | options
    blueprint = Blueprint("mlp", {"hidden": 8, "dropout": 0.0}, objective, CLASSES)
    return Trainer(blueprint, TrainerOptions.parse(options))


def rates(options, epochs=12, steps=5, losses=()):
    weight = torch.nn.Parameter(torch.ones(2, 2))
    made = Optimisers(TrainerOptions.parse({"epochs": epochs} | options), [([weight], 1.0)], [])
    found = []
    for epoch in range(epochs):
        for step in range(steps):
            made.set_rate(epoch, (epoch + step / steps) / epochs)
            group = made.main.param_groups[0]
            found.append((group["lr"], group.get("betas", (None,))[0]))
        made.judged(losses[epoch] if losses else 1.0)
    return found


def test_step_and_plateau_as_in_torch():
    weight = torch.nn.Parameter(torch.ones(1))
    optimiser = torch.optim.SGD([weight], lr=0.5)
    torch_step = torch.optim.lr_scheduler.StepLR(optimiser, 3, 0.1)
    ours = rates({"schedule": "step", "step_epochs": 3, "learning_rate": 0.5}, steps=1)
    for rate, _ in ours:
        assert rate == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        torch_step.step()
    losses = [1.0, 0.9, 0.9, 0.95, 0.9, 0.8, 0.81, 0.82, 0.83, 0.9, 0.7, 0.7]
    optimiser = torch.optim.SGD([weight], lr=0.5)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.3, patience=2)
    options = {"schedule": "plateau", "factor": 0.3, "plateau_patience": 2, "learning_rate": 0.5}
    seen = []
    for (rate, _), loss in zip(rates(options, steps=1, losses=losses), losses, strict=True):
        assert rate == pytest.approx(optimiser.param_groups[0]["lr"])
        seen.append(rate)
        plateau.step(loss)
    assert len(set(seen)) > 2


def test_onecycle_with_momentum_as_in_torch():
    steps, epochs = 10, 20
    weight = torch.nn.Parameter(torch.ones(1))
    optimiser = torch.optim.AdamW([weight], lr=2e-5)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=2e-4, total_steps=steps * epochs + 1, pct_start=0.1
    )
    ours = rates(
        {"schedule": "onecycle", "rise": 0.1, "cycle_momentum": True, "learning_rate": 2e-4},
        epochs,
        steps,
    )
    assert ours[0][0] == pytest.approx(8e-6)
    for rate, momentum in ours:
        group = optimiser.param_groups[0]
        assert rate == pytest.approx(group["lr"], rel=0.08, abs=2e-6)
        assert momentum == pytest.approx(group["betas"][0], abs=5e-3)
        optimiser.step()
        cycle.step()


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_other_optimisers_learn_and_resume(make_parts, tmp_path, optimiser):
    table, train, dev, _ = make_parts()
    options = {"optimiser": optimiser, "learning_rate": 0.02, "checkpoint_seconds": 0}
    whole = trainer(**options).fit(table, train, dev)
    assert whole.history[-1]["loss"] < whole.history[0]["loss"]

    class StopError(Exception):
        pass

    def stop(phase, row):
        if row["epoch"] == 4:
            raise StopError

    with pytest.raises(StopError):
        trainer(**options).fit(table, train, dev, folder=tmp_path, hook=stop)
    again = trainer(**options).fit(table, train, dev, folder=tmp_path)
    assert same(whole, again)


def same(one, two):
    a, b = one.model.state_dict(), two.model.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


def test_balanced_draws_and_drop_last(make_parts):
    table, train, dev, _ = make_parts()
    rare = train.take(torch.nonzero((train.targets.labels != 0) | (train.rows < 9)).flatten())
    counts = torch.bincount(rare.targets.labels)
    assert counts[0] * 4 < counts[1]
    made = trainer(sampler="balanced", drop_last=True, batch_size=10)
    fit = made._fit(table, rare, dev, made.options, seed=3)
    seen = torch.zeros(3)
    for _ in range(40):
        batches = fit.stepper._cut(0)
        assert all(len(items) == 10 for items in batches)
        for items in batches:
            seen += torch.bincount(rare.targets.labels[items], minlength=3)
    shares = seen / seen.sum()
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3), atol=0.04, rtol=0)


def test_losses_may_have_an_optimiser_of_their_own(make_parts, centre):
    table, train, dev, _ = make_parts()
    common = {"objective": centre, "optimiser": "sgd", "learning_rate": 1e-3}
    apart = trainer(**common, objective_learning_rate=0.05, objective_milestones=(2,))
    fit = apart._fit(table, train, dev, apart.options, seed=0)
    assert fit.stepper.optimisers.extra is not None
    fit.stepper.epoch(0)
    moved = float(fit.objective.terms[1].centres.detach().abs().max())
    assert moved > 0.05
    fit.stepper.epoch(2)
    assert fit.stepper.optimisers.extra.param_groups[0]["lr"] == pytest.approx(0.005)
    assert fit.objective.terms[1].heard == [0.0, 2 / 6]
    together = trainer(**common)
    fit = together._fit(table, train, dev, together.options, seed=0)
    fit.stepper.epoch(0)
    assert float(fit.objective.terms[1].centres.detach().abs().max()) < moved


STAGES = [
    {"name": "head", "epochs": 3, "freeze": ["projections", "inputs"]},
    {"name": "whole", "epochs": 4, "learning_rate": 1e-4, "schedule": "constant"},
]


def test_stages_follow_one_another_and_frozen_parts_stay(make_parts):
    table, train, dev, _ = make_parts()
    first = trainer(stages=STAGES[:1]).fit(table, train, dev)
    start = trainer(epochs=1)._fit(table, train, dev, TrainerOptions(device="cpu"), seed=0)
    for name, value in start.model.named_parameters():
        kept = torch.equal(value, first.model.state_dict()[name])
        assert kept == name.startswith("projections")
    both = trainer(stages=STAGES).fit(table, train, dev)
    rows = both.history
    assert [row["stage"] for row in rows] == ["head"] * 3 + ["whole"] * 4
    assert [row["epoch"] for row in rows] == list(range(1, 8))
    assert list(rows[:3]) == [
        row | {"seconds": rows[place]["seconds"]} for place, row in enumerate(first.history)
    ]
    assert {row["learning_rate"] for row in rows[3:]} == {1e-4}
    assert not same(first, both)


def test_stages_resume_and_refit(make_parts, tmp_path):
    table, train, dev, _ = make_parts()
    options = {"stages": STAGES, "refit": True, "checkpoint_seconds": 0}
    whole = trainer(**options).fit(table, train, dev)

    class StopError(Exception):
        pass

    for phase, epoch in (("fit", 2), ("fit", 5), ("refit", 2)):

        def stop(seen, row, phase=phase, epoch=epoch):
            if (seen, row["epoch"]) == (phase, epoch):
                raise StopError

        with pytest.raises(StopError):
            trainer(**options).fit(table, train, dev, folder=tmp_path, hook=stop)
    again = trainer(**options).fit(table, train, dev, folder=tmp_path)
    assert same(whole, again)
    assert again.epochs == whole.epochs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"stages": [{"name": "a", "freeze": ["projektions"]}]},
            "nearest: projections|projections",
        ),
        ({"stages": [{"name": "a"}, {"name": "a"}]}, "same name"),
        ({"stages": [{"name": "a"}], "optimiser": "lbfgs"}, "neither select nor lbfgs"),
        ({"cycle_momentum": True}, "needs schedule onecycle"),
        ({"schedule": "steps"}, "schedule"),
        ({"stages": [{"name": "a", "epoch": 3}]}, "epochs"),
    ],
)
def test_what_does_not_go_together_is_one_clear_line(make_parts, options, message):
    table, train, dev, _ = make_parts()
    with pytest.raises(OptionError, match=message) as caught:
        trainer(**options).fit(table, train, dev)
    assert "\n" not in str(caught.value)


class Halves(FusionModel):
    """Takes every value of audio times two in advance, as two values a frame instead of three."""

    def forward(self, batch):
        raise NotImplementedError

    def condense(self, batch):
        part = batch.modalities["audio"]
        doubled = Sequences(2 * part.values[..., :2], part.mask)
        return Batch({**batch.modalities, "audio": doubled})


@pytest.mark.parametrize("frames", [1, 5])
def test_what_is_condensed_keeps_its_frames_and_its_place(frames):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(0, frames + 1, (12,), generator=generator).tolist()
    lengths[3], lengths[5] = frames, 0
    arrays = [torch.randn(n, 3, generator=generator).numpy() if n else None for n in lengths]
    words = [torch.randn(1 + n % 2, 4, generator=generator).numpy() for n in range(12)]
    parts = {"audio": Ragged.from_arrays(arrays, 3), "text": Ragged.from_arrays(words, 4)}
    table = FeatureTable(tuple(str(n) for n in range(12)), parts, {})
    rows = torch.tensor([11, 5, 3, 2, 0, 9, 7])
    plain, small = Feeder(table, rows), Feeder(table, rows)
    small.condense(Halves(ModelSpec(table.dims, 3), Options()))
    orders = [one.shuffled(3, torch.Generator().manual_seed(1)) for one in (plain, small)]
    for items, same in zip(*orders, strict=True):
        assert torch.equal(items, same)
        whole, less = plain.batch(items).modalities, small.batch(items).modalities
        assert torch.equal(2 * whole["audio"].values[..., :2], less["audio"].values)
        assert torch.equal(whole["audio"].mask, less["audio"].mask)
        assert torch.equal(whole["text"].values, less["text"].values)


def test_sgd_takes_a_parameter_whose_gradient_comes_late():
    early, late = (torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2))
    options = {"optimiser": "sgd", "learning_rate": 0.1, "weight_decay": 0.0, "momentum": 0.5}
    made = Optimisers(TrainerOptions.parse(options), [([early, late], 1.0)], [])
    for both in (False, True, True):
        made.zero_grad()
        (early.sum() + (late.sum() if both else 0.0)).backward()
        made.step()
    torch.testing.assert_close(early.detach(), torch.full((2, 2), 1 - 0.1 * (1 + 1.5 + 1.75)))
    torch.testing.assert_close(late.detach(), torch.full((2, 2), 1 - 0.1 * (1 + 1.5)))
