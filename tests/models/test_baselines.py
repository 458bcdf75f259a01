"""What every plain model must hold, whatever its modalities."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from emofuse.errors import FeatureError, OptionError
from emofuse.models import MODELS
from emofuse.models.build import build_model
from emofuse.models.contract import Batch, ModelSpec, Sequences

DIMS = {"audio": 7, "text": 5, "video": 4}
NAMES = ("linear", "mlp", "late-fusion")
SUBSETS = [
    dict(subset) for size in (1, 2, 3) for subset in itertools.combinations(DIMS.items(), size)
]
CASES = [(name, dims) for name in NAMES for dims in SUBSETS]


def build(name, dims, batch=None, **options):
    model = build_model(name, options, ModelSpec(dims, 4), seed=3)
    if name == "linear":  # it starts at zero: give it something to say
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for parameter in model.parameters():
                torch.nn.init.normal_(parameter)
    if batch is not None:
        model.fit_normalisation(batch)
    return model.eval()


def select(batch, items):
    parts = batch.modalities.items()
    return Batch({n: Sequences(p.values[items], p.mask[items]) for n, p in parts})


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_shapes_weights_and_no_nan(name, dims, make_batch):
    batch = make_batch(dims)
    output = build(name, dims, batch)(batch)
    assert output.logits.shape == (9, 4)
    assert torch.isfinite(output.logits).all()
    assert set(output.embeddings) - {"fused"} == set(output.weights) == set(dims)
    weights = torch.stack(list(output.weights.values()), dim=1)
    present = torch.stack([batch.modalities[n].present for n in output.weights], dim=1)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(9))
    assert (weights >= 0).all()
    assert not weights[~present].any()


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_alone_is_as_in_a_batch(name, dims, make_batch):
    batch = make_batch(dims)
    model = build(name, dims, batch)
    together = model(batch)
    for item in range(len(batch)):
        alone = model(select(batch, [item]))
        torch.testing.assert_close(alone.logits[0], together.logits[item])
        for modality, weight in alone.weights.items():
            torch.testing.assert_close(weight[0], together.weights[modality][item])


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_order_does_not_matter(name, dims, make_batch):
    batch = make_batch(dims)
    model = build(name, dims, batch)
    order = torch.tensor([4, 2, 8, 0, 1, 7, 3, 6, 5])
    torch.testing.assert_close(model(select(batch, order)).logits, model(batch).logits[order])
    backwards = Batch(dict(reversed(list(batch.modalities.items()))))
    torch.testing.assert_close(model(backwards).logits, model(batch).logits)


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
@pytest.mark.parametrize("name", NAMES)
def test_padding_is_nothing(name, pooling, make_batch):
    batch = make_batch()
    model = build(name, DIMS, batch, pooling=pooling)
    noisy = {}
    for modality, part in batch.modalities.items():
        values = torch.where(part.mask[..., None], part.values, torch.tensor(99.0))
        longer = torch.nn.functional.pad(values, (0, 0, 0, 3), value=-99.0)
        noisy[modality] = Sequences(longer, torch.nn.functional.pad(part.mask, (0, 3)))
    torch.testing.assert_close(model(Batch(noisy)).logits, model(batch).logits)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("gone", list(DIMS))
def test_absent_key_is_as_all_rows_absent(name, gone, make_batch):
    batch = make_batch(absent=False)
    model = build(name, DIMS, batch)
    part = batch.modalities[gone]
    hidden = {**batch.modalities, gone: Sequences(part.values, torch.zeros_like(part.mask))}
    with_rows = model(Batch(hidden))
    without_key = model(batch.only(*(n for n in DIMS if n != gone)))
    torch.testing.assert_close(with_rows.logits, without_key.logits)
    assert not with_rows.weights[gone].any()
    assert not torch.allclose(without_key.logits, model(batch).logits)


@pytest.mark.parametrize("pooling", ["mean", "attention"])
@pytest.mark.parametrize(("name", "dims"), CASES)
def test_every_parameter_learns(name, dims, pooling, make_batch):
    batch = make_batch(dims)
    model = build(name, dims, batch, pooling=pooling).train()
    model(batch).logits.square().sum().backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


@pytest.mark.parametrize("name", NAMES)
def test_normalisation_undoes_scale(name, make_batch):
    batch = make_batch()
    scaled = Batch({n: Sequences((p.values * 50 + 3), p.mask) for n, p in batch.modalities.items()})
    plain, rescaled = build(name, DIMS, batch), build(name, DIMS, scaled)
    torch.testing.assert_close(rescaled(scaled).logits, plain(batch).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_modality_is_named(name, make_batch):
    model = build(name, {"audio": 7})
    with pytest.raises(FeatureError, match="knows audio; the batch holds text"):
        model(make_batch({"text": 5}))


def test_linear_is_the_sum_of_its_parts(make_batch):
    batch = make_batch({"audio": 7, "text": 5}, absent=False, frames=1)
    model = build("linear", {"audio": 7, "text": 5}, batch, normalise=False)
    state = {n: p.detach().numpy() for n, p in model.named_parameters()}
    audio, text = (batch.modalities[n].values[:, 0].numpy() for n in ("audio", "text"))
    votes = {
        "audio": audio @ state["heads.audio.weight"].T + state["heads.audio.bias"],
        "text": text @ state["heads.text.weight"].T + state["heads.text.bias"],
    }
    output = model(batch)
    expected = state["bias"] + votes["audio"] + votes["text"]
    np.testing.assert_allclose(output.logits.detach(), expected, rtol=1e-4, atol=1e-5)
    spread = {n: v.std(axis=1) for n, v in votes.items()}
    share = spread["audio"] / (spread["audio"] + spread["text"])
    np.testing.assert_allclose(output.weights["audio"], share, rtol=1e-4)


def test_late_fusion_is_its_gate_times_its_heads(make_batch):
    batch = make_batch()
    output = build("late-fusion", DIMS, batch)(batch)
    mixed = sum(output.weights[n][:, None] * output.extras[f"logits:{n}"] for n in DIMS)
    torch.testing.assert_close(output.logits, mixed)


def test_initial_weights_come_from_the_seed_and_move_no_one_elses_draws():
    torch.manual_seed(1)
    before = torch.rand(1)
    torch.manual_seed(1)
    spec = ModelSpec(DIMS, 4)
    one, same, other = (build_model("mlp", {}, spec, seed=s).state_dict() for s in (0, 0, 1))
    assert torch.equal(torch.rand(1), before)
    assert all(torch.equal(one[n], same[n]) for n in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_mistakes_are_named():
    spec = ModelSpec(DIMS, 4)
    with pytest.raises(OptionError, match="did you mean 'hidden'"):
        build_model("mlp", {"hiden": 3}, spec)
    with pytest.raises(OptionError, match="late-fusion"):
        build_model("late-fusoin", {}, spec)
    with pytest.raises(OptionError, match="at least one modality"):
        build_model("linear", {}, ModelSpec({}, 4))


def test_every_registered_model_builds_and_gives_its_logits(make_batch):
    pair = {"audio": 64, "text": 16}  # what every paper takes
    for name in MODELS.names():
        dims = DIMS if name in NAMES else pair
        assert build(name, dims)(make_batch(dims)).logits.shape == (9, 4)


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
@pytest.mark.parametrize("name", NAMES)
def test_a_condensed_batch_gets_the_same_answer(name, pooling, make_batch):
    batch = make_batch()
    model = build(name, DIMS, batch, pooling=pooling)
    small = model.condense(batch)
    if pooling != "attention":
        assert all(part.values.shape[1] == 1 for part in small.modalities.values())
    output, reference = model(small), model(batch)
    torch.testing.assert_close(output.logits, reference.logits)
    for modality, weight in reference.weights.items():
        torch.testing.assert_close(output.weights[modality], weight)
