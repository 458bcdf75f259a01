from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.losses.mem_process import LABELS, measure
from torch.nn.functional import normalize

from emofuse.errors import OptionError
from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.mem import MEM, MEMOptions, draw, matching_loss
from emofuse.models.contract import EmotionOutput

CONTEXT = LossContext(torch.tensor([4, 4, 4]), {})


class Pairs:
    """A stand-in for a model: logits of a pair are known numbers, and it notes who was fused."""

    def __init__(self, items=8, seed=0, scale=1.0, present=None):
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn(2, items, items, 2, generator=generator, requires_grad=True)
        self.asked: list[tuple[str, torch.Tensor, torch.Tensor]] = []
        rows = {n: normalize(torch.randn(items, 5, generator=generator), dim=1) for n in NAMES}
        there = torch.ones(2, items, dtype=torch.bool) if present is None else present
        places = torch.arange(items)
        extras = {f"projection:{n}": rows[n] for n in NAMES}
        extras |= {f"present:{n}": there[k] for k, n in enumerate(NAMES)}
        extras |= {f"match:{n}": self.table[k, places, places] for k, n in enumerate(NAMES)}
        extras["scale"] = torch.tensor(scale)
        self.output = EmotionOutput(torch.zeros(items, 3), extras=extras, rematch=self.fuse)

    def fuse(self, pairs):
        pairs_of = self

        class Lazy(dict):
            def __missing__(self, key):
                name = key.partition(":")[2]
                other = NAMES[1 - NAMES.index(name)]
                pairs_of.asked.append((name, pairs[name], pairs[other]))
                return pairs_of.table[NAMES.index(name), pairs[name], pairs[other]]

        return Lazy()


NAMES = ("audio", "video")


def surprise(logits, truth):
    values = np.asarray(logits, np.float64)
    return float(np.log(np.exp(values).sum()) - values[truth])


def test_negatives_never_share_the_label():
    labels = torch.arange(20) % 4
    allowed = labels[:, None] != labels[None]
    scores = torch.randn(20, 20, generator=torch.Generator().manual_seed(0)) * 5
    generator = torch.Generator().manual_seed(1)
    for how in ("sampled", "uniform"):
        for _ in range(500):  # of 20 each: 10,000
            partners, found = draw(scores, allowed, how, generator)
            assert bool(found.all())
            assert bool((labels[partners] != labels).all())


def test_draws_follow_the_softmax():
    """At the released temperature, cosine +1 is drawn e^(2 / 2.659) = 2.12 times as often as -1."""
    scores = torch.tensor([[1.0, -1.0]]).expand(40_000, 2) / math.log(1 / 0.07)
    everything = torch.ones(40_000, 2, dtype=torch.bool)
    partners, _ = draw(scores, everything, "sampled", torch.Generator().manual_seed(0))
    often = int((partners == 0).sum())
    assert often / (40_000 - often) == pytest.approx(2.12, abs=0.06)
    uniform, _ = draw(scores, everything, "uniform", torch.Generator().manual_seed(0))
    assert float(uniform.float().mean()) == pytest.approx(0.5, abs=0.01)
    assert not draw(scores, everything, "hardest")[0].any()


