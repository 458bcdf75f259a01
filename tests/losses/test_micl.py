"""MICL and its hard negatives against versions in NumPy, and the released label term."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from emofuse.errors import OptionError
from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.micl import hard_margin, info_nce, label_pull
from emofuse.losses.objective import build_objective
from emofuse.models.contract import EmotionOutput

LABELS = torch.tensor([0, 1, 0, 2, 1, 0])
CONTEXT = LossContext(torch.tensor([3, 2, 1]), {})
TAU = 0.07


def draw(items=6, dim=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(items, dim, generator=generator, dtype=dtype) for _ in range(2)]


def cosines(first, second):
    first, second = (one.numpy() / np.linalg.norm(one, axis=1, keepdims=True) for one in
                     (first, second))  # fmt: skip
    return first @ second.T


def infonce_by_hand(scores, wanted):
    """Loop over both directions; ``wanted[i]`` are the columns that row ``i`` is to find."""
    losses = []
    for matrix in (scores, scores.T):
        for i, row in enumerate(matrix):
            total = math.log(sum(math.exp(one) for one in row))
            losses.append(sum(total - row[j] for j in wanted[i]) / len(wanted[i]))
    return sum(losses) / len(losses)


def hinge_by_hand(scores, sharpness, margin, count, legal):
    losses = []
    for i, row in enumerate(scores):
        places = [j for j in range(len(row)) if j != i and legal[i][j]]
        places = sorted(places, key=lambda j: -row[j])[:count]
        if not places:
            continue
        weights = np.exp([sharpness[i][j] for j in places])
        weights /= weights.sum()
        gaps = [max(0.0, row[j] + margin - row[i]) for j in places]
        losses.append(float(weights @ gaps))
    return sum(losses) / len(losses)


def ask(first, second, labels=LABELS, done=0.0, extras=None, **options):
    objective = build_objective([{"name": "micl", **options}], CONTEXT)
    objective.advance(done)
    given = {"micl:text": first, "micl:audio": second, **(extras or {})}
    output = EmotionOutput(torch.zeros(len(labels), 3), extras=given)
    return objective(output, Targets(labels))[0]


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_infonce_equals_the_loop(temperature):
    first, second = draw()
    scores = cosines(first, second) / temperature
    own = [[i] for i in range(6)]
    same = [[j for j in range(6) if LABELS[j] == LABELS[i]] for i in range(6)]
    for wanted, kind in ((own, "negatives"), (same, "positives")):
        found = float(ask(first, second, temperature=temperature, same_label=kind))
        assert found == pytest.approx(infonce_by_hand(scores, wanted))


def test_without_labels_it_is_symmetric_cross_entropy():
    scores = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    places = torch.arange(5)
    both = [torch.nn.functional.cross_entropy(one, places) for one in (scores, scores.T)]
    torch.testing.assert_close(info_nce(scores), sum(both) / 2)


def test_identical_modalities_that_differ_by_item_cost_nothing():
    rows = torch.eye(6, dtype=torch.float64)
    assert float(ask(rows, rows)) < 1e-5


def test_the_released_label_term():
    first, second = draw()
    scores = cosines(first, second) / TAU
    pairs = [scores[i, j] for i in range(6) for j in range(6) if i != j and LABELS[i] == LABELS[j]]
    plain, pulled = float(ask(first, second)), float(ask(first, second, same_label="pull"))
    assert pulled - plain == pytest.approx(-0.1 * np.mean(pairs))


def test_the_released_label_term_goes_down_to_a_tenth_of_the_temperature():
    """It has no other floor: with all pairs of a class alike, MICL is below 0."""
    rows = torch.eye(3, dtype=torch.float64)[LABELS]
    scores = rows @ rows.T / TAU
    assert 0.1 * float(label_pull(scores, LABELS)) == pytest.approx(-1.4286, abs=1e-4)
    assert float(ask(rows, rows, same_label="pull")) < -0.5
    assert float(label_pull(torch.randn(3, 3), torch.arange(3))) == 0.0


def test_the_temperature_changes_the_loss():
    first, second = draw()
    assert len({float(ask(first, second, temperature=t)) for t in (0.05, 0.07, 0.2)}) == 3


@pytest.mark.parametrize(("done", "count"), [(0.0, 4), (0.5, 6), (0.999, 7)])
def test_hard_negatives_grow_with_training(done, count):
    """A quarter of a batch of 16, up to half of it."""
    first, second = draw(16)
    labels = torch.arange(16) % 4
    near = cosines(first, second)
    legal = labels[:, None].numpy() != labels[None].numpy()
    plain = float(ask(first, second, labels))
    found = float(ask(first, second, labels, done, hard=True)) - plain
    assert found == pytest.approx(0.5 * hinge_by_hand(near, near / TAU, 0.3, count, legal))
    every = np.ones_like(legal)
    found = float(ask(first, second, labels, done, hard=True, legacy=True)) - plain
    by_hand = hinge_by_hand(near / TAU, near / TAU / TAU, 0.3, count, every)
    assert found == pytest.approx(0.5 * by_hand)


def test_one_class_alone_has_no_hard_negatives():
    first, second = draw()
    labels = torch.zeros(6, dtype=torch.long)
    assert float(ask(first, second, labels, hard=True)) == float(ask(first, second, labels))


def test_gradients():
    first, second = (one.requires_grad_() for one in draw(4, 3))
    labels = LABELS[:4]
    for options in (
        {},
        {"same_label": "pull"},
        {"same_label": "positives", "hard": True},
        {"hard": True, "legacy": True},
    ):
        given = {"temperature": 0.5, **options}
        assert torch.autograd.gradcheck(
            lambda a, b, o=given: ask(a, b, labels, **o), (first, second)
        )


def test_gradient_of_hinges_whose_row_has_few_legal_negatives():
    scores = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    legal = torch.tensor([[0, 1, 0, 0], [1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 0]], dtype=torch.bool)
    found = float(hard_margin(scores, scores, 5.0, 3, legal))
    assert found == pytest.approx(hinge_by_hand(scores.numpy(), scores.numpy(), 5.0, 3, legal))
    scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: hard_margin(s, s, 5.0, 3, legal), (scores,))


def test_items_that_lack_a_modality_take_no_part():
    first, second = draw()
    there = torch.tensor([True, True, False, True, True, True])
    bare = float(ask(first[there], second[there], LABELS[there]))
    assert float(ask(first, second, extras={"present:text": there})) == pytest.approx(bare)
    lone = {"present:audio": torch.arange(6) == 2}
    first.requires_grad_()
    loss = ask(first, second, extras=lone)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not first.grad.any()


def test_in_half_precision_the_similarities_are_whole():
    first, second = draw(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = ask(first.bfloat16(), second.bfloat16())
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(ask(first, second)), rel=0.05)


def test_a_model_without_projections():
    objective = build_objective([{"name": "micl"}], CONTEXT)
    with pytest.raises(OptionError, match="two projections to contrast .* gives none"):
        objective(EmotionOutput(torch.zeros(6, 3)), Targets(LABELS))
