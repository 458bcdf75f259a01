"""Fine-tuning in a trainer: batches of raw items, steps, averages, memory that runs out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tests.training.speech import CLASSES, make_corpus, save_encoder

from emofuse.encoders.contract import EncoderSpec
from emofuse.errors import OptionError, TrainingError
from emofuse.features.encode import load_table
from emofuse.features.store import FeatureStore
from emofuse.labels import LabelScheme
from emofuse.training.ema import Average
from emofuse.training.finetuning.data import Clip, RawItems, Waves
from emofuse.training.finetuning.stage import Finetuning, WaveShelf
from emofuse.training.fit import Blueprint, Fit
from emofuse.training.options import StageOptions, TrainerOptions
from emofuse.training.parts import Part, group_numbers, make_targets
from emofuse.training.trainer import Trainer

PLAIN = ({"name": "cross-entropy", "weights": "balanced"},)
SCHEME = LabelScheme(name="toy", classes=CLASSES)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A corpus with its features, a speech encoder and a text encoder that learn."""
    root = tmp_path_factory.mktemp("world")
    manifest = make_corpus(root)
    specs = {
        "audio": EncoderSpec(
            name=str(save_encoder("whisper", root / "whisper")), layer="mean", pooling="mean+std"
        ),
        "text": EncoderSpec(name=str(save_encoder("bert", root / "bert"))),
    }
    table = load_table(manifest, specs, FeatureStore(root / "store"))
    raw = RawItems.of(manifest, table, specs)
    utterances = list(manifest)
    targets = make_targets(utterances, SCHEME)
    part = Part(torch.arange(len(utterances)), targets, group_numbers(utterances))
    held = part.groups == 3
    return table, raw, part.take((~held).nonzero()[:, 0]), part.take(held.nonzero()[:, 0])


def trainer(raw, *, model="mlp", objective=PLAIN, tune=None, stages=None, **options):
    tune = {"name": "tune", "kind": "finetune", "epochs": 2, **(tune or {})}
    settings = {
        "epochs": 2,
        "batch_size": 8,
        "device": "cpu",
        "learning_rate": 1e-2,
        "stages": [*(stages or ()), tune],
        **options,
    }
    blueprint = Blueprint(model, {"hidden": 8}, objective, CLASSES, raw=raw)
    return Trainer(blueprint, TrainerOptions.parse(settings))


def make_fit(world, seed=0, start=None, **options):
    table, raw, train, dev = world
    made = trainer(raw, **options)
    stage = made.options.fitted[-1]
    return made._fit(
        table, train, dev, made.options.for_stage(stage), seed=seed, stage=stage, start=start
    )


def weights(fit):
    return {name: one.detach().clone() for name, one in fit.model.named_parameters()}


def test_the_network_starts_with_the_answers_of_the_features(world):
    table, _, train, _ = world
    fit = make_fit(world)
    fit.model.eval()
    order = torch.tensor([3, 0, 9, 5, 7])
    with torch.no_grad():
        batch = fit.feeder(train.rows).batch(order)
        encoded = fit.model.encode(batch)
        expected = table.batch(train.rows[order])
        for name, part in expected.modalities.items():
            assert torch.equal(encoded.modalities[name].mask, part.mask)
            torch.testing.assert_close(
                encoded.modalities[name].values, part.values, atol=1e-4, rtol=0
            )
        torch.testing.assert_close(
            fit.model(batch).logits, fit.fusion(expected).logits, atol=1e-4, rtol=0
        )
    assert batch.raw["audio"].count(None) + batch.raw["text"].count(None) > 0
    assert len(batch) == 5


def test_normalisation_is_that_of_the_features_and_stays_from_stage_to_stage(world):
    table, raw, train, dev = world
    blueprint = Blueprint("mlp", {"hidden": 8}, PLAIN, CLASSES)
    plain = Trainer(blueprint, TrainerOptions(device="cpu"))
    expected = statistics(plain._fit(table, train, dev, plain.options, seed=0).fusion)
    assert expected
    found = statistics(make_fit(world).fusion)
    head = {"name": "head", "epochs": 1}
    trained = trainer(raw, stages=[head], tune={"freeze_layers": 1}).fit(table, train, dev)
    for name, one in expected.items():
        assert torch.equal(found[name], one)
        assert torch.equal(statistics(trained.model)[name], one)
    assert [row["stage"] for row in trained.history] == ["head", "tune", "tune"]


