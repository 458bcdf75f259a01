"""Groups of speakers: what each figure rests on, the gap, and what chance would make."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from emofuse.errors import OptionError
from emofuse.evaluation.analysis import analyse
from emofuse.evaluation.analysis_tables import fairness_tables
from emofuse.evaluation.fairness import fairness_of

CLASSES = ("anger", "happiness", "neutral", "sadness")


def number(speaker):
    return int(speaker.split()[1])


def told(frame):
    """Predictions whose speakers have a gender, an age and a language."""
    who = frame["speaker"].map(number)
    return frame.assign(
        gender=np.where(who % 2, "male", "female"),
        age=20.0 + who,
        language=np.where(who < 8, "de", "en"),
        session=(who // 4).astype(str),
    )


def test_every_group_against_scikit_learn(make_frame):
    frame = told(make_frame(speakers=12, seeds=1))
    found = {one.attribute: one for one in fairness_of(frame, CLASSES, resamples=100)}
    assert list(found) == ["speaker", "gender", "age", "language", "session", "corpus"]
    assert [group.name for group in found["age"].groups] == ["20-29", "30-39"]
    for group in found["gender"].groups:
        part = frame[frame["gender"] == group.name]
        gold, said = part["gold"], part["predicted"]
        assert group.metrics["ua"] == pytest.approx(balanced_accuracy_score(gold, said))
        assert group.metrics["wa"] == pytest.approx(accuracy_score(gold, said))
        assert group.metrics["wf1"] == pytest.approx(f1_score(gold, said, average="weighted"))
        assert group.metrics["mf1"] == pytest.approx(f1_score(gold, said, average="macro"))
        assert (group.utterances, group.speakers, group.unit) == (120, 6, "speaker")
        interval = group.intervals["ua"]
        assert interval.low < group.metrics["ua"] < interval.high
        assert not group.small
    assert [group.small for group in found["language"].groups] == [False, True]
    speakers = found["speaker"].groups
    assert len(speakers) == 12
    assert {group.unit for group in speakers} == {"utterance"}
    scores = {group.name: group.metrics["ua"] for group in speakers}
    assert found["speaker"].worst == min(scores, key=scores.get)
    assert found["speaker"].gap == pytest.approx(max(scores.values()) - min(scores.values()))
    assert found["corpus"].notes == ("one group only",)
    assert found["corpus"].p is None


def test_seeds_are_averaged_and_not_counted_as_utterances(make_frame):
    frame = told(make_frame(speakers=12, seeds=3))
    (found,) = fairness_of(frame, CLASSES, ["gender"], resamples=50)
    assert [group.utterances for group in found.groups] == [120, 120]
    for group in found.groups:
        part = frame[frame["gender"] == group.name]
        per_seed = [
            balanced_accuracy_score(one["gold"], one["predicted"])
            for _, one in part.groupby("seed")
        ]
        assert group.metrics["ua"] == pytest.approx(np.mean(per_seed))


def test_a_planted_gap_is_found_and_a_chance_gap_is_not(make_frame):
    good = told(make_frame(speakers=16, per_speaker=40, seeds=1, recall=(0.9,) * 4, draw=1))
    poor = told(make_frame(speakers=16, per_speaker=40, seeds=1, recall=(0.6,) * 4, draw=2))
    mixed = pd.concat([good[good["gender"] == "female"], poor[poor["gender"] == "male"]])
    planted = fairness_of(mixed, CLASSES, ["gender", "session"], resamples=200)[0]
    assert (planted.worst, planted.best) == ("male", "female")
    assert planted.gap == pytest.approx(0.3, abs=0.08)
    assert planted.gap_interval.low > 0.15
    assert planted.p < 0.005
    assert planted.p <= planted.p_holm <= 2 * planted.p
    assert planted.gap_by_chance < 0.15
    even = fairness_of(good, CLASSES, ["gender"], resamples=200)[0]
    assert even.p > 0.05


def test_the_deal_is_fair():
    """Where groups do not differ, p is below 0.1 about one time in ten."""
    random = np.random.default_rng(0)
    below = 0
    for _ in range(120):
        right = random.random((20, 30)) < 0.7 + random.normal(0, 0.1, (20, 1))
        gold = random.integers(0, 2, (20, 30))
        said = np.where(right, gold, 1 - gold)
        frame = pd.DataFrame(
            {
                "id": [f"{s}-{i}" for s in range(20) for i in range(30)],
                "corpus": "toy",
                "seed": 0,
                "speaker": [f"s{s}" for s in range(20) for _ in range(30)],
                "gender": [("a", "b")[s % 2] for s in range(20) for _ in range(30)],
                "gold": np.array(["x", "y"])[gold.ravel()],
                "predicted": np.array(["x", "y"])[said.ravel()],
            }
        )
        below += fairness_of(frame, ("x", "y"), ["gender"], resamples=2)[0].p < 0.1
    assert 3 <= below <= 24  # binomial(120, 0.1): 99.9 % lie here


def test_what_is_missing_is_said(make_frame):
    frame = told(make_frame(speakers=12, seeds=1))
    frame.loc[frame["speaker"] == "speaker 3", "gender"] = None
    frame = frame[~((frame["gender"] == "male") & (frame["gold"] == "anger"))]
    (found,) = fairness_of(frame, CLASSES, ["gender"], resamples=50)
    assert found.unknown == 20
    assert [group.lacks for group in found.groups] == [(), ("anger",)]
    assert any("without some class" in note for note in found.notes)
    assert fairness_of(frame.drop(columns="age"), CLASSES, ["age"]) == ()
    with pytest.raises(OptionError, match="no groups by 'sex'"):
        fairness_of(frame, CLASSES, ["sex"])
    nobody = fairness_of(frame.assign(speaker=None), CLASSES, ["gender"], resamples=50)[0]
    assert nobody.groups[0].speakers is None
    assert nobody.groups[0].unit == "utterance"


def test_corpora_keep_their_speakers_apart(make_frame):
    frame = told(make_frame(speakers=12, seeds=1))
    both = pd.concat([frame, frame.assign(corpus="other")], ignore_index=True)
    found = {one.attribute: one for one in fairness_of(both, CLASSES, resamples=20)}
    assert len(found["speaker"].groups) == 24
    assert found["speaker"].groups[0].name == "other/speaker 0"
    assert [group.speakers for group in found["corpus"].groups] == [12, 12]
    assert len(found["session"].groups) == 6


def test_the_analysis_is_plain_json_and_the_same_each_time(make_frame):
    frame = told(make_frame(speakers=12, seeds=2))
    one, two = (analyse(frame, CLASSES, resamples=100) for _ in range(2))
    assert json.dumps(one.to_json(), allow_nan=False) == json.dumps(two.to_json(), allow_nan=False)
    assert set(one.to_json()) == {
        "calibration", "discrimination", "vad", "fairness", "variance", "power",
    }  # fmt: skip
    tables = fairness_tables(one, "run")
    assert [table.title for table in tables][1] == "run by gender (95 % interval)"
    assert tables[1].rows[-1][0] == "gap"
    assert "by chance" in tables[1].rows[-1][-1]
    assert {row[4] for row in tables[1].rows[:2]} == {"120"}
