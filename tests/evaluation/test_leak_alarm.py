"""A score of words alone above chance, where words carry nothing, is a leak alarm."""

from __future__ import annotations

import json

import yaml

from emofuse.evaluation.report import leak_alarm, read_report, report_html, report_notes


def text_run(folder, encoders=("text",), verdict="none (scripted)"):
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["encoders"] = {name: {"name": "x"} for name in encoders}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    audit = json.loads((folder / "audit.json").read_text())
    audit["text_cue"]["verdict"] = verdict
    (folder / "audit.json").write_text(json.dumps(audit))
    return read_report(folder, resamples=200)


def test_words_that_beat_chance_raise_the_alarm(make_run):
    report = text_run(make_run())
    assert report.summary.metrics["ua"].interval.low > report.summary.chance_ua
    assert report_notes(report)[0].startswith("LEAK ALARM: words alone reach UA ")
    assert "LEAK ALARM" in report_html([report])


def test_no_alarm_with_audio_or_where_words_may_tell(make_run):
    assert leak_alarm(text_run(make_run("a"), encoders=("audio", "text"))) is None
    assert leak_alarm(text_run(make_run("b"), verdict="some")) is None


def test_no_alarm_at_chance(make_run, make_frame):
    frame = make_frame()
    shuffled = frame["gold"].sample(frac=1.0, random_state=0).to_list()
    report = text_run(make_run(frame=frame.assign(gold=shuffled)))
    assert report.summary.metrics["ua"].mean < report.summary.chance_ua + 0.1
    assert leak_alarm(report) is None