def statistics(model):
    return dict(model.named_buffers())


def test_everything_that_should_learn_learns(world):
    fit = make_fit(world, tune={"freeze_layers": {"audio": 2, "text": 1}}, batch_size=64)
    before = weights(fit)
    fit.stepper.epoch(0)
    moved = {
        name for name, one in fit.model.named_parameters() if not torch.equal(one, before[name])
    }
    learning = {name for name, one in fit.model.named_parameters() if one.requires_grad}
    assert learning - moved <= {n for n in learning if n.endswith(("key.bias", "k_proj.bias"))}
    assert moved <= learning
    assert any(name.startswith("encoders.audio.module.layers.2.") for name in moved)
    assert not any(".layers.1." in name for name in moved)
    assert any(".encoder.layer.1." in name for name in moved)
    assert not any(".encoder.layer.0." in name or ".embeddings." in name for name in moved)


def test_only_the_named_encoders_learn(world):
    fit = make_fit(world, tune={"encoders": ["text"]})
    assert set(fit.model.encoders) == {"text"}
    batch = fit.feeder(fit.dev.rows).batch(torch.arange(3))
    assert set(batch.modalities) == {"audio"}
    assert set(batch.raw) == {"text"}
    fit.run()
    assert set(fit.learnt()) == {"text"}


def test_rates_of_encoder_and_layers(world):
    fit = make_fit(
        world,
        tune={"encoder_learning_rate": 1e-3, "layer_decay": 0.5, "schedule": "constant"},
    )
    fit.stepper.optimisers.set_rate(0, 0.0)
    rates: dict[int, float] = {
        id(p): group["lr"]
        for group in fit.stepper.optimisers.main.param_groups
        for p in group["params"]
    }
    found = {
        name: rates[id(one)] for name, one in fit.model.named_parameters() if one.requires_grad
    }
    for name, rate in found.items():
        height = next((n for n in range(3) if f".layers.{n}." in name or f".layer.{n}." in name), 2)
        wanted = 1e-2 if name.startswith("fusion.") else 1e-3 * 0.5 ** (2 - height)
        assert rate == pytest.approx(wanted), name
    assert len(found) == len(rates)