@pytest.mark.parametrize(("divisor", "share"), [(math.log(1 / 0.07), 0.10), (0.07, 0.68)])
def test_how_hard_the_negatives_are(divisor, share):
    """Mean probability of the most similar of 12 candidates, cosines uniform in [-0.5, 0.9]."""
    draws = torch.rand(20_000, 12, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.5
    hardest = torch.softmax(draws / divisor, dim=1).amax(dim=1)
    assert float(hardest.mean()) == pytest.approx(share, abs=0.005)


def test_the_loss_is_the_loops():
    generator = torch.Generator().manual_seed(3)
    same, other, extra = (torch.randn(5, 2, generator=generator) for _ in range(3))
    extra[2] = float("nan")
    plain = [(surprise(s, 1) + surprise(o, 0)) / 2 for s, o in zip(same, other, strict=True)]
    assert float(matching_loss(same, other)) == pytest.approx(np.mean(plain), rel=1e-5)
    everything = torch.cat([same, other])
    truth = torch.tensor([1] * 5 + [0] * 5)
    torch.testing.assert_close(
        matching_loss(same, other), torch.nn.functional.cross_entropy(everything, truth)
    )
    halves = []
    for number in range(5):
        positive = surprise(same[number], 1)
        if number != 2:
            positive = (positive + surprise(extra[number], 1)) / 2
        halves.append((positive + surprise(other[number], 0)) / 2)
    assert float(matching_loss(same, other, extra)) == pytest.approx(np.mean(halves), rel=1e-5)


def test_gradient():
    generator = torch.Generator().manual_seed(3)
    parts = [torch.randn(4, 2, generator=generator, dtype=torch.float64) for _ in range(3)]
    assert torch.autograd.gradcheck(
        lambda same, other, extra: matching_loss(same.double(), other, extra),
        [part.requires_grad_() for part in parts],
        atol=1e-3,
        rtol=1e-2,
        eps=1e-3,
    )


@pytest.mark.parametrize("positives", ["own", "own+same_label"])
def test_hardest_against_loops(positives):
    labels = torch.tensor([0, 1, 2, 0, 1, 1, 2, 0])
    pairs = Pairs()
    options = MEMOptions(negatives="hardest", positives=positives)
    found = MEM(options, CONTEXT)(pairs.output, Targets(labels))
    audio, video = (pairs.output.extras[f"projection:{n}"].numpy() for n in NAMES)
    table = pairs.table.detach().numpy()
    seconds = {
        name: dict(zip(query.tolist(), memory.tolist(), strict=True))
        for name, query, memory in pairs.asked
        if bool((labels[query] == labels[memory]).all())
    }
    expected = []
    for place, (queries, memories) in enumerate([(audio, video), (video, audio)]):
        for i in range(8):
            scores = {j: queries[i] @ memories[j] for j in range(8) if labels[j] != labels[i]}
            worst = max(scores, key=lambda j: scores[j])
            positive = surprise(table[place, i, i], 1)
            if positives != "own":
                j = seconds[NAMES[place]][i]
                assert j != i
                positive = (positive + surprise(table[place, i, j], 1)) / 2
            expected.append((positive + surprise(table[place, i, worst], 0)) / 2)
    assert float(found.detach()) == pytest.approx(np.mean(expected), rel=1e-5)
    assert len(pairs.asked) == (2 if positives == "own" else 4)


def test_one_class_alone_is_skipped():
    pairs = Pairs()
    loss = MEM(MEMOptions(), CONTEXT)(pairs.output, Targets(torch.zeros(8, dtype=torch.long)))
    assert float(loss.detach()) == 0.0
    assert not pairs.asked
    loss.backward()


def test_the_released_form_takes_a_negative_of_its_own_label():
    pairs = Pairs()
    labels = torch.zeros(8, dtype=torch.long)
    options = MEMOptions(legacy=True, reuse_positive=False)
    assert float(MEM(options, CONTEXT)(pairs.output, Targets(labels)).detach()) > 0.0
    assert len(pairs.asked) == 4  # own pairs fused again, and negatives, in each direction


def test_whoever_lacks_a_modality_takes_no_part():
    present = torch.ones(2, 8, dtype=torch.bool)
    present[0, 1] = present[1, 6] = False
    pairs = Pairs(present=present)
    torch.manual_seed(0)
    options = MEMOptions(positives="own+same_label")
    MEM(options, CONTEXT)(pairs.output, Targets(torch.arange(8) % 3))
    for _, query, memory in pairs.asked:
        assert not {1, 6} & {*query.tolist(), *memory.tolist()}


def test_draws_come_from_the_run_in_training_and_from_a_fixed_seed_otherwise():
    term, labels = MEM(MEMOptions(), CONTEXT), Targets(torch.arange(8) % 3)

    def partners():
        pairs = Pairs()
        term(pairs.output, labels)
        return [memory.tolist() for _, _, memory in pairs.asked]

    torch.manual_seed(5)
    first, second = partners(), partners()
    torch.manual_seed(5)
    assert partners() == first
    assert first != second
    term.eval()
    before = torch.get_rng_state()
    assert partners() == partners()
    assert torch.equal(torch.get_rng_state(), before)


def test_without_projections_draws_are_uniform_or_an_error():
    pairs = Pairs()
    extras = {k: v for k, v in pairs.output.extras.items() if not k.startswith("projection")}
    bare = EmotionOutput(pairs.output.logits, extras=extras, rematch=pairs.fuse)
    labels = Targets(torch.arange(8) % 3)
    assert torch.isfinite(MEM(MEMOptions(negatives="uniform"), CONTEXT)(bare, labels))
    with pytest.raises(OptionError, match="'mem' needs a model with projections"):
        MEM(MEMOptions(), CONTEXT)(bare, labels)
    with pytest.raises(OptionError, match="mem: true"):
        MEM(MEMOptions(), CONTEXT)(EmotionOutput(pairs.output.logits), labels)


KINDS = ("hardest/own/reuse", "sampled/own+same_label/again", "uniform/own/reuse")
SIZES = ("4,4", "5,3", "7,1")


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Two gloo processes, each with its share of the items: case -> what each of them found."""
    folder = tmp_path_factory.mktemp("processes")
    script = Path(__file__).with_name("mem_process.py")
    cases = ";".join(f"{kind}:{sizes}" for kind in KINDS for sizes in SIZES)
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
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_are_as_one(kind, sizes, together):
    """Clips of other lengths in each process, two without a modality, one process with one item."""
    value, gradients = measure(0, len(LABELS), kind)
    told = together[f"{kind}:{sizes}"]
    assert np.mean([one["value"] for one in told]) == pytest.approx(value, rel=1e-6)
    assert any(bool(one.any()) for one in gradients.values())
    for one in told:
        for name, expected in gradients.items():
            found = np.asarray(one["gradients"][name])
            np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-9, err_msg=name)


def test_partners_of_the_other_process_are_drawn(together):
    """With its own partners alone, a process would find another value."""
    alone = [measure(0, 4, "hardest/own/reuse")[0], measure(4, 8, "hardest/own/reuse")[0]]
    told = together["hardest/own/reuse:4,4"]
    assert abs(np.mean(alone) - np.mean([one["value"] for one in told])) > 1e-6
