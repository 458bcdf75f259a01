import json
import math

import pytest

from emofuse.errors import WorkError
from emofuse.evaluation.runs import read_run


def test_a_whole_run_has_no_problems(make_run):
    run = read_run(make_run("mine"))
    assert run.problems == ()
    assert run.name == "mine"
    assert run.stamp.text == "speaker-independent"
    assert run.stamp.protocol == "leave-one-speaker-out"
    assert len(run.histories) == 8
    assert run.histories[0].columns["dev_ua"][:2] == (0.5, 0.55)
    assert set(run.folds["fold 1"]) == {"train", "dev", "test"}


def test_missing_runs_are_named(tmp_path, make_run):
    with pytest.raises(WorkError, match="no run directory"):
        read_run(tmp_path / "nowhere")
    folder = make_run()
    (folder / "predictions.parquet").unlink()
    with pytest.raises(WorkError, match="no predictions.parquet"):
        read_run(folder)


@pytest.mark.parametrize(
    "file", ["recipe.yaml", "environment.json", "folds.json", "metrics.json", "audit.json"]
)
@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[1, 2]", b"\xff\xfe\x00", b"3", b"[" * 2000]
)
def test_a_broken_side_file_is_one_line_and_the_rest_is_read(make_run, file, content):
    folder = make_run(speakers=4, per_speaker=4, seeds=1)
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    run = read_run(folder)
    assert run.problems
    assert file in run.problems[0]
    assert all("\n" not in line for line in run.problems)
    assert len(run.predictions) == 16


def test_without_an_audit_independence_is_unknown(make_run):
    folder = make_run()
    (folder / "audit.json").unlink()
    (folder / "recipe.yaml").write_text("protocol: {name: stratified}")
    stamp = read_run(folder).stamp
    assert (stamp.text, stamp.protocol) == ("SPEAKERS UNKNOWN", "stratified")


def test_an_audit_that_contradicts_the_folds_is_not_believed(make_run):
    folder = make_run(independent="no")
    audit = json.loads((folder / "audit.json").read_text())
    (folder / "audit.json").write_text(json.dumps({**audit, "speaker_independent": "yes"}))
    run = read_run(folder)
    assert run.stamp.text == "SPEAKER-DEPENDENT"
    assert "12 speakers are in train and test" in run.problems[0]


def test_an_audit_without_a_verdict_is_said(make_run):
    folder = make_run()
    (folder / "audit.json").write_text(json.dumps({"protocol": "p", "new_key": [1]}))
    run = read_run(folder)
    assert run.stamp.text == "SPEAKERS UNKNOWN"
    assert any("does not say" in line for line in run.problems)


def test_missing_and_foreign_predictions_are_counted(make_run):
    folder = make_run()
    folds = json.loads((folder / "folds.json").read_text())
    folds["folds"][0]["test"][:2] = ["other"]
    (folder / "folds.json").write_text(json.dumps(folds))
    problems = read_run(folder).problems
    assert "seed 0: 1 test utterances have no prediction" in problems
    assert "seed 1: 2 predictions are of no test utterance" in problems


def test_folds_that_lack_a_fold(make_run):
    folder = make_run()
    folds = json.loads((folder / "folds.json").read_text())
    folds["folds"].pop(0)
    (folder / "folds.json").write_text(json.dumps(folds))
    assert any("fold 'fold 0'" in line for line in read_run(folder).problems)


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"epoch,loss\n", b"\xff\xff,\n"])
def test_a_broken_history_is_left_out_and_said(make_run, content):
    folder = make_run()
    (folder / "jobs" / "fold_0-0" / "history.csv").write_bytes(content)
    run = read_run(folder)
    assert len(run.histories) == 7
    assert "fold_0-0" in run.problems[0]


def test_holes_in_a_history_are_no_numbers(make_run):
    folder = make_run()
    text = "epoch,loss,dev_ua\n0,0.5\n1,x,0.25\n"
    (folder / "jobs" / "fold_0-0" / "history.csv").write_text(text)
    columns = read_run(folder).histories[0].columns
    assert math.isnan(columns["dev_ua"][0])
    assert math.isnan(columns["loss"][1])
    assert columns["dev_ua"][1] == 0.25