@pytest.mark.parametrize("kind", ["finetune", "features"])
def test_accumulated_gradients_are_those_of_the_large_batch(world, kind):
    table, raw, train, dev = world
    assert len(train) % 4 == 3  # so that the last group is not full, nor its last batch
    found = []
    for size, accumulate in ((12, 1), (4, 3)):
        options = {"optimiser": "sgd", "momentum": 0.0, "learning_rate": 1e-3, "clip": None}
        options |= {"batch_size": size, "accumulate": accumulate, "modality_dropout": 0.0}
        tune = {"kind": kind, "schedule": "constant", "freeze": []}
        made = trainer(raw, tune=tune, **options)
        made.blueprint.model_options["dropout"] = 0.0
        stage = made.options.fitted[-1]
        fit = made._fit(table, train, dev, made.options.for_stage(stage), seed=0, stage=stage)
        fit.model.eval()
        fit.stepper.work.model.train = lambda mode=True: None  # no dropout anywhere
        order = torch.arange(len(train))
        fit.stepper.work.feeder.shuffled = lambda n, *_, order=order: list(order.split(n))
        steps = []
        step = fit.stepper.optimisers.step
        fit.stepper.optimisers.step = lambda fit=fit, steps=steps, step=step: (
            steps.append(
                {n: p.grad.clone() for n, p in fit.model.named_parameters() if p.grad is not None}
            ),
            step(),
        )
        row = fit.stepper.epoch(0)
        found.append((steps, row["loss"]))
    (large, loss), (small, other) = found
    assert len(large) == len(small) == -(-len(train) // 12)
    assert loss == pytest.approx(other, rel=1e-4)
    for name, grad in large[0].items():  # the first step: the same weights
        torch.testing.assert_close(small[0][name], grad, rtol=1e-3, atol=1e-5)
    for name, grad in large[-1].items():  # the last, incomplete group
        torch.testing.assert_close(small[-1][name], grad, rtol=2e-2, atol=1e-4)


def test_batches_keep_to_a_budget_of_frames_and_like_lengths_go_together(world):
    train = world[2]
    fit = make_fit(world, batch_frames=60, batch_size=6)
    feeder = fit.stepper.work.feeder
    batches = feeder.shuffled(6, torch.Generator().manual_seed(0))
    assert sorted(torch.cat(batches).tolist()) == list(range(len(train)))
    lengths = feeder._lengths
    for items in batches:
        assert len(items) == 1 or len(items) * int(lengths[items].max()) <= 60
    assert max(map(len, batches)) <= 6
    unlimited = make_fit(world, batch_size=6).stepper.work.feeder
    spread = [
        int(lengths[items].max() - lengths[items].min())
        for items in unlimited.shuffled(6, torch.Generator().manual_seed(0))
    ]
    assert np.mean(spread) < 0.5 * float(lengths.max() - lengths.min())


def test_bf16_learns_nearly_the_same(world):
    losses = []
    for precision in ("no", "bf16"):
        fit = make_fit(world, precision=precision, learning_rate=1e-4)
        losses.append(fit.stepper.epoch(0)["loss"])
        assert all(one.dtype == torch.float32 for one in fit.model.parameters())
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]


def test_the_average_is_that_of_the_formula_and_is_what_counts(world):
    weight = torch.nn.Parameter(torch.zeros(3))
    average = Average({"w": weight}, 0.5)
    expected = torch.zeros(3)
    for step in range(1, 20):
        with torch.no_grad():
            weight.add_(torch.tensor([1.0, -2.0, 0.5]))
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight.detach()
    own = weight.detach().clone()
    with average.applied():
        torch.testing.assert_close(weight.detach(), expected)
    assert torch.equal(weight.detach(), own)

    table, raw, train, dev = world
    for given in (dev, None):
        made = trainer(raw, ema=0.6, patience=None)
        stage = made.options.fitted[-1]
        fit = made._fit(table, train, given, made.options.for_stage(stage), seed=0, stage=stage)
        kept = []
        judged = fit.stepper.judged

        def look(loss, fit=fit, kept=kept, judged=judged):
            with fit.stepper.averaged():
                kept.append({n: p.detach().clone() for n, p in fit.model.named_parameters()})
            judged(loss)

        fit.stepper.judged = look
        outcome = fit.run()
        plain = weights(fit)
        for name, one in kept[outcome.best_epoch - 1].items():
            assert torch.equal(one, plain[name]), name


def test_the_average_resumes(world, tmp_path):
    table, raw, train, dev = world
    whole = trainer(raw, ema=0.6, checkpoint_seconds=0).fit(table, train, dev)

    class StopError(Exception):
        pass

    def stop(phase, row):
        if row["epoch"] == 1:
            raise StopError

    made = trainer(raw, ema=0.6, checkpoint_seconds=0)
    # The hook runs before the checkpoint of its epoch: the first is lost, and is done again.
    with pytest.raises(StopError):
        made.fit(table, train, dev, folder=tmp_path, hook=stop)
    again = trainer(raw, ema=0.6, checkpoint_seconds=0).fit(table, train, dev, folder=tmp_path)
    assert_same(whole, again)


def assert_same(one, two):
    for name, state in one.learnt.items():
        for key, value in state.items():
            assert torch.equal(value, two.learnt[name][key]), key
    a, b = one.model.state_dict(), two.model.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


STAGES = [{"name": "head", "epochs": 2}]


