from __future__ import annotations

import numpy as np
import pytest
import torch

from emofuse.encoders.pooling import pool
from emofuse.explain.deletion import delete_frames, pieces_of, rank_correlation
from emofuse.explain.integrated import integrate
from emofuse.explain.options import ExplainOptions
from emofuse.explain.randomise import compare_redrawn
from emofuse.explain.scores import Scorer, company_effect, score_of
from emofuse.explain.unpooled import pool_tensor
from emofuse.models.build import build_model
from emofuse.models.contract import Batch, ModelSpec, Sequences

from .conftest import BURST, one_of, whole


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_on_a_linear_score_it_is_exact():
    w, v = drawn(3, 4), drawn(2, 5, seed=1)
    x, y, b = drawn(1, 3, 4, seed=2), drawn(1, 2, 5, seed=3), drawn(1, 3, 4, seed=4)
    found = integrate(
        lambda one, two: (one * w).sum((1, 2)) + (two * v).sum((1, 2)) + 7.0,
        [x, y],
        [b, torch.zeros_like(y)],
        ExplainOptions(steps=2),
    )
    torch.testing.assert_close(found.values[0], (w * (x - b))[0])
    torch.testing.assert_close(found.values[1], (v * y)[0])
    assert found.relative < 1e-5
    assert found.steps == 2


def test_on_a_square_it_is_the_integral():
    """For sum x^2 from 0 the attribution of a value is its square."""
    x = drawn(1, 3, 4)
    found = integrate(lambda one: one.square().sum((1, 2)), [x], [torch.zeros_like(x)])
    torch.testing.assert_close(found.values[0], x[0].square(), rtol=1e-4, atol=1e-5)


def test_steps_double_until_the_gap_is_closed():
    def steep(one):
        return torch.sigmoid(60 * (one.sum((1, 2)) - 0.37))

    x = torch.full((1, 1, 2), 0.5)
    start = torch.zeros_like(x)
    few = integrate(steep, [x], [start], ExplainOptions(steps=4, most_steps=4))
    more = integrate(steep, [x], [start], ExplainOptions(steps=4, most_steps=1024))
    assert not few.closed
    assert "NOT within 1 %" in few.words()
    assert more.closed
    assert more.steps > 4
    assert few.gap == pytest.approx(abs(few.total - few.difference))


def test_a_jump_leaves_a_gap_that_is_told():
    def jump(one):
        return (one.sum((1, 2)) > 0.5).double() + 0.1 * one.sum((1, 2))

    x = torch.ones(1, 1, 1, dtype=torch.double)
    found = integrate(jump, [x], [torch.zeros_like(x)], ExplainOptions(most_steps=64))
    assert not found.closed
    assert found.relative == pytest.approx(1.0 / 1.1, abs=0.01)


def test_frames_of_the_burst_carry_the_answer(conv_model, bursts):
    values, _, starts = bursts
    mean = values[:48].mean(dim=(0, 1))
    telling, other, area, maps = [], [], [], []
    times = 0.0125 + np.arange(values.shape[1]) / 100

    def make(model, batch, steps):
        given = batch.modalities["audio"].values
        options = ExplainOptions(steps=steps, most_steps=steps)
        scorer = Scorer(model, batch, 1, "logit")
        found = integrate(scorer, [given], [mean.expand_as(given)], options)
        return found.values[0].double().sum(dim=1).numpy()

    for row in range(49, 59, 2):
        batch = one_of(values, row)
        frames = make(conv_model, batch, 16)
        here, there = ((times >= s - 0.05) & (times <= s + BURST + 0.05) for s in starts[row])
        heat = np.maximum(frames, 0) / np.maximum(frames, 0).sum()
        telling.append(heat[here].sum())
        other.append(heat[there & ~here].sum())
        area.append(here.mean())
        if row < 53:
            maps += compare_redrawn(conv_model, lambda m, b=batch: make(m, b, 8), 2).known
    assert np.mean(telling) > 0.6
    assert np.mean(telling) > 1.8 * np.mean(area)
    assert np.mean(telling) > 2 * np.mean(other)
    assert abs(np.mean(maps)) < 0.4


def test_taking_the_burst_out_costs_most(conv_model, bursts):
    values, _, starts = bursts
    pieces = pieces_of(values.shape[1], 12)
    hits = 0
    for row in range(49, 64, 2):
        drops = delete_frames(
            conv_model, one_of(values, row), "audio", pieces, target=1, kind="logit"
        )
        piece = pieces[int(drops.argmax())]
        first, last = 100 * starts[row][0] - 5, 100 * (starts[row][0] + BURST) + 5
        hits += piece.stop > first and piece.start < last
    assert hits >= 6


def test_deletion_is_what_the_shorter_input_scores():
    """For a mean over frames, a frame out of the mask is a frame that was never there."""
    model = build_model("linear", {}, ModelSpec({"audio": 5}, 3), 0)
    values = drawn(1, 6, 5)
    batch = Batch({"audio": Sequences(values, torch.ones(1, 6, dtype=torch.bool))})
    model.fit_normalisation(whole(drawn(9, 6, 5, seed=2)))
    torch.nn.init.normal_(model.heads["audio"].weight)
    model.eval()
    drops = delete_frames(model, batch, "audio", pieces_of(6), target=1, kind="logit")
    with torch.no_grad():
        base = score_of(model(batch).logits, 1, "logit")[0]
        for place in range(6):
            left = [one for one in range(6) if one != place]
            shorter = one_of(values[:, left], 0)
            expected = base - score_of(model(shorter).logits, 1, "logit")[0]
            torch.testing.assert_close(drops[place], expected, rtol=1e-4, atol=1e-6)
    alone = delete_frames(
        model, one_of(values[:, :1], 0), "audio", [range(1)], target=1, kind="logit"
    )
    assert torch.isnan(alone).all()


def test_a_constant_on_all_logits_changes_no_score():
    logits = drawn(4, 3)
    for kind in ("logit", "probability"):
        torch.testing.assert_close(
            score_of(logits, 1, kind), score_of(logits + 5.0, 1, kind), rtol=1e-5, atol=1e-6
        )


def test_company_is_noticed():
    dims, options = {"audio": 6, "text": 4}, {"hidden": 16, "heads": 2}
    batch = Batch(
        {
            name: Sequences(drawn(1, 1, dim, seed=dim), torch.ones(1, 1, dtype=torch.bool))
            for name, dim in dims.items()
        }
    )
    spec = ModelSpec(dims, 3)
    lone = build_model("fleser", options, spec, 0).eval()
    assert company_effect(lone, batch) < 1e-5
    released = {**options, "variant": "published", "fuzzy_input": "raw"}
    seen = [
        company_effect(build_model("fleser", released, spec, s).eval(), batch) for s in range(4)
    ]
    assert max(seen) > 1e-3


@pytest.mark.parametrize("how", ["mean", "mean+std", "max", "cls", "stats"])
@pytest.mark.parametrize("frames", [1, 7])
def test_pooling_with_gradient_is_the_encoders_pooling(how, frames):
    values = drawn(2, frames, 3)
    found = pool_tensor(values, how)
    for row in range(2):
        expected = pool(values[row].numpy(), how)
        np.testing.assert_allclose(found[row].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_rank_correlation_is_scipys():
    from scipy.stats import spearmanr

    one, two = drawn(20).tolist(), (drawn(20) + drawn(20, seed=1)).round(decimals=1).tolist()
    assert rank_correlation(one, two) == pytest.approx(spearmanr(one, two).statistic)
    assert rank_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
