from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.losses.avel_process import ITEMS, measure
from torch.nn.functional import cross_entropy, normalize

from emofuse.errors import OptionError
from emofuse.layers.alignment import Alignment
from emofuse.layers.gather import gather_rows
from emofuse.layers.temperature import Temperature
from emofuse.losses.avel import AVEL, Aligned, AVELOptions, avel, contrast
from emofuse.losses.contract import LossContext, Targets
from emofuse.models.contract import EmotionOutput

CONTEXT = LossContext(torch.tensor([4, 4, 4]), {})
RAW = math.log(1 / 0.07)
SIZES = ("4,4", "5,3", "8,0")


def drawn(items=9, dim=6, seed=0, dtype=torch.float64, all_present=True):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (items,), generator=generator)
    parts = {}
    for name in ("audio", "video"):
        rows = normalize(torch.randn(items, dim, generator=generator, dtype=dtype), dim=1)
        there = torch.rand(items, generator=generator) > 0.3
        parts[name] = Aligned(rows, torch.ones_like(there) if all_present else there)
    return parts, labels


def by_hand(parts, labels, scale, reduction="mean", pairs="cross"):
    """The same sums with loops and NumPy."""
    names, totals = list(parts), []
    rows = {name: part.rows.detach().numpy() for name, part in parts.items()}
    there = {name: part.present.numpy() for name, part in parts.items()}
    for name in names:
        for other in [name] if pairs == "within" else [n for n in names if n != name]:
            values = []
            for i in range(len(labels)):
                columns = [
                    j for j in range(len(labels)) if there[other][j] and (i != j or name != other)
                ]
                positives = [j for j in columns if labels[j] == labels[i]]
                if not there[name][i] or not positives:
                    continue
                scores = {j: float(rows[name][i] @ rows[other][j]) * scale for j in columns}
                whole = np.log(sum(np.exp(score) for score in scores.values()))
                total = sum(whole - scores[j] for j in positives)
                values.append(total / (len(positives) if reduction == "mean" else 1))
            totals.append(np.mean(values))
    return float(np.mean(totals))


