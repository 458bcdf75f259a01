import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from emofuse.cli.app import app
from emofuse.errors import OptionError, UsageError, WorkError

runner = CliRunner()


def call(*arguments):
    return runner.invoke(app, [str(one) for one in arguments], catch_exceptions=True)


def test_report_prints_tables_and_writes_the_page(make_run):
    folder = make_run("mine", independent="no")
    found = call("report", folder)
    assert found.exit_code == 0
    assert "SPEAKER-DEPENDENT" in found.stdout
    assert "UA" in found.stdout
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(("flag", "start"), [("--markdown", "**scores"), ("--latex", "% scores")])
def test_report_in_other_forms(make_run, flag, start):
    assert call("report", make_run("mine"), flag).stdout.startswith(start)


def test_report_of_several_runs_on_one_page(make_run, tmp_path):
    one, two = make_run("one"), make_run("two", draw=2)
    found = call("report", one, two, "--json", "--html", tmp_path / "both.html")
    assert [run["name"] for run in json.loads(found.stdout)["runs"]] == ["one", "two"]
    assert "2 runs" in (tmp_path / "both.html").read_text()
    assert not (one / "report.html").exists()


def test_report_of_a_run_with_a_missing_file_says_so(make_run):
    folder = make_run("mine")
    (folder / "audit.json").unlink()
    found = call("report", folder)
    assert found.exit_code == 0
    assert "audit.json" in found.stderr
    assert "SPEAKERS UNKNOWN" in found.stdout


def test_wrong_calls_are_told_apart_from_failed_work(make_run, tmp_path):
    folder = make_run("mine")
    assert isinstance(call("report", folder, "--json", "--latex").exception, UsageError)
    assert isinstance(call("report", tmp_path / "none").exception, WorkError)
    assert isinstance(call("compare", folder).exception, OptionError)
    assert isinstance(call("compare", folder, folder, "--metric", "f1").exception, OptionError)
    assert call("report").exit_code == 2


def test_compare_prints_a_table_or_json(make_run):
    one, two = make_run("one"), make_run("two", independent="no", draw=4)
    found = call("compare", one, two)
    assert found.exit_code == 0
    assert "SPEAKER-DEPENDENT" in found.stdout
    assert "two is SPEAKER-DEPENDENT (protocol random)" in found.stderr
    pair = json.loads(call("compare", one, two, "--metric", "wa", "--json").stdout)["pairs"][0]
    assert pair["common"] == 240


@pytest.mark.parametrize("verb", ["report", "compare"])
def test_help_has_an_example(verb):
    assert f"Example: emofuse {verb}" in call(verb, "--help").stdout


def test_naming_the_verbs_loads_nothing_heavy():
    code = (
        "import sys, emofuse.cli.report_, emofuse.cli.compare_, emofuse.evaluation.metrics, "
        "emofuse.evaluation.predictions\n"
        "print(sorted({'pandas', 'pyarrow', 'matplotlib', 'jinja2', 'torch'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_groups_and_forms_of_a_report(make_run, make_frame):
    frame = make_frame()
    frame["gender"] = ["female" if s[-1] in "02468" else "male" for s in frame["speaker"]]
    folder = make_run(frame=frame)
    shown = runner.invoke(app, ["report", str(folder), "--by", "gender, speaker"])
    assert shown.exit_code == 0
    for part in ("by gender (95 % interval)", "female", "by speaker", "by chance", "ROC AUC"):
        assert part in shown.stdout
    assert "cannot be told from noise" in shown.stderr
    starts = {"markdown": "**scores", "latex": "% scores", "html": "<table>", "json": "{"}
    for form, start in starts.items():
        result = runner.invoke(app, ["report", str(folder), "--format", form, "--by", "gender"])
        assert result.exit_code == 0
        assert result.stdout.startswith(start)
        assert "female" in result.stdout
    wrong = runner.invoke(app, ["report", str(folder), "--by", "sex"])
    assert "no groups by 'sex'" in str(wrong.exception)
    assert "unknown format" in str(
        runner.invoke(app, ["report", str(folder), "--format", "pdf"]).exception
    )
    both = runner.invoke(app, ["report", str(folder), "--format", "json", "--latex"])
    assert "exclude one another" in str(both.exception)
