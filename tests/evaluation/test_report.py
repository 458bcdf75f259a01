import base64
import json
import re
from html.parser import HTMLParser

import pytest

from emofuse.evaluation.report import read_report, report_html, report_json, report_tables

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Checker(HTMLParser):
    """Tags must close in order, ids be unique, and nothing be fetched from outside."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.ids, self.sources, self.alts = [], [], [], [], []
        self.levels = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        attrs = dict(attrs)
        assert not [name for name in attrs if name.startswith("on")]
        if "id" in attrs:
            self.ids.append(attrs["id"])
        self.sources += [attrs[n] for n in ("src", "href") if n in attrs]
        if tag == "img":
            assert attrs["alt"].strip()
            self.alts.append(attrs["alt"])
        if tag == "th":
            assert attrs["scope"] in ("row", "col")
        if tag in ("h1", "h2", "h3", "h4"):
            level = int(tag[1])
            assert level <= 1 + (self.levels[-1] if self.levels else 0)  # none is passed over
            self.levels.append(level)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def parse(page):
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    return checker


def one_report(folder):
    return read_report(folder, resamples=100)


def test_the_page_is_sound_and_self_contained(make_run):
    page = report_html([one_report(make_run())])
    found = parse(page)
    assert page.startswith("<!DOCTYPE html>")
    links = [one.removeprefix("#") for one in found.sources if one.startswith("#")]
    assert set(links) <= set(found.ids)  # every link leads somewhere
    pictures = [one for one in found.sources if not one.startswith("#")]
    assert len(pictures) >= 3
    for source in pictures:
        assert source.startswith("data:image/png;base64,")
        assert base64.b64decode(source.partition(",")[2])[:4] == b"\x89PNG"
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert "anger recognised as anger" in found.alts[0]
    for word in ("speaker-independent", "leave-one-speaker-out", "none (scripted)", "fold 3"):
        assert word in found.text
    assert "two recordings are near-identical" in found.text
    assert "openings of test" in found.text


def test_the_page_is_deterministic(make_run):
    folder = make_run()
    assert report_html([one_report(folder)]) == report_html([one_report(folder)])


def test_a_speaker_dependent_page_is_red_and_says_so(make_run):
    page = report_html([one_report(make_run(independent="no"))])
    assert re.search(r'class="stamp no"[^>]*>\s*<strong>SPEAKER-DEPENDENT', page)
    assert 'class="stamp yes"' not in page


def test_everything_is_escaped(make_run, make_frame):
    evil = '<script>alert("x")</script>'
    classes = (evil, "a'b", "&amp;", '"><img src=x onerror=y>')
    folder = make_run("plain", frame=make_frame(classes=classes), classes=classes)
    texts = {"name": evil, "model": {evil: evil}}
    (folder / "recipe.yaml").write_text(json.dumps(texts))
    (folder / "environment.json").write_text(json.dumps({"a": "</pre>" + evil}))
    audit = json.loads((folder / "audit.json").read_text())
    audit |= {"stamp": evil, "protocol": evil, "warnings": [evil, {evil: evil}]}
    audit["text_cue"] = {"verdict": evil, "note": evil}
    (folder / "audit.json").write_text(json.dumps(audit))
    report = one_report(folder)
    for reports in ([report], [report, report]):
        page = report_html(reports)
        found = parse(page)
        assert "script" not in found.tags
        assert found.tags.count("img") == len(found.alts)
        assert all(one.startswith(("#", "data:image/png;base64,")) for one in found.sources)
        assert evil in found.text
    for table in report_tables([report]):
        assert "<script>" not in table.to_markdown()


def test_several_runs_share_a_page(make_run):
    reports = [one_report(make_run("one")), one_report(make_run("two", draw=3))]
    found = parse(report_html(reports))
    assert found.tags.count("section") == 2
    assert "2 runs" in found.text
    assert "paired on common utterances" in found.text
    assert found.levels[0] == 1
    assert found.levels.count(1) == 1


def test_what_is_missing_is_said(make_run):
    folder = make_run()
    for name in ("recipe.yaml", "environment.json", "folds.json", "metrics.json", "audit.json"):
        (folder / name).unlink()
    for history in folder.glob("jobs/*/history.csv"):
        history.unlink()
    found = parse(report_html([one_report(folder)]))
    assert "SPEAKERS UNKNOWN" in found.text
    assert "The run holds no histories" in found.text
    assert "cannot read" in found.text
    assert "not recorded" in found.text


@pytest.mark.parametrize(
    "audit",
    [
        {"folds": "x", "violations": 3, "warnings": None, "text_cue": [1]},
        {"folds": [3, {"sizes": 4}, {"name": 7, "test": {"speaker": 3}}], "text_cue": {}},
        {"folds": [{"test": {"speaker": {"utterances": 5}}, "sizes": {"train": 2}}]},
    ],
)
def test_a_strange_audit_does_not_stop_the_page(make_run, audit):
    folder = make_run()
    (folder / "audit.json").write_text(json.dumps(audit))
    assert "Confusion matrix" in parse(report_html([one_report(folder)])).text


def test_figures_come_from_predictions_not_from_metrics_json(make_run):
    folder = make_run()
    before = report_tables([one_report(folder)]), report_json([one_report(folder)])
    (folder / "metrics.json").write_text(json.dumps({"ua": 1.0, "test_openings": 4}))
    assert (report_tables([one_report(folder)]), report_json([one_report(folder)])) == before


def test_json_holds_the_figures(make_run):
    found = report_json([one_report(make_run(independent="no"))])["runs"][0]
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again["classes"] == list(found["classes"])
    assert found["stamp"] == "SPEAKER-DEPENDENT"
    assert found["test_openings"] == 4
    assert set(found["metrics"]) == {"ua", "wa", "wf1", "mf1"}
    assert found["per_class"][0]["name"] == "anger"


def test_an_encoder_that_knew_the_labels_contaminates(make_run):
    folder = make_run()
    (folder / "bundle").mkdir()
    config = {"encoders": {"audio": {"provenance": {"labelled_on": ["TOY", "other"]}}, "text": 3}}
    (folder / "bundle" / "config.json").write_text(json.dumps(config))
    report = one_report(folder)
    assert report.run.stamp.text == "speaker-independent, CONTAMINATED"
    page = report_html([report])
    assert 'class="stamp no"' in page
    assert "the audio encoder saw toy with labels" in parse(page).text
    assert "CONTAMINATED" in " ".join(report_tables([report])[1].rows[0])


def test_an_adaptation_counts_by_its_utterances_not_by_its_corpus(make_run):
    folder = make_run()
    (folder / "bundle").mkdir()
    provenance = {"labelled_on": ["toy"], "adapted_on": ["toy"]}
    config = {"encoders": {"audio": {"provenance": provenance}}}
    (folder / "bundle" / "config.json").write_text(json.dumps(config))
    assert one_report(folder).run.stamp.text == "speaker-independent"
    audit = json.loads((folder / "audit.json").read_text())
    line = "CONTAMINATED: the audio encoder was adapted, with labels, on 3 of 9 test utterances"
    audit["warnings"] = [*audit.get("warnings", []), line]
    (folder / "audit.json").write_text(json.dumps(audit))
    report = one_report(folder)
    assert report.run.stamp.text == "speaker-independent, CONTAMINATED"
    assert "was adapted, with labels, on 3 of 9" in " ".join(report.run.stamp.contaminated)


@pytest.mark.parametrize(("value", "expected"), [({"a": 2, "b": 3}, 5), (7, 7), (None, None)])
def test_openings_of_test_are_counted(make_run, value, expected):
    folder = make_run()
    (folder / "metrics.json").write_text(json.dumps({"test_openings": value}))
    assert report_json([one_report(folder)])["runs"][0]["test_openings"] == expected
