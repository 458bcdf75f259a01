import pytest

from emofuse.evaluation.intervals import Interval
from emofuse.evaluation.report import read_report, report_tables
from emofuse.evaluation.summary import Estimate
from emofuse.evaluation.tables import Table, score_cells


def test_markdown_and_latex_escape_what_they_hold():
    table = Table("a | b", ("run_1", "50 %"), (("<script>|x*\nSPEAKER", "1 ± 2–3"),))
    lines = table.to_markdown().split("\n")
    assert lines[2] == "| run\\_1 | 50 % |"
    assert lines[3] == "| --- | --: |"
    assert lines[4] == "| &lt;script&gt;\\|x\\*<br>SPEAKER | 1 ± 2–3 |"
    latex = table.to_latex()
    assert r"run\_1 & 50 \% \\" in latex
    assert r"1 $\pm$ 2--3" in latex
    assert r"\textless{}script\textgreater{}|x*, SPEAKER" in latex


def test_a_name_of_latex_commands_stays_text():
    text = Table("t", ("a",), ((r"\input{x} $y$ ^~&#",),)).to_latex()
    row = text.split("\n")[5]
    assert row == (r"\textbackslash{}input\{x\} \$y\$ \textasciicircum{}\textasciitilde{}\&\# \\")


@pytest.mark.parametrize(
    ("std", "interval", "expected"),
    [
        (0.0114, Interval(0.7, 0.8), ("74.2 ± 1.1", "70.0–80.0")),
        (None, Interval(None, None), ("74.2", "no interval")),
    ],
)
def test_score_cells(std, interval, expected):
    assert score_cells(Estimate(0.7416, std, None, interval)) == expected


def test_every_table_marks_a_speaker_dependent_run(make_run):
    reports = [
        read_report(make_run("clean"), resamples=50),
        read_report(make_run("leaky", independent="no"), resamples=50),
    ]
    for table in report_tables(reports):
        text = [" ".join(table.columns), *(" ".join(row) for row in table.rows)]
        marked = [line for line in text if "SPEAKER-DEPENDENT" in line]
        leaky = [row for row in table.rows if "leaky" in " ".join(row)]
        assert len(marked) == max(1, len(leaky))
        assert "leaky" in marked[0]
        assert "SPEAKER-DEPENDENT" in table.to_markdown()
        assert "SPEAKER-DEPENDENT" in table.to_latex()


def test_runs_of_different_classes_stand_side_by_side(make_run):
    reports = [
        read_report(make_run("four"), resamples=50),
        read_report(make_run("two", classes=("anger", "fear"), recall=(0.7, 0.8)), resamples=50),
    ]
    recalls = {row[0]: row[1:] for row in report_tables(reports)[2].rows}
    assert recalls["fear"][0] == "not a class"
    assert recalls["sadness"][1] == "not a class"
    assert "(n " in recalls["anger"][1]


def test_a_single_modality_has_no_table_of_shares(make_run, make_frame):
    frame = make_frame().drop(columns="w:text")
    tables = report_tables([read_report(make_run(frame=frame), resamples=50)])
    assert not [table for table in tables if "share of the decision" in table.title]


def test_shares_of_zero_mean_that_the_model_gives_none(make_run, make_frame):
    frame = make_frame().assign(**{"w:audio": 0.0, "w:text": 0.0})
    tables = report_tables([read_report(make_run(frame=frame), resamples=50)])
    assert not [table for table in tables if "share of the decision" in table.title]