@pytest.mark.parametrize("lora", [None, {"rank": 2}])
def test_stages_resume_at_any_epoch_and_refit(world, tmp_path, lora):
    table, raw, train, dev = world
    options: dict[str, Any] = {
        "stages": STAGES,
        "tune": {"lora": lora, "freeze_layers": 1, "layer_decay": 0.9},
        "refit": True,
        "checkpoint_seconds": 0,
    }
    whole = trainer(raw, **options).fit(table, train, dev, seed=3)

    class StopError(Exception):
        pass

    for phase, epoch in (("fit", 2), ("fit", 3), ("fit", 4), ("refit", 2)):

        def stop(seen, row, phase=phase, epoch=epoch):
            if (seen, row["epoch"]) == (phase, epoch):
                raise StopError

        with pytest.raises(StopError):
            trainer(raw, **options).fit(table, train, dev, seed=3, folder=tmp_path, hook=stop)
    again = trainer(raw, **options).fit(table, train, dev, seed=3, folder=tmp_path)
    assert_same(whole, again)
    assert whole.epochs == again.epochs
    other = trainer(raw, **options).fit(table, train, dev, seed=4)
    assert any(
        not torch.equal(one, other.learnt["audio"][name])
        for name, one in whole.learnt["audio"].items()
    )


def test_a_later_stage_starts_from_the_encoder_of_the_one_before(world):
    table, raw, train, dev = world
    lower = {"name": "lower", "kind": "finetune", "epochs": 1, "encoders": ["audio"]}
    made = trainer(raw, stages=[lower], tune={"encoders": ["text"], "epochs": 1})
    fits = made._stages(
        table, train, dev, made.options, phase="fit", seed=0, told=_Nobody(), limits=None
    )
    first, second = fits
    audio = first.learnt()["audio"]
    assert set(second.learnt()) == {"audio", "text"}
    for name, value in audio.items():
        assert torch.equal(second.learnt()["audio"][name], value)
    assert not any(one.requires_grad for one in second.model.encoders["audio"].parameters())
    base = Finetuning(
        StageOptions(name="x", kind="finetune"),
        made.options,
        raw,
        table,
        learnt={},
        shelf=WaveShelf(),
        seed=0,
        device=torch.device("cpu"),
    ).network(make_fit(world).fusion)
    moved = base.encoder_states()["audio"]
    assert any(not torch.equal(moved[name], value) for name, value in audio.items())


class _Nobody:
    history: list[Any] = []  # noqa: RUF012

    def run(self, fit: Fit, *_: Any) -> None:
        fit.run()


def run_out(fit, limit, times=10**9):
    """Let the network fail as PyTorch does wherever it sees more items at once."""
    forward, left, seen = fit.model.forward, [times], []

    def limited(batch):
        seen.append(len(batch))
        if len(batch) > limit and left[0]:
            left[0] -= 1
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return forward(batch)

    fit.model.forward = limited
    return seen


def test_a_batch_that_does_not_fit_is_halved_and_the_gradient_is_the_same(world):
    rows, grads = [], []
    for limit in (10**9, 3):
        fit = make_fit(world, batch_size=8, modality_dropout=0.0)
        fit.stepper.work.model.train = lambda mode=True: None
        fit.model.eval()
        seen = run_out(fit, limit)
        fit.stepper._step([torch.arange(8)])
        grads.append({n: p.grad for n, p in fit.model.named_parameters() if p.requires_grad})
        rows.append((seen, fit.stepper.notes()))
    for name, grad in grads[0].items():
        if grad is not None:
            torch.testing.assert_close(grads[1][name], grad, rtol=1e-3, atol=1e-6)
    assert rows[0] == ([8], ())
    assert rows[1][0] == [8, 4, 2, 2, 2, 2]
    assert "parts of at most 2 utterances" in rows[1][1][0]


def test_memory_that_runs_out_is_said_and_the_run_goes_on(world, monkeypatch):
    table, raw, train, dev = world
    made = trainer(raw)
    fit_one = made._fit

    def limited(*args, **more):
        fit = fit_one(*args, **more)
        run_out(fit, 3)
        return fit

    monkeypatch.setattr(made, "_fit", limited)
    trained = made.fit(table, train, dev)
    assert any("out of memory: batches were cut" in note for note in trained.notes)
    assert trained.recognise(dev.rows).logits.shape == (len(dev), 3)


