"""Standardising, pooling and modality dropout against plain NumPy, and their invariances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from emofuse.layers import (
    AttentionPooling,
    Dropout,
    ModalityInput,
    Pooling,
    Standardise,
    keep_modalities,
    masked_max,
    masked_mean,
)


@pytest.fixture
def ragged():
    random = np.random.default_rng(0)
    lengths = [3, 5, 1, 0]
    values = random.normal(2.0, 3.0, (4, 5, 6)).astype(np.float32)
    mask = np.arange(5)[None] < np.array(lengths)[:, None]
    return torch.from_numpy(values), torch.from_numpy(mask)


def test_standardise_is_scikit_learns_over_real_frames(ragged):
    values, mask = ragged
    layer = Standardise(6)
    layer.fit(values, mask)
    reference = StandardScaler().fit(values[mask].numpy())
    expected = reference.transform(values.reshape(-1, 6).numpy()).reshape(values.shape)
    np.testing.assert_allclose(layer(values).numpy(), expected, atol=1e-5)


def test_standardise_leaves_constant_columns_finite():
    values = torch.tensor([[[1e6, 0.0]], [[1e6, 0.0]], [[1e6 + 0.0625, 0.0]]])
    layer = Standardise(2)
    layer.fit(values, torch.ones(3, 1, dtype=torch.bool))
    out = layer(torch.tensor([[[1e6 + 1.0, 5.0]]]))
    assert torch.isfinite(out).all()
    assert out.abs().max() <= 5.0


def test_standardise_without_frames_stays_as_it_is():
    layer = Standardise(2)
    layer.fit(torch.full((2, 1, 2), torch.nan), torch.zeros(2, 1, dtype=torch.bool))
    assert layer(torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]


def test_standardise_has_no_trainable_parameters():
    assert not list(Standardise(3).parameters())
    assert set(Standardise(3).state_dict()) == {"mean", "scale"}


def test_masked_mean_and_max_are_numpys(ragged):
    values, mask = ragged
    for row in range(3):
        real = values[row][mask[row]].numpy()
        np.testing.assert_allclose(masked_mean(values, mask)[row], real.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(masked_max(values, mask)[row], real.max(axis=0), rtol=1e-6)
    assert not masked_mean(values, mask)[3].any()
    assert not masked_max(values, mask)[3].any()


@pytest.mark.parametrize("kind", ["mean", "max", "attention"])
def test_pooling_never_looks_at_padding(ragged, kind):
    values, mask = ragged
    pooling = Pooling(kind, 6)
    clean, _ = pooling(values.masked_fill(~mask[..., None], 0.0), mask)
    dirty, _ = pooling(values.masked_fill(~mask[..., None], 1e4), mask)
    longer = torch.nn.functional.pad(values, (0, 0, 0, 4), value=7.0)
    padded, _ = pooling(longer, torch.nn.functional.pad(mask, (0, 4), value=False))
    torch.testing.assert_close(dirty, clean)
    torch.testing.assert_close(padded, clean)


@pytest.mark.parametrize("kind", ["mean", "max", "attention"])
def test_pooling_of_one_frame_is_that_frame(kind):
    values = torch.randn(3, 1, 6, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True], [True], [False]])
    pooled, _ = Pooling(kind, 6)(values, mask)
    torch.testing.assert_close(pooled[:2], values[:2, 0])
    assert not pooled[2].any()


def test_attention_weights_are_a_softmax_over_real_frames(ragged):
    values, mask = ragged
    layer = AttentionPooling(6)
    _, weights = layer(values, mask)
    torch.testing.assert_close(weights.sum(dim=1), torch.tensor([1.0, 1.0, 1.0, 0.0]))
    assert not weights[~mask].any()
    scores = (values[1] @ layer.score.weight[0]).detach().numpy()
    expected = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(weights[1].detach(), expected, rtol=1e-4)


def test_input_says_who_has_the_modality(ragged):
    values, mask = ragged
    vectors, present, attention = ModalityInput(6)(values, mask)
    assert vectors.shape == (4, 6)
    assert present.tolist() == [True, True, True, False]
    assert attention is None


def test_dropout_never_takes_the_last_modality():
    present = torch.rand(2000, 3, generator=torch.Generator().manual_seed(1)) < 0.6
    for rate in (0.0, 0.3, 1.0):
        kept = keep_modalities(present, rate, torch.Generator().manual_seed(2))
        assert not (kept & ~present).any()
        assert (kept.any(dim=1) == present.any(dim=1)).all()
    assert torch.equal(keep_modalities(present, 0.0, torch.Generator()), present)
    only = keep_modalities(present, 1.0, torch.Generator().manual_seed(2))
    assert (only.sum(dim=1) == present.any(dim=1)).all()


def test_dropout_keeps_its_rate_and_is_replayed_from_its_seed():
    both = torch.ones(20_000, 2, dtype=torch.bool)
    kept = keep_modalities(both, 0.3, torch.Generator().manual_seed(5))
    again = keep_modalities(both, 0.3, torch.Generator().manual_seed(5))
    assert torch.equal(kept, again)
    one_lost = (kept.sum(dim=1) == 1).float().mean()
    expected = 2 * 0.3 * 0.7 + 0.3 * 0.3  # losing both means keeping one
    assert abs(float(one_lost) - expected) < 0.015
    assert abs(float(kept[:, 0].float().mean()) - float(kept[:, 1].float().mean())) < 0.015


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_pooling_before_standardising_is_the_same(ragged, kind):
    values, mask = ragged
    layer = ModalityInput(6, kind)
    layer.fit(values, mask)
    vectors, _, _ = layer(values, mask)
    expected, _ = Pooling(kind, 6)(layer.standardise(values), mask)
    torch.testing.assert_close(vectors, expected)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_has_its_rate_and_keeps_the_mean(rate):
    layer = Dropout(rate)
    values = torch.ones(997, 401, requires_grad=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dropped = layer(values)
    assert float((dropped == 0).float().mean()) == pytest.approx(rate, abs=0.003)
    assert float(dropped.detach().mean()) == pytest.approx(1.0, abs=0.01)
    for lane in range(4):  # no quarter of a word is favoured
        share = (dropped.flatten()[lane::4] == 0).float().mean()
        assert float(share) == pytest.approx(rate, abs=0.006)
    dropped.sum().backward()
    torch.testing.assert_close(values.grad, dropped.detach())
    assert layer.eval()(values) is values


def test_dropout_of_nothing_is_nothing():
    values = torch.ones(3)
    assert Dropout(0.0)(values) is values


def test_dropout_follows_torchs_generator():
    layer = Dropout(0.4)
    draws = []
    for seed in (1, 1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            draws.append(layer(torch.ones(50, 7)))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