@pytest.mark.parametrize("all_present", [True, False])
@pytest.mark.parametrize("pairs", ["cross", "within"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_it_is_the_loops(reduction, pairs, all_present):
    parts, labels = drawn(all_present=all_present)
    found = avel(parts, labels, torch.tensor(5.0), reduction=reduction, pairs=pairs)
    assert float(found) == pytest.approx(by_hand(parts, labels, 5.0, reduction, pairs), abs=1e-10)


def test_a_case_of_three_by_three():
    """Worked out on paper: S = [[1, 0, -1], [0, 1, 0], [0, 0, 1]], labels a, a, b."""
    similarities = torch.tensor([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    labels = torch.tensor([0, 0, 1])
    same = labels[:, None] == labels[None]
    e = math.e
    first, rest = math.log(e + 1 + 1 / e), math.log(e + 2)
    expected = torch.tensor([2 * first - 1, 2 * rest - 1, rest - 1])
    everything = torch.ones(3, 3, dtype=torch.bool)
    torch.testing.assert_close(contrast(similarities, same, everything, "sum"), expected)
    halves = expected / torch.tensor([2.0, 2.0, 1.0])
    torch.testing.assert_close(contrast(similarities, same, everything, "mean"), halves)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradient(reduction):
    parts, labels = drawn(items=6, dim=4, all_present=False)
    raw = [part.rows.clone().requires_grad_() for part in parts.values()]
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)

    def value(first, second, factor):
        rows = (normalize(first, dim=1), normalize(second, dim=1))
        made = {
            name: Aligned(one, part.present)
            for (name, part), one in zip(parts.items(), rows, strict=True)
        }
        return avel(made, labels, factor, reduction=reduction)

    assert torch.autograd.gradcheck(value, (*raw, scale))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_order_does_not_matter(reduction):
    parts, labels = drawn(all_present=False)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    mixed = {name: Aligned(p.rows[order], p.present[order]) for name, p in parts.items()}
    scale = torch.tensor(4.0)
    torch.testing.assert_close(
        avel(mixed, labels[order], scale, reduction=reduction),
        avel(parts, labels, scale, reduction=reduction),
    )


def test_the_mean_with_one_positive_each_is_infonce():
    parts, _ = drawn(items=7)
    labels = torch.arange(7)
    audio, video = parts["audio"].rows, parts["video"].rows
    scores = audio @ video.T * 10
    expected = (cross_entropy(scores, labels) + cross_entropy(scores.T, labels)) / 2
    torch.testing.assert_close(avel(parts, labels, torch.tensor(10.0)), expected)


def ideal(items=16, classes=4):
    """Cosine 1 within a class, -1/3 between classes: the corners of a tetrahedron."""
    corners = torch.tensor(
        [[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64
    ) / math.sqrt(3)
    labels = torch.arange(items) % classes
    part = Aligned(corners[labels], torch.ones(items, dtype=torch.bool))
    return {"audio": part, "video": part}, labels


@pytest.mark.parametrize(("divisor", "floor"), [(RAW, 9.69), (0.07, 5.545)])
def test_the_floor_of_the_released_form(divisor, floor):
    parts, labels = ideal()
    found = avel(parts, labels, torch.tensor(1 / divisor), reduction="sum")
    assert float(found) == pytest.approx(floor, abs=0.005)


def test_the_mean_has_a_floor_that_does_not_grow_with_the_batch():
    values = []
    for items in (16, 64):
        parts, labels = ideal(items)
        values.append(float(avel(parts, labels, torch.tensor(1e3))))
        assert values[-1] == pytest.approx(math.log(items / 4), abs=1e-6)
        summed = float(avel(parts, labels, torch.tensor(1e3), reduction="sum"))
        assert summed == pytest.approx(items / 4 * math.log(items / 4), abs=1e-4)


@pytest.mark.parametrize(("items", "start"), [(16, 13.2), (32, 30.3), (64, 69.7)])
def test_start_of_the_released_form(items, start):
    """Nothing aligned yet: mean|P| ln M, which for random labels is (1 + (M - 1) / 4) ln M."""
    scores = torch.zeros(items, items)
    everything = torch.ones(items, items, dtype=torch.bool)
    values = []
    for seed in range(300):
        labels = torch.randint(0, 4, (items,), generator=torch.Generator().manual_seed(seed))
        same = labels[:, None] == labels[None]
        values.append(float(contrast(scores, same, everything, "sum").mean()))
    assert (1 + (items - 1) / 4) * math.log(items) == pytest.approx(start, abs=0.05)
    assert np.mean(values) == pytest.approx(start, rel=0.02)


def test_temperatures():
    assert float(Temperature("raw_divisor")().detach()) == pytest.approx(1 / 2.659, rel=1e-3)
    assert float(Temperature("exp_logit_scale")().detach()) == pytest.approx(1 / 0.07)
    assert not list(Temperature("fixed").parameters())
    steep = Temperature("exp_logit_scale")
    with torch.no_grad():
        steep.value.fill_(9.0)
    assert float(steep().detach()) == pytest.approx(100.0)
    softer = RAW / 0.07
    assert softer == pytest.approx(38.0, abs=0.1)  # times, the released one


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Two gloo processes, each with its share of the items: case -> what each of them found."""
    folder = tmp_path_factory.mktemp("processes")
    script = Path(__file__).with_name("avel_process.py")
    cases = ";".join([f"differentiable:{sizes}" for sizes in SIZES] + ["plain:4,4"])
    running = [
        subprocess.Popen(
            [sys.executable, script, str(rank), "2", folder / "meeting", cases, folder / str(rank)],
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    for one in running:
        errors = one.communicate()[1]
        assert one.returncode == 0, errors.decode()
    both = [json.loads((folder / str(rank)).read_text()) for rank in range(2)]
    return {case: [one[case] for one in both] for case in both[0]}


@pytest.mark.parametrize("sizes", SIZES)
def test_two_processes_are_as_one(sizes, together):
    value, gradient = measure(0, ITEMS, "differentiable")
    told = together[f"differentiable:{sizes}"]
    assert np.mean([one["value"] for one in told]) == pytest.approx(value, abs=1e-12)
    for one in told:
        np.testing.assert_allclose(one["gradient"], gradient.numpy(), atol=1e-12)


def test_the_released_gather_loses_gradient(together):
    value, gradient = measure(0, ITEMS, "differentiable")
    told = together["plain:4,4"]
    assert np.mean([one["value"] for one in told]) == pytest.approx(value, abs=1e-12)
    assert float(np.linalg.norm(told[0]["gradient"])) < 0.9 * float(gradient.norm())


def test_in_one_process_gathering_is_nothing():
    rows = torch.randn(3, 2, requires_grad=True)
    assert gather_rows(rows) is rows


def test_the_term_reads_the_model():
    torch.manual_seed(0)
    alignment = Alignment({"audio": 6, "video": 5}, 4, 0.0, "exp_logit_scale")
    there = torch.ones(8, 3, dtype=torch.bool)
    extras = alignment(
        {"audio": (torch.randn(8, 3, 6), there), "video": (torch.randn(8, 3, 5), there)}
    )
    extras |= {"present:audio": there[:, 0], "present:video": there[:, 0]}
    labels = torch.arange(8) % 3
    output = EmotionOutput(torch.zeros(8, 3), extras=extras)
    loss = AVEL(AVELOptions(), CONTEXT)(output, Targets(labels))
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in alignment.parameters())
    parts = {n: Aligned(extras[f"projection:{n}"], there[:, 0]) for n in ("audio", "video")}
    expected = by_hand(parts, labels, float(extras["scale"].detach()))
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)


def test_nobody_has_both():
    parts, labels = drawn(items=4)
    gone = Aligned(parts["video"].rows, torch.zeros(4, dtype=torch.bool))
    assert float(avel({"audio": parts["audio"], "video": gone}, labels, torch.tensor(1.0))) == 0.0


def test_mistakes_are_named():
    term = AVEL(AVELOptions(), CONTEXT)
    with pytest.raises(OptionError, match="needs a model with projections"):
        term(EmotionOutput(torch.zeros(2, 3)), Targets(torch.zeros(2, dtype=torch.long)))
    one = {
        "projection:audio": torch.eye(2),
        "present:audio": torch.ones(2, dtype=torch.bool),
        "scale": torch.tensor(1.0),
    }
    with pytest.raises(OptionError, match="set pairs: within"):
        term(EmotionOutput(torch.zeros(2, 3), extras=one), Targets(torch.tensor([0, 1])))
