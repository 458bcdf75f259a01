"""Center and contrastive-center losses against NumPy; what was measured of the released forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emofuse.errors import OptionError
from emofuse.losses.center import center
from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.contrastive_center import contrastive_center
from emofuse.losses.objective import build_objective
from emofuse.models.contract import EmotionOutput

FORMS = {"center": center, "contrastive-center": contrastive_center}


@pytest.fixture
def case():
    random = np.random.default_rng(1)
    rows, centres = random.normal(size=(7, 5)), random.normal(size=(4, 5))
    return torch.from_numpy(rows), torch.from_numpy(np.arange(7) % 4), torch.from_numpy(centres)


def squares(rows, centres):
    rows, centres = rows.numpy(), centres.numpy()
    return ((rows[:, None] - centres[None]) ** 2).sum(axis=2)


def twin_center(rows, labels, centres, legacy):
    own = squares(rows, centres)[np.arange(len(rows)), labels.numpy()]
    return (np.sqrt(own.sum()) if legacy else own.sum()) / (2 * len(rows))


def twin_contrastive(rows, labels, centres, legacy):
    apart = squares(rows, centres)
    place = np.arange(len(rows)), labels.numpy()
    own, others = apart[place], apart.sum(axis=1) - apart[place]
    if legacy:
        return own.sum() / (others.sum() + 1e-6) / 0.1 / (2 * len(rows))
    return (own / (others + 1.0)).sum() / (2 * len(rows))


TWINS = {"center": twin_center, "contrastive-center": twin_contrastive}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", FORMS)
def test_value_is_the_formula_and_gradient_is_its(case, name, legacy):
    rows, labels, centres = case
    found = FORMS[name](rows, labels, centres, legacy=legacy)
    assert float(found) == pytest.approx(TWINS[name](*case, legacy), rel=1e-9)
    leaves = (rows.clone().requires_grad_(), centres.clone().requires_grad_())
    assert torch.autograd.gradcheck(
        lambda one, two: FORMS[name](one, labels, two, legacy=legacy), leaves
    )


@pytest.mark.parametrize("name", FORMS)
def test_batches_of_one_size_average_to_the_whole(case, name):
    rows, labels, centres = (part[:6] if part.shape[0] == 7 else part for part in case)
    halves = [FORMS[name](rows[a:b], labels[a:b], centres) for a, b in ((0, 3), (3, 6))]
    torch.testing.assert_close(sum(halves) / 2, FORMS[name](rows, labels, centres))


@pytest.mark.parametrize("name", FORMS)
def test_released_forms_depend_on_what_shares_the_batch(case, name):
    rows, labels, centres = (part[:6] if part.shape[0] == 7 else part for part in case)
    halves = [
        FORMS[name](rows[a:b], labels[a:b], centres, legacy=True) for a, b in ((0, 3), (3, 6))
    ]
    whole = FORMS[name](rows, labels, centres, legacy=True)
    assert not torch.allclose(sum(halves) / 2, whole, rtol=1e-3)


def test_at_the_centre_the_released_gradient_stays_long():
    """Un-squared, the pull does not fade: length 1/2 at any distance; squared, it does."""
    labels, centres = torch.tensor([0]), torch.zeros(2, 8)
    for distance in (1e-3, 1.0, 100.0):
        pulls = []
        for legacy in (False, True):
            row = torch.full((1, 8), distance / 8**0.5, requires_grad=True)
            center(row, labels, centres, legacy=legacy).backward()
            pulls.append(float(row.grad.norm()))
        assert pulls == pytest.approx([distance, 0.5], rel=1e-4)


def at_the_start(form, dim):
    """Legacy value of one item, z from a layer norm, centres from N(0, 1): mean and spread."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(400):
        row = torch.nn.functional.layer_norm(torch.randn(1, dim, generator=generator), (dim,))
        centres = torch.randn(4, dim, generator=generator)
        found.append(float(form(row, torch.tensor([0]), centres, legacy=True)))
    return float(np.mean(found)), float(np.std(found))


def test_released_center_is_about_eight_at_the_start():
    mean, spread = at_the_start(center, 128)
    assert mean == pytest.approx(8.0, abs=0.05)  # sqrt(128 + 128) / 2
    assert abs(8.4 - mean) < 2 * spread  # the value seen in one start


def test_released_contrastive_center_is_about_one_and_a_half_at_the_start():
    mean, spread = at_the_start(contrastive_center, 128)
    assert mean == pytest.approx(10 / 6, abs=0.05)  # 10 / 2 * 1 / 3
    assert abs(1.5 - mean) < 2 * spread


def context(**sizes):
    return LossContext(torch.ones(4).long(), sizes)


@pytest.mark.parametrize("name", ["center", "contrastive-center", "arcface", "cosface"])
def test_terms_read_the_embedding_they_are_told_to(name):
    torch.manual_seed(0)
    made = build_objective([{"name": name, "of": "text"}], context(text=5, fused=6))
    embeddings = {"text": torch.randn(6, 5, requires_grad=True), "fused": torch.randn(6, 6)}
    there = torch.tensor([True, True, False, True, True, False])
    output = EmotionOutput(torch.zeros(6, 4), embeddings=embeddings, extras={"present:text": there})
    labels = torch.arange(6) % 4
    total, _ = made(output, Targets(labels))
    total.backward()
    assert not bool(embeddings["text"].grad[~there].any())
    assert bool(embeddings["text"].grad[there].any(dim=1).all())
    whole = EmotionOutput(torch.zeros(4, 4), embeddings={"text": embeddings["text"][there]})
    torch.testing.assert_close(made(whole, Targets(labels[there]))[0], total)
    nobody = EmotionOutput(
        torch.zeros(6, 4), embeddings=embeddings, extras={"present:text": there & ~there}
    )
    none, _ = made(nobody, Targets(labels))
    none.backward()
    assert float(none.detach()) == 0.0


@pytest.mark.parametrize("name", ["center", "contrastive-center", "arcface", "cosface"])
def test_own_parameters_and_mistakes(name):
    made = build_objective([{"name": name}], context(fused=6))
    assert [tuple(one.shape) for one in made.parameters()] == [(4, 6)]
    with pytest.raises(OptionError, match="reads the embedding 'audio'; the model gives: fused"):
        build_objective([{"name": name, "of": "audio"}], context(fused=6))
    with pytest.raises(OptionError, match="of = 'video'"):
        build_objective([{"name": name, "of": "video"}], context(fused=6))
    with torch.autocast("cpu", torch.bfloat16):
        output = EmotionOutput(
            torch.zeros(2, 4), embeddings={"fused": torch.randn(2, 6).bfloat16()}
        )
        assert made(output, Targets(torch.tensor([0, 1])))[0].dtype == torch.float32


def test_one_class_has_no_other():
    with pytest.raises(OptionError, match="two classes"):
        build_objective(
            [{"name": "contrastive-center"}], LossContext(torch.tensor([3]), {"fused": 2})
        )