def test_a_single_item_that_does_not_fit_ends_in_one_line(world):
    fit = make_fit(world)
    run_out(fit, 0)
    with pytest.raises(TrainingError, match="out of memory with a single utterance; shorten"):
        fit.run()


def test_another_error_is_no_lack_of_memory(world):
    fit = make_fit(world)
    fit.model.forward = lambda batch: (_ for _ in ()).throw(RuntimeError("sizes do not match"))
    with pytest.raises(RuntimeError, match="sizes do not match"):
        fit.run()


def test_waveforms_are_read_once_and_held_without_loss(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    exact = (random.integers(-30_000, 30_000, 4000) / 32_768).astype(np.float32)
    fine = (0.1 * random.standard_normal(4000)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", exact, 16_000, subtype="PCM_16")
    soundfile.write(tmp_path / "b.wav", fine, 16_000, subtype="FLOAT")
    clips = [
        Clip(tmp_path / "a.wav", None, None, 0.25),
        None,
        Clip(tmp_path / "b.wav", 0.1, 0.2, 0.1),
    ]
    import emofuse.training.finetuning.data as module

    reads = []
    real = module.read_audio
    monkeypatch.setattr(module, "read_audio", lambda *a: (reads.append(a[0].name), real(*a))[1])
    waves = Waves(clips, 16_000)
    for _ in range(3):
        first, nothing, second, again = waves.get([0, 1, 2, 0])
        assert nothing is None
        np.testing.assert_array_equal(first, exact)
        np.testing.assert_array_equal(again, exact)
        np.testing.assert_array_equal(second, fine[1600:3200])
    assert sorted(reads) == ["a.wav", "b.wav"]
    assert waves._held[0].dtype == np.int16
    assert waves._held[2].dtype == np.float32
    tight = Waves(clips, 16_000, most=12_000)  # fits as 16-bit integers alone
    np.testing.assert_allclose(tight.get([2])[0], fine[1600:3200], atol=2**-15)
    assert tight._held[2].dtype == np.int16
    small = Waves(clips, 16_000, most=1000)
    reads.clear()
    for _ in range(2):
        np.testing.assert_array_equal(small.get([0])[0], exact)
    assert reads == ["a.wav", "a.wav"]
    assert not small._held


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"name": "a", "lora": {"rank": 2}}], "kind 'features' does not read 'lora'"),
        ([{"name": "a", "kind": "adapt", "layer_decay": 0.5}], "does not read 'layer_decay'"),
        ([{"name": "a", "kind": "finetune", "objective": "supervised"}], "belongs to kind adapt"),
        ([{"name": "a", "kind": "finetune"}, {"name": "b"}], "order adapt, features, finetune"),
        ([{"name": "a", "kind": "adapt"}], "the last fits the model"),
        ([{"name": "a", "kind": "tune"}], "features"),
        ([{"name": "a", "kind": "finetune", "lora": {"rnak": 2}}], "did you mean 'rank'"),
    ],
)
def test_stages_that_make_no_sense_are_one_clear_line(stages, message):
    with pytest.raises(OptionError, match=message) as caught:
        TrainerOptions.parse({"stages": stages})
    assert "\n" not in str(caught.value)


def test_nobody_forgets_to_adapt(world):
    stages = [{"name": "contrast", "kind": "adapt"}, {"name": "head"}]
    with pytest.raises(OptionError, match="'contrast' adapts encoders fold by fold"):
        Trainer(
            Blueprint("mlp", {}, PLAIN, CLASSES),
            TrainerOptions.parse({"device": "cpu", "stages": stages}),
        )


def test_features_alone_cannot_be_fine_tuned(world):
    table, raw, train, dev = world
    made = trainer(raw)
    made.blueprint = replace(made.blueprint, raw=None)
    with pytest.raises(OptionError, match="only features are at hand"):
        made.fit(table, train, dev)
