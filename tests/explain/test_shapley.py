from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from emofuse.explain.clusters import mean_by_speaker, speaker_codes
from emofuse.explain.shapley import shapley, subset_scores, subsets
from emofuse.models.build import build_model
from emofuse.models.contract import Batch, ModelSpec, Sequences


def game(players, seed=0):
    random = torch.Generator().manual_seed(seed)
    return {s: torch.randn(5, generator=random, dtype=torch.double) for s in subsets(players)}


@pytest.mark.parametrize("players", [["a"], ["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"]])
def test_it_is_the_mean_over_all_orders(players):
    values = game(players)
    found = shapley(values, players)
    for player in players:
        gains = []
        for order in permutations(players):
            before = frozenset(order[: order.index(player)])
            gains.append(values[before | {player}] - values[before])
        torch.testing.assert_close(found[player], torch.stack(gains).mean(dim=0))
    total = torch.stack(list(found.values())).sum(dim=0)
    torch.testing.assert_close(total, values[frozenset(players)] - values[frozenset()])


def test_who_adds_nothing_gets_nothing():
    values = game(["a", "b"])
    wider = {s | extra: v for s, v in values.items() for extra in (frozenset(), frozenset({"c"}))}
    found = shapley(wider, ["a", "b", "c"])
    assert torch.equal(found["c"], torch.zeros(5, dtype=torch.double))
    torch.testing.assert_close(found["a"], shapley(values, ["a", "b"])["a"])


def batch_of(dims, items=6, absent=()):
    random = torch.Generator().manual_seed(3)
    parts = {}
    for name, dim in dims.items():
        mask = torch.ones(items, 4, dtype=torch.bool)
        for row in absent if name == "text" else ():
            mask[row] = False
        values = torch.randn(items, 4, dim, generator=random) * mask[..., None]
        parts[name] = Sequences(values, mask)
    return Batch(parts)


PRIOR = torch.tensor([0.5, 0.3, 0.2], dtype=torch.double)


def test_modalities_of_a_model_that_lives_without():
    dims = {"audio": 5, "text": 4}
    model = build_model("late-fusion", {}, ModelSpec(dims, 3), 0).eval()
    batch, targets = batch_of(dims, absent=(2,)), torch.tensor([0, 1, 2, 0, 1, 2])
    worth = subset_scores(model, batch, targets, kind="probability", prior=PRIOR)
    assert worth.efficiency < 1e-12
    assert worth.absent
    torch.testing.assert_close(worth.scores[frozenset()], PRIOR[targets])
    with torch.no_grad():
        alone = torch.softmax(model(batch.only("audio")).logits.double(), dim=1)
    rows = torch.arange(6)
    torch.testing.assert_close(worth.scores[frozenset({"audio"})], alone[rows, targets])
    assert float(worth.shares["text"][2]) == pytest.approx(0.0, abs=1e-7)
    assert float(worth.scores[frozenset({"text"})][2]) == pytest.approx(0.2)


def test_a_model_that_needs_all_gets_means():
    dims = {"audio": 5, "text": 4}
    options = {"variant": "published", "hidden": 16}
    model = build_model("fleser", options, ModelSpec(dims, 3), 0).eval()
    batch, targets = batch_of(dims), torch.zeros(6, dtype=torch.long)
    means = {name: torch.full((dim,), 0.3) for name, dim in dims.items()}
    worth = subset_scores(model, batch, targets, kind="probability", prior=PRIOR, means=means)
    assert not worth.absent
    assert worth.efficiency < 1e-12
    assert "mean frame" in worth.words()
    nothing = worth.scores[frozenset()]
    torch.testing.assert_close(nothing, nothing[:1].expand(6))  # the same means for all


def test_a_mean_by_speaker_is_the_plain_bootstrap():
    random = np.random.default_rng(0)
    codes = np.repeat(np.arange(12), 5)
    values = random.normal(size=12)[codes] + 0.3 * random.normal(size=60)
    (found,) = mean_by_speaker(values, codes, 4000, seed=1)
    draws = []
    for _ in range(4000):
        chosen = random.integers(0, 12, 12)
        draws.append(np.concatenate([values[codes == one] for one in chosen]).mean())
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(low, abs=0.05)
    assert found.high == pytest.approx(high, abs=0.05)
    alone = mean_by_speaker(values, np.zeros(60, np.int64))[0]
    assert (alone.low, alone.high) == (None, None)


def test_unknown_speakers_stand_alone():
    assert speaker_codes(["a", "", "a"])[0] == "utterance"
    assert speaker_codes(["a", "b", "a"])[0] == "speaker"
