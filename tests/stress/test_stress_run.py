"""``evaluate --stress`` on a toy run: exact, resumable, blind to what is not read."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

from emofuse.augment.stress import StressOptions, choose_groups
from emofuse.errors import OptionError, WorkError
from emofuse.evaluation.metrics import scores
from emofuse.evaluation.openings import count_openings
from emofuse.evaluation.predictions import read_predictions
from emofuse.evaluation.stress_table import read_stress, stress_table
from emofuse.storage import read_json
from emofuse.training.again import stress as module
from emofuse.training.again.stress import stress_run

SMALL = StressOptions.parse(
    {
        "groups": ["noise", "gain", "transcript", "missing", "swap"],
        "noise": {"types": ["white", "babble"], "snr": [10, 0], "talkers": 3},
        "gain": [0, -20],
        "words": [0.0, 0.4],
    }
)


@pytest.fixture
def run(toy, tmp_path):
    shutil.copytree(toy / "both", tmp_path / "both")
    return tmp_path / "both"


@pytest.fixture
def answers():
    def read(run, slug):
        return read_predictions(run / "stress" / f"predictions-{slug}.parquet")[0]

    return read


def test_stress_is_measured_against_clean(run, answers):
    openings = count_openings(run)
    found, folder = stress_run(run, SMALL)
    assert count_openings(run) == openings + 1
    stored, _ = read_predictions(run / "predictions.parquet")
    pd.testing.assert_frame_equal(answers(run, "clean"), stored)
    labels = [row["label"] for row in found["conditions"]]
    assert labels[:4] == [f"noise {k} {snr} dB" for k in ("white", "babble") for snr in (10, 0)]
    assert found["skipped"] == {"missing video": "the run has no video: it is unmoved"}
    for slug in ("gain-0-dB", "transcript-0"):  # nothing done: the very same answers
        pd.testing.assert_frame_equal(answers(run, slug), stored)
    rows = {row["label"]: row for row in found["conditions"]}
    assert rows["gain 0 dB"]["difference"] == 0.0
    assert rows["gain 0 dB"]["p"] == 1.0
    worst = rows["noise white 0 dB"]
    frame = answers(run, "noise-white-0-dB")
    assert (frame["predicted"] != stored["predicted"]).mean() == worst["answers_changed"] > 0
    classes = sorted(set(stored["gold"]))
    codes = [
        frame[n].map({c: i for i, c in enumerate(classes)}).to_numpy()
        for n in ("gold", "predicted")
    ]
    assert worst["metrics"]["ua"] == pytest.approx(scores(codes[0], codes[1], 4).ua)
    assert worst["difference"] == pytest.approx(worst["metrics"]["ua"] - worst["clean"])
    interval = worst["difference_interval"]
    assert interval["low"] <= worst["difference"] <= interval["high"]
    assert (folder / "stress.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "stress.svg").read_bytes().startswith(b"<?xml")
    assert len(stress_table(read_stress(run)).rows) == len(labels) + 1
    draws = (folder / "draws" / "noise-babble-0-dB.jsonl").read_text().splitlines()
    assert len(draws) == len(stored)


def test_resumed_is_undisturbed_and_order_does_not_matter(run, toy, tmp_path, monkeypatch, answers):
    whole, _ = stress_run(run, SMALL)
    other = tmp_path / "other"
    shutil.copytree(toy / "both", other)
    judge, done = module.Stress._judge, []

    def killed(self, condition, *rest, **more):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(condition.label)
        judge(self, condition, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(module.Stress, "_judge", killed)
        with pytest.raises(KeyboardInterrupt):
            stress_run(other, SMALL)
    assert not (other / "stress" / "summary.json").exists()
    judged = []

    def counted(self, condition, *rest, **more):
        judged.append(condition.label)
        judge(self, condition, *rest, **more)

    monkeypatch.setattr(module.Stress, "_judge", counted)
    again, _ = stress_run(other, SMALL)
    assert not set(judged) & set(done)
    assert again == whole
    backwards = SMALL.model_copy(update={"groups": tuple(reversed(SMALL.groups))})
    judged.clear()
    turned, _ = stress_run(other, backwards)
    assert not judged  # every condition was there
    strip = lambda found: sorted((r["label"], r["metrics"]["ua"]) for r in found["conditions"])  # noqa: E731
    assert strip(turned) == strip(whole)
    stress_run(other, SMALL.model_copy(update={"seed": 1}))
    assert "noise white 0 dB" in judged  # another seed is another condition
    assert not answers(other, "noise-white-0-dB").equals(answers(run, "noise-white-0-dB"))


@pytest.mark.parametrize(("kept", "other"), [("audio", "transcript,swap"), ("text", "noise,gain")])
def test_what_a_model_does_not_read_cannot_move_it(toy, kept, other):
    with pytest.raises(OptionError, match=r"unmoved"):
        stress_run(toy / kept, choose_groups(SMALL, other))
    found, _ = stress_run(toy / kept, SMALL)
    moved = {row["modality"] for row in found["conditions"]}
    assert moved == {kept}
    assert f"missing {kept}" in found["skipped"]


def test_missing_is_absent_and_not_zeros(run, toy, answers):
    stress_run(run, choose_groups(SMALL, "missing"))
    lost = answers(run, "missing-audio")
    assert np.allclose(lost["w:audio"], 0.0)
    assert len(lost) == len(answers(run, "clean"))


def test_an_utterance_that_cannot_be_heard_is_left_out_on_both_sides(run, monkeypatch):
    from emofuse.errors import MediaError
    from emofuse.training.again import stress_features

    hear = stress_features._hear

    def broken(utterance, *rest):
        if utterance.id == "u03":
            raise MediaError("u03 cannot be read")
        return hear(utterance, *rest)

    monkeypatch.setattr(stress_features, "_hear", broken)
    options = StressOptions.parse({"groups": ["telephone"], "telephone": ["linear"]})
    found, folder = stress_run(run, options)
    row = found["conditions"][0]
    assert (row["failed"], row["utterances"]) == (1, 23)
    note = read_json(folder / "predictions-telephone-linear.json")
    assert note["failed"] == {"u03": "u03 cannot be read"}


def test_an_unfinished_run_is_told(toy, tmp_path):
    with pytest.raises(WorkError, match="is no run"):
        stress_run(toy / "corpus", SMALL)
    shutil.copytree(toy / "both", tmp_path / "half")
    (tmp_path / "half" / "metrics.json").unlink()
    with pytest.raises(WorkError, match="not finished"):
        stress_run(tmp_path / "half", SMALL)
