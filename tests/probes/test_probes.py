"""Each probe finds its defect in a toy that has it, and nothing in one that has not."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from emofuse.errors import OptionError
from emofuse.evaluation.label_leak import LeakResult
from emofuse.options import Options
from emofuse.probes import (
    attention,
    companions,
    gradient,
    leak,
    modality,
    padding,
    switches,
    terms,
)
from emofuse.probes.attention import judge_map
from emofuse.probes.flips import other_values
from emofuse.probes.modality import other_class
from emofuse.probes.report import PROBES, run_probes
from emofuse.probes.verdict import Verdict

INERT = {"spare", "strict"}
"""Options of the toy that change nothing, whatever the others are."""


def test_a_sound_model_has_no_findings(make_bench):
    lines = run_probes(make_bench())
    assert {one.subject for one in lines if one.verdict == "finding"} == INERT
    assert {one.probe for one in lines} == set(PROBES)


@pytest.mark.parametrize("model", ["linear", "mlp", "late-fusion"])
def test_the_plain_models_have_no_findings_on_sequences_and_on_vectors(make_bench, model):
    for lengths in ({"audio": 9, "text": 5}, {"audio": 1, "text": 1}):
        lines = run_probes(make_bench(model, lengths=lengths, dropout=0.2))
        assert [one for one in lines if one.verdict == "finding"] == []


def test_attention_over_one_key_is_found_though_the_model_does_not_report_it(make_bench, findings):
    assert "one key" in findings(attention.probe, make_bench(frames="mean"))["attention"]
    assert (
        "one key"
        in findings(attention.probe, make_bench(lengths={"audio": 1, "text": 5}))["attention"]
    )


def test_attention_that_never_changes_is_found(make_bench, findings):
    assert "stay the same" in findings(attention.probe, make_bench(fixed=True))["attention"]


def test_a_map_is_judged_by_its_keys_and_by_its_change():
    one = torch.softmax(torch.randn(3, 2, 4, 5), dim=-1)
    assert judge_map(one, one).change == 0.0
    assert judge_map(one, one).keys == 5
    alone = torch.zeros(3, 2, 4, 5)
    alone[..., 0] = 1.0
    assert judge_map(alone, alone).keys == 1


def test_unused_parameters_are_told_apart_from_blocked_ones(make_bench):
    lines = gradient.probe(make_bench(spare=True, frames="mean"))
    by_kind = {one.subject: one for one in lines}
    assert by_kind["unused"].numbers["names"] == {"spare.weight": 16, "spare.bias": 4}
    blocked = by_kind["blocked"].numbers["names"]
    assert set(blocked) == {
        f"attention.{part}.{kind}" for part in ("query", "key") for kind in ("weight", "bias")
    }
    width = 16
    assert by_kind["blocked"].numbers["parameters"] == 2 * (width * width + width)
    assert by_kind["blocked"].numbers["without_gradient"] == 2 * (width * width + width) + 20


def test_features_that_no_gradient_comes_back_to_are_found(make_bench, findings):
    assert "blocked" in findings(gradient.probe, make_bench(audio="rounded"))["audio features"]
    assert findings(gradient.probe, make_bench()) == {}


def test_a_parameter_that_moves_only_after_another_is_not_called_blocked(make_bench):
    bench = make_bench()
    model = bench.fresh()
    nn.init.zeros_(model.head.weight)
    batches = [bench.batch(place) for place in range(3)]
    assert gradient.gradient_reach(model, bench.terms(model), batches).without == 0


def test_a_dead_switch_is_found_and_a_refused_one_is_alive(make_bench, findings):
    assert "dead" in findings(switches.probe, make_bench(strict=False))["alpha"]
    lines = switches.probe(make_bench())
    assert {one.subject for one in lines if one.verdict == "finding"} == INERT
    assert lines[-1].numbers["refused"] == ["alpha"]
    mixed = switches.probe(make_bench(mixing=True, alpha=0.4))
    assert "alpha" in mixed[-1].numbers["acts"]


def test_a_switch_that_sets_initial_weights_acts(make_bench):
    assert "gain" in switches.probe(make_bench())[-1].numbers["acts"]


def test_a_branch_that_is_built_and_never_read_is_dead(make_bench, findings):
    assert "20 more parameters" in findings(switches.probe, make_bench())["spare"]


def test_other_values_follow_the_type():
    class Some(Options):
        flag: bool = True
        kind: str = "x"
        rate: float | None = None
        widths: tuple[int, ...] = (8, 4)

    assert other_values(Some, "flag", True) == [False]
    assert other_values(Some, "kind", "x") == []
    assert 0.5 in other_values(Some, "rate", None)
    assert None in other_values(Some, "rate", 0.2)
    assert [16, 4] in other_values(Some, "widths", [8, 4])


def test_dependence_on_the_batch_is_found(make_bench, findings):
    assert "alone" in findings(companions.probe, make_bench(company="always"))["company"]
    assert findings(companions.probe, make_bench()) == {}


def test_dependence_that_these_weights_hide_is_found_with_others(make_bench, findings):
    assert "company" in findings(companions.probe, make_bench(company="seldom"))


def test_dependence_on_padding_is_found_by_modality(make_bench, findings):
    assert set(findings(padding.probe, make_bench(masks=False))) == {"audio"}
    assert findings(padding.probe, make_bench()) == {}


def test_a_modality_without_effect_is_found(make_bench, findings):
    assert set(findings(modality.probe, make_bench(audio="ignored"))) == {"audio"}
    assert findings(modality.probe, make_bench()) == {}


def test_partners_are_of_another_class():
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    assert bool((labels[other_class(labels)] != labels).all())
    assert other_class(torch.zeros(3, dtype=torch.long)).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("constant", "constant"),
        ("detached", "exactly 0"),
        ("divisor", "at own = 0 it is inf"),
        ("stuck", "no gradient: own"),
        ("shrinking", "teaches nothing"),
    ],
)
def test_a_term_that_teaches_nothing_is_found(make_bench, kind, why):
    objective = ({"name": "cross-entropy"}, {"name": "toy-term", "kind": kind})
    lines = terms.probe(make_bench(objective=objective))
    told = {one.subject: one.why for one in lines if one.verdict == "finding"}
    assert set(told) == {"toy-term"}
    found = [one.why for one in lines if one.subject == "toy-term"]
    assert any(why in line for line in found), found


def test_a_policy_that_marks_items_by_label_is_found():
    assert leak.judge_leak(LeakResult(0.9, 0.25, 0.25), "class").verdict == "finding"
    assert leak.judge_leak(LeakResult(0.3, 0.25, 0.25), "random").verdict == "ok"


def test_without_augmentation_there_is_nothing_to_leak(make_bench):
    assert leak.probe(make_bench())[0].verdict == "not applicable"


def test_an_unknown_probe_is_a_wrong_call(make_bench):
    with pytest.raises(OptionError, match="did you mean 'padding'"):
        run_probes(make_bench(), ["paddin"])


def test_the_same_bench_gives_the_same_lines(make_bench):
    first, second = (run_probes(make_bench(company="always")) for _ in range(2))
    assert first == second


def test_json_holds_no_infinity():
    told = Verdict("a", "ok", "b", "c", numbers={"x": float("inf"), "y": [float("nan"), 1.0]})
    assert json.loads(json.dumps(told.to_json(), allow_nan=False))["numbers"] == {
        "x": None,
        "y": [None, 1.0],
    }
