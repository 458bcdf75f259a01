import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from emofuse.errors import OptionError, WorkError
from emofuse.evaluation.compare import compare_runs
from emofuse.evaluation.paired import holm
from emofuse.evaluation.runs import read_run

GOOD, BAD = (0.9, 0.8, 0.9, 0.85), (0.5, 0.4, 0.5, 0.45)


def runs(make_run, *settings):
    return [read_run(make_run(f"run{i}", **one)) for i, one in enumerate(settings)]


def test_a_clear_difference_is_found(make_run):
    first, second = runs(make_run, {"recall": GOOD, "draw": 1}, {"recall": BAD, "draw": 2})
    found = compare_runs([first, second], "ua", resamples=500)
    pair = found.pairs[0]
    values = [
        np.mean([balanced_accuracy_score(p.gold, p.predicted) for _, p in r.groupby("seed")])
        for r in (first.predictions, second.predictions)
    ]
    assert [pair.first_value, pair.second_value] == pytest.approx(values)
    assert pair.difference == pytest.approx(values[0] - values[1])
    assert pair.interval.low > 0.2
    assert pair.p == pair.smallest_p == 2 / 2**12
    assert (pair.unit, pair.clusters, pair.common, pair.left_out) == ("speaker", 12, 240, 0)
    assert found.notes == ()


def test_a_run_equals_itself(make_run):
    one, two = runs(make_run, {}, {})
    pair = compare_runs([one, two], "wa", resamples=50).pairs[0]
    assert (pair.difference, pair.p) == (0.0, 1.0)


def test_seeds_need_not_be_as_many(make_run):
    one, two = runs(make_run, {"seeds": 1}, {"seeds": 3, "draw": 4})
    pair = compare_runs([one, two], "ua", resamples=50).pairs[0]
    expected = np.mean(
        [balanced_accuracy_score(p.gold, p.predicted) for _, p in two.predictions.groupby("seed")]
    )
    assert pair.second_value == pytest.approx(expected)


def test_three_runs_make_three_corrected_pairs(make_run):
    three = runs(make_run, {"recall": GOOD}, {"recall": BAD, "draw": 1}, {"recall": BAD, "draw": 2})
    found = compare_runs(three, "wf1", resamples=50)
    assert [(p.first, p.second) for p in found.pairs] == [
        ("run0", "run1"),
        ("run0", "run2"),
        ("run1", "run2"),
    ]
    assert [p.p_holm for p in found.pairs] == holm([p.p for p in found.pairs])
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["metric"] == "wf1"


def test_only_common_utterances_count(make_run, make_frame):
    frame = make_frame()
    part = frame[~frame["speaker"].isin(["speaker 0", "speaker 1"])]
    one, two = runs(make_run, {"frame": frame}, {"frame": part})
    pair = compare_runs([one, two], resamples=50).pairs[0]
    assert (pair.common, pair.left_out, pair.clusters) == (200, 40, 10)
    assert pair.difference == 0
    assert any("40 utterances" in note for note in pair.notes)


def test_an_utterance_missing_in_one_seed_is_left_out(make_run, make_frame):
    frame = make_frame(seeds=2)
    one, two = runs(make_run, {"frame": frame}, {"frame": frame.iloc[:-1]})
    pair = compare_runs([one, two], resamples=50).pairs[0]
    assert (pair.common, pair.left_out) == (239, 1)


def test_class_order_does_not_matter(make_run, make_frame):
    frame = make_frame()
    turned = ("sadness", "neutral", "happiness", "anger")
    one, two = runs(make_run, {"frame": frame}, {"frame": frame, "classes": turned})
    assert compare_runs([one, two], "mf1", resamples=50).pairs[0].difference == 0


def test_an_utterance_tested_by_two_folds_counts_once(make_run, make_frame):
    frame = make_frame()
    twice = pd.concat([frame, frame[frame["fold"] == "fold 0"].assign(fold="again")])
    one, two = runs(make_run, {"frame": frame}, {"frame": twice})
    assert compare_runs([one, two], "wa", resamples=50).pairs[0].difference == pytest.approx(0)


def test_different_classes_are_refused(make_run):
    three = ("anger", "happiness", "neutral")
    one, two = runs(make_run, {}, {"classes": three, "recall": (0.5, 0.5, 0.5)})
    with pytest.raises(WorkError, match="different classes .*one label scheme"):
        compare_runs([one, two])


def test_no_common_utterance_is_refused(make_run, make_frame):
    frame = make_frame()
    other = frame.assign(id="x" + frame["id"])
    with pytest.raises(WorkError, match="no test utterance in common"):
        compare_runs(runs(make_run, {"frame": frame}, {"frame": other}))


def test_equal_ids_of_two_corpora_are_not_common(make_run, make_frame):
    frame = make_frame()
    with pytest.raises(WorkError, match="no test utterance in common"):
        compare_runs(runs(make_run, {"frame": frame}, {"frame": frame.assign(corpus="b")}))


def test_gold_that_differs_is_refused(make_run):
    with pytest.raises(WorkError, match="differ in gold of .* utterances, for one 's0-"):
        compare_runs(runs(make_run, {"gold_draw": 1}, {"gold_draw": 2}))


def test_speaker_dependence_is_visible(make_run):
    one, two = runs(make_run, {}, {"independent": "no"})
    notes = compare_runs([one, two], resamples=50).notes
    assert any("run1 is SPEAKER-DEPENDENT (protocol random)" in note for note in notes)
    assert any("protocols differ" in note for note in notes)
    assert any("side by side" in note for note in notes)


def test_few_speakers_cannot_reach_significance(make_run):
    pair = compare_runs(
        runs(make_run, {"speakers": 4, "recall": GOOD}, {"speakers": 4, "recall": BAD})
    ).pairs[0]
    assert pair.smallest_p == 2 / 16
    assert any("too few speakers" in note for note in pair.notes)


def test_equal_names_are_told_apart(make_run, make_frame, tmp_path):
    one = make_run("a", recall=GOOD)
    two = make_run("b", recall=BAD)
    (two / "recipe.yaml").write_text((one / "recipe.yaml").read_text())
    pair = compare_runs([read_run(one), read_run(two)], resamples=50).pairs[0]
    assert pair.first != pair.second


def test_the_call_must_make_sense(make_run):
    one = runs(make_run, {})
    with pytest.raises(OptionError, match="two runs"):
        compare_runs(one)
    with pytest.raises(OptionError, match="unknown metric 'uar'.*did you mean 'ua'"):
        compare_runs(one * 2, "uar")
