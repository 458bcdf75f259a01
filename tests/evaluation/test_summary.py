import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from emofuse.errors import WorkError
from emofuse.evaluation.summary import summarise

CLASSES = ("anger", "happiness", "neutral", "sadness")


def test_metrics_come_from_all_folds_at_once_and_are_averaged_over_seeds(make_frame):
    frame = make_frame(speakers=7, per_speaker=13, seeds=3, folds=3)
    found = summarise(frame, CLASSES, resamples=200)
    parts = [part for _, part in frame.groupby("seed")]
    twins = {
        "ua": [balanced_accuracy_score(p.gold, p.predicted) for p in parts],
        "wa": [accuracy_score(p.gold, p.predicted) for p in parts],
        "wf1": [f1_score(p.gold, p.predicted, average="weighted") for p in parts],
        "mf1": [f1_score(p.gold, p.predicted, average="macro") for p in parts],
    }
    for name, values in twins.items():
        assert found.metrics[name].mean == pytest.approx(np.mean(values))
        assert found.metrics[name].std_seeds == pytest.approx(np.std(values, ddof=1))
        interval = found.metrics[name].interval
        assert interval.low < found.metrics[name].mean < interval.high
    assert (found.utterances, found.speakers, found.folds, found.seeds) == (91, 7, 3, 3)
    assert found.confusion.sum() == 3 * 91


def test_spread_over_folds(make_frame):
    frame = make_frame(seeds=2, folds=4)
    found = summarise(frame, CLASSES, resamples=50)
    by_fold = [
        np.mean([balanced_accuracy_score(q.gold, q.predicted) for _, q in p.groupby("seed")])
        for _, p in frame.groupby("fold")
    ]
    assert found.metrics["ua"].std_folds == pytest.approx(np.std(by_fold, ddof=1))
    assert [row.metrics["ua"] for row in found.per_fold] == pytest.approx(by_fold)
    assert [row.utterances for row in found.per_fold] == [60] * 4


def test_one_seed_and_fold_have_no_spread(make_frame):
    found = summarise(make_frame(seeds=1, folds=1), CLASSES, resamples=50)
    assert found.metrics["ua"].std_seeds is None
    assert found.metrics["ua"].std_folds is None


def test_known_numbers(rows_to_frame):
    rows = [("a", "f", 0, 0, 0, 0), ("b", "f", 0, 0, 0, 1), ("c", "f", 0, 1, 1, 1)]
    found = summarise(rows_to_frame(rows), CLASSES, resamples=50)
    assert found.metrics["ua"].mean == 0.75
    assert found.chance_ua == 0.5
    assert found.majority_wa == pytest.approx(2 / 3)
    assert [row.recall for row in found.per_class] == [0.5, 1.0, None, None]
    assert [row.support for row in found.per_class] == [2, 1, 0, 0]
    assert any("neutral, sadness" in note for note in found.notes)
    assert found.per_fold[0].absent == ("neutral", "sadness")


def test_weights_are_averaged_overall_and_by_class(rows_to_frame):
    frame = rows_to_frame([("a", "f", 0, 0, 0, 0), ("b", "f", 0, 0, 1, 1)])
    frame["w:audio"], frame["w:text"] = [0.2, 0.6], [0.8, 0.4]
    found = summarise(frame, CLASSES, resamples=50)
    assert found.weights == pytest.approx({"audio": 0.4, "text": 0.6})
    assert found.class_weights["audio"] == pytest.approx({"anger": 0.2, "happiness": 0.6})


def test_an_incomplete_run_and_repeated_tests_are_said(make_frame):
    frame = make_frame(seeds=2)
    cut = summarise(frame.iloc[:-3], CLASSES, resamples=50)
    assert any("incomplete" in note for note in cut.notes)
    repeated = summarise(pd.concat([frame, frame.assign(fold="again")]), CLASSES, resamples=50)
    assert any("another fold" in note for note in repeated.notes)
    assert repeated.utterances == 240


def test_unknown_speakers_are_not_counted(make_frame):
    found = summarise(make_frame(seeds=1).assign(speaker=None), CLASSES, resamples=50)
    assert found.speakers is None
    assert found.unit == "utterance"


def test_is_plain_json(make_frame):
    text = json.dumps(summarise(make_frame(), CLASSES, resamples=50).to_json(), allow_nan=False)
    assert json.loads(text)["metrics"]["ua"]["interval"]["level"] == 0.95


def test_nothing_to_sum_up(make_frame):
    with pytest.raises(WorkError, match="no predictions"):
        summarise(make_frame(seeds=1).iloc[:0], CLASSES)
