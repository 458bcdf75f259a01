"""Valence, arousal and dominance: measures by hand, targets of corpus and table, legacy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emofuse.errors import OptionError
from emofuse.labels import SCHEMES
from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.focal_smooth import focal_smooth
from emofuse.losses.objective import build_objective
from emofuse.losses.vad import to_unit, vad_ccc, vad_mse
from emofuse.losses.vad_table import TABLE
from emofuse.models.contract import EmotionOutput

FOUR = ("anger", "happiness", "neutral", "sadness")
RANGES = {"valence": (1.0, 5.0), "arousal": (1.0, 5.0), "dominance": (0.0, 10.0)}
NAN = float("nan")
CORPUS = torch.tensor([[1.0, 5.0, 10.0], [3.0, NAN, 5.0], [NAN, NAN, NAN], [2.0, 4.0, 2.5]])
LABELS = torch.tensor([0, 1, 2, 3])
TABLE_ROWS = torch.tensor([TABLE[name][:3] for name in FOUR])


def context(classes=FOUR, ranges=RANGES):
    return LossContext(torch.ones(len(classes)), {}, tuple(classes), ranges)


def draw(seed=0, rows=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.tanh(torch.randn(rows, 3, generator=generator, dtype=torch.float64))


def ask(vad=None, corpus=CORPUS, labels=LABELS, classes=FOUR, extras=None, **options):
    objective = build_objective([{"name": "vad", **options}], context(classes))
    output = EmotionOutput(torch.zeros(len(labels), len(classes)), vad=vad, extras=extras or {})
    return objective(output, Targets(labels, vad=corpus))[0]


def ccc(x, y):
    spread = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    return 2 * np.cov(x, y, ddof=0)[0, 1] / spread


def test_measures_by_hand():
    found, wanted = draw(), draw(1)
    wanted[1, 0] = wanted[2, 2] = wanted[0, 2] = wanted[3, 2] = NAN
    known = ~wanted.isnan().numpy()
    gap = (found - wanted).numpy()[known]
    assert float(vad_mse(found, wanted)) == pytest.approx((gap**2).mean())
    first, second = found.numpy(), wanted.numpy()
    losses = [1 - ccc(first[known[:, d], d], second[known[:, d], d]) for d in (0, 1)]
    assert float(vad_ccc(found, wanted)) == pytest.approx(np.mean(losses))  # one value is no spread
    nothing = torch.full((4, 3), NAN, dtype=torch.float64)
    assert float(vad_mse(found, nothing)) == float(vad_ccc(found, nothing)) == 0.0


def test_perfect_and_constant_answers():
    wanted = draw(1)
    assert float(vad_ccc(wanted, wanted)) == pytest.approx(0.0, abs=1e-12)
    assert float(vad_ccc(torch.zeros(4, 3), wanted.float())) == pytest.approx(1.0)
    assert float(vad_ccc(torch.zeros(4, 3), torch.zeros(4, 3))) == 1.0


@pytest.mark.parametrize("measure", [vad_mse, vad_ccc])
def test_gradients(measure):
    found, wanted = draw().requires_grad_(), draw(1)
    wanted[1, 0] = NAN
    assert torch.autograd.gradcheck(lambda f: measure(f, wanted), (found,))


def test_the_scale_of_the_scheme():
    unit = to_unit(CORPUS, RANGES)
    assert unit[0].tolist() == [-1.0, 1.0, 1.0]
    assert unit[1, 0] == 0.0
    assert bool(unit[1, 1].isnan())
    assert bool(to_unit(CORPUS, {"valence": (1.0, 5.0)})[:, 1:].isnan().all())


def test_targets_of_corpus_and_table():
    vad, own = draw().float(), to_unit(CORPUS, RANGES)
    mixed = torch.where(own.isnan(), TABLE_ROWS, own)
    for wanted, options in (
        (mixed, {}),
        (own, {"targets": "corpus"}),
        (TABLE_ROWS, {"targets": "table"}),
        (TABLE_ROWS, {"corpus": None}),
    ):
        torch.testing.assert_close(ask(vad, **options), vad_mse(vad, wanted))
    torch.testing.assert_close(ask(vad, measure="ccc"), vad_ccc(vad, mixed))
    with pytest.raises(OptionError, match="none has any; take targets: table"):
        ask(vad, corpus=None, targets="corpus")


@pytest.mark.parametrize("name", list(SCHEMES))
def test_the_table_has_every_class_of_every_scheme(name):
    classes = SCHEMES[name].classes
    labels = torch.arange(len(classes))
    perfect = torch.tensor([TABLE[one][:3] for one in classes])
    assert float(ask(perfect, None, labels, classes)) == pytest.approx(0.0, abs=1e-12)
    assert all(-1 <= value <= 1 for place in TABLE.values() for value in place[:3])


def test_a_class_without_an_entry_is_named():
    with pytest.raises(OptionError, match="dominance of the class 'nostalgia'; it knows anger, bo"):
        ask(draw().float(), classes=("anger", "nostalgia", "neutral", "sadness"))
    vad = draw().float()
    odd = ask(vad, classes=("a", "b", "c", "d"), targets="corpus")
    torch.testing.assert_close(odd, ask(vad, targets="corpus"))
    with pytest.raises(OptionError, match="names of the classes"):
        build_objective([{"name": "vad"}], LossContext(torch.ones(2), {}))


def test_legacy_learns_zeros_for_any_scheme_but_one():
    vad = draw().float()
    torch.testing.assert_close(ask(vad, legacy=True), vad_mse(vad, TABLE_ROWS))
    for classes in (SCHEMES["iemocap5"].classes, ("a", "b", "c", "d", "e")):
        labels = torch.tensor([0, 1, 2, 4])
        found = ask(vad, None, labels, classes, legacy=True)
        torch.testing.assert_close(found, vad.square().mean())


def test_projections_learn_too():
    first, second = draw(2).float(), draw(3).float()
    there = torch.tensor([True, True, False, True])
    extras = {"vad:0:text:text": first, "vad:0:text:audio": second, "present:audio": there}
    found = ask(extras=extras, of="projections", targets="table")
    parts = vad_mse(first, TABLE_ROWS), vad_mse(second[there], TABLE_ROWS[there])
    torch.testing.assert_close(found, sum(parts) / 2)
    with pytest.raises(OptionError, match="attention is guided"):
        ask(of="projections")
    with pytest.raises(OptionError, match="a model that gives vad"):
        ask()


def focal_by_hand(logits, labels, gamma, smoothing, weights):
    losses = []
    for row, label in zip(logits.numpy(), labels.tolist(), strict=True):
        p = np.exp(row) / np.exp(row).sum()
        q = np.full(len(row), smoothing / (len(row) - 1))
        q[label] = 1 - smoothing
        losses.append(-sum(weights * (1 - p) ** gamma * q * np.log(p)))
    return np.mean(losses)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_focal_on_smoothed_targets(gamma, smoothing):
    logits = 2 * torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    found = focal_smooth(logits, LABELS, gamma, smoothing, weights)
    by_hand = focal_by_hand(logits, LABELS, gamma, smoothing, weights.numpy())
    assert float(found) == pytest.approx(by_hand)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda one: focal_smooth(one, LABELS, gamma, smoothing, weights), (logits,)
    )


def test_focal_smooth_takes_the_balance_of_the_training_items():
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    counts = LossContext(torch.tensor([4, 2, 1, 1]), {}, FOUR)
    objective = build_objective([{"name": "focal-smooth"}], counts)
    weights = torch.tensor([0.5, 1.0, 2.0, 2.0])
    found = objective(EmotionOutput(logits), Targets(LABELS))[0]
    torch.testing.assert_close(found, focal_smooth(logits, LABELS, weights=weights))
    certain = torch.eye(4) * 200
    certain.requires_grad_()
    loss = focal_smooth(certain, LABELS, 0.5)
    loss.backward()
    assert bool(certain.grad.isfinite().all())
