"""``emofuse evaluate`` from the command line."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from emofuse.cli.app import app, main
from emofuse.evaluation.report import read_report, report_html

from .conftest import make_corpus


@pytest.fixture
def run(toy, tmp_path, monkeypatch):
    shutil.copytree(toy / "both", tmp_path / "both")
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    return tmp_path / "both"


def call(*words):
    return CliRunner().invoke(app, ["evaluate", *map(str, words)], catch_exceptions=False)


def test_table_and_json_of_stress_tell_the_same(run):
    words = ("gain=[-20]", "opus=[12]", "mp3=[]", "words=[0.4]")
    shown = call(run, "--stress", "gain,codec,transcript,missing", *words)
    assert shown.exit_code == 0, shown.output
    asked = call(run, "--stress", "gain,codec,transcript,missing", *words, "--json")
    found = json.loads(asked.stdout)
    labels = [row["label"] for row in found["conditions"]]
    assert labels[:3] == ["codec opus 12 kbit/s", "gain -20 dB", "transcript 40 %"]
    for row in found["conditions"]:
        assert row["label"] in shown.stdout
        assert f"{100 * row['metrics']['ua']:.1f}" in shown.stdout
    assert "transcript 40 %: word error rate" in shown.stderr
    assert "not tried, the run has no video: it is unmoved: missing video" in shown.stderr
    page = report_html([read_report(run, resamples=50)])
    assert "Hardest:" in page


def test_stress_alone_means_every_kind(run, monkeypatch):
    from emofuse.training.again import stress

    asked = []

    def seen(folder, options, progress, who):
        asked.append((folder, options.groups, options.seed))
        raise KeyboardInterrupt

    monkeypatch.setattr(stress, "stress_run", seen)
    for words in (
        (run, "--stress"),
        (run, "--stress", "--json"),
        ("--stress", run),
        (run, "--stress", "seed=3"),
        (run, "--stress", "all", "seed=3"),
    ):
        CliRunner().invoke(app, ["evaluate", *map(str, words)])
    assert [one[0] for one in asked] == [run] * 5
    assert len({one[1] for one in asked}) == 1
    assert [one[2] for one in asked] == [0, 0, 0, 3, 3]


def test_plain_evaluations_print_table_and_stamp(run, tmp_path):
    again = call(run)
    assert "own test parts" in again.stdout
    assert "equal predictions.parquet to the last bit" in again.stderr
    other = make_corpus(tmp_path / "far", 8, first=100, corpus="far")
    far = call(run, other, "--name", "far")
    assert "speaker-independent: yes" in far.stdout
    assert str(run / "evaluations" / "far") in far.stderr


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--stress", "nosie"], 2, "did you mean 'noise'"),
        (["--stress", "noise.sn=[3]"], 2, "did you mean 'snr'"),
        (["--stress", "all", "other.jsonl"], 2, "leave the manifest out"),
        (["seed=3"], 2, "give --stress with it"),
        (["a.jsonl", "b.jsonl"], 2, "one manifest at a time"),
        (["--models", "best"], 2, "legal: folds, bundle"),
        (["nowhere.jsonl"], 1, "cannot read nowhere.jsonl"),
        (["--stress", "fleser-noise"], 1, "noisex92"),
    ],
)
def test_a_wrong_call_is_one_line(run, words, status, said, monkeypatch, capfd):
    monkeypatch.setattr("sys.argv", ["emofuse", "evaluate", str(run), *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == status
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert said in lines[0]
