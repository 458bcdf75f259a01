"""ArcFace and CosFace against NumPy; the released ArcFace passes its gradient straight through."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emofuse.losses.margin import margin_cosine, margin_loss

KINDS = ["arcface", "cosface"]


@pytest.fixture
def case():
    random = np.random.default_rng(2)
    rows, vectors = random.normal(size=(8, 5)), random.normal(size=(4, 5))
    return torch.from_numpy(rows), torch.from_numpy(np.arange(8) % 4), torch.from_numpy(vectors)


def twin(rows, labels, vectors, kind, margin, scale, legacy):
    rows, labels, vectors = rows.numpy(), labels.numpy(), vectors.numpy()
    cosines = (rows / np.linalg.norm(rows, axis=1, keepdims=True)) @ (
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    ).T
    own = np.arange(len(rows)), labels
    angle = np.arccos(cosines[own])
    if kind == "cosface":
        harder = cosines[own] - margin
    else:
        harder = np.cos(angle + margin)
        if not legacy:
            over = angle > np.pi - margin
            harder[over] = cosines[own][over] - margin * np.sin(margin)
    cosines[own] = harder
    logits = scale * cosines
    logits -= logits.max(axis=1, keepdims=True)
    return -(logits[own] - np.log(np.exp(logits).sum(axis=1))).mean()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("margin", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("legacy", [False, True])
def test_value_is_the_formula(case, kind, margin, legacy):
    found = margin_loss(*case, kind, margin=margin, scale=16.0, legacy=legacy)
    assert float(found) == pytest.approx(twin(*case, kind, margin, 16.0, legacy), rel=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_that_of_the_value(case, kind):
    rows, labels, vectors = case
    leaves = (rows.clone().requires_grad_(), vectors.clone().requires_grad_())
    assert torch.autograd.gradcheck(
        lambda one, two: margin_loss(one, labels, two, kind, scale=4.0), leaves
    )


def test_without_margin_both_are_cross_entropy_over_cosines(case):
    rows, labels, vectors = case
    units = [torch.nn.functional.normalize(one, dim=1) for one in (rows, vectors)]
    expected = torch.nn.functional.cross_entropy(64.0 * units[0] @ units[1].T, labels)
    for kind in KINDS:
        found = margin_loss(*case, kind, margin=0.0)
        torch.testing.assert_close(found, expected)


def test_length_of_neither_side_matters(case):
    rows, labels, vectors = case
    for kind in KINDS:
        found = margin_loss(rows * 7.0, labels, vectors * 0.01, kind)
        torch.testing.assert_close(found, margin_loss(*case, kind))


def test_the_harder_cosine_falls_with_the_angle_and_the_released_one_rises_again():
    cosine = torch.linspace(1.0, -1.0, 201, dtype=torch.float64)
    for kind in KINDS:
        assert bool((margin_cosine(cosine, kind, 0.5).diff() < 0).all())
    assert bool((margin_cosine(cosine, "arcface", 0.5, legacy=True).diff() > 0).any())
    assert bool((margin_cosine(cosine, "arcface", 0.5) < cosine).all())


def test_released_arcface_passes_its_gradient_straight_through(case):
    cosine = torch.linspace(-0.8, 0.9, 9, dtype=torch.float64, requires_grad=True)
    margin_cosine(cosine, "arcface", 0.5, legacy=True).sum().backward()
    assert torch.equal(cosine.grad, torch.ones_like(cosine))
    exact = cosine.detach().clone().requires_grad_()
    margin_cosine(exact, "arcface", 0.5).sum().backward()
    angle = np.arccos(exact.detach().numpy())
    np.testing.assert_allclose(exact.grad[1:], (np.sin(angle + 0.5) / np.sin(angle))[1:], rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("legacy", [False, True])
def test_on_its_class_vector_or_opposite_it_all_is_finite(kind, legacy):
    vectors = torch.tensor([[2.0, 0.0], [0.0, 1.0]], requires_grad=True)
    rows = torch.tensor([[1.0, 0.0], [-3.0, 0.0], [0.0, 0.0]], requires_grad=True)
    loss = margin_loss(rows, torch.tensor([0, 0, 1]), vectors, kind, legacy=legacy)
    loss.backward()
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(rows.grad).all())
    assert bool(torch.isfinite(vectors.grad).all())
