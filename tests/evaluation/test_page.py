"""What the page shows beside the scores: mistakes with sound, stress, groups, explanations."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
import soundfile

from emofuse.augment.stress import Condition
from emofuse.evaluation.listening import LONGEST_SECONDS, Recordings
from emofuse.evaluation.page_parts import calibration_part, curves_part, fairness_part
from emofuse.evaluation.report import read_report, report_html
from emofuse.evaluation.shown_errors import choose_errors
from emofuse.evaluation.stress_plot import stress_png, stress_svg
from emofuse.evaluation.stress_summary import stress_summary
from emofuse.manifest import Manifest, Utterance
from emofuse.media.audio import write_wav
from emofuse.storage import write_json

from . import browser
from .conftest import CLASSES
from .test_report import parse

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def page_of(folder, **options):
    return report_html([read_report(folder, resamples=100)], **options)


@pytest.fixture
def heard(make_run, tmp_path):
    """A run whose manifest, with audio, is at hand."""

    def make(corpus="toy", seconds=1.0):
        folder = make_run(corpus)
        names = sorted(set(read_report(folder, resamples=10).run.predictions["id"]))
        tone = np.sin(2 * np.pi * 330 * np.arange(int(16_000 * seconds)) / 16_000) * 0.2
        write_wav(tmp_path / "tone.wav", tone.astype(np.float32))
        utterances = [
            Utterance(id=name, corpus=corpus, audio="tone.wav", text=f"<b>said</b> {name}")
            for name in names
        ]
        Manifest(utterances, tmp_path).save(tmp_path / "toy.jsonl")
        recipe = {"name": "toy", "data": {"manifest": [str(tmp_path / "toy.jsonl")]}}
        (folder / "recipe.yaml").write_text(json.dumps(recipe))
        return folder

    return make


def sounds(page):
    found = [one for one in parse(page).sources if one.startswith("data:audio")]
    return [base64.b64decode(one.partition(",")[2]) for one in found]


def test_mistakes_can_be_read_and_heard(heard):
    folder = heard()
    page = page_of(folder)
    found = sounds(page)
    assert len(found) == 8
    wave, rate = soundfile.read(io.BytesIO(found[0]))
    assert rate == 16_000
    assert len(wave) == pytest.approx(16_000, abs=2500)
    spectrum = np.abs(np.fft.rfft(wave[4000:12000]))
    assert np.fft.rfftfreq(8000, 1 / rate)[spectrum.argmax()] == pytest.approx(330, abs=4)
    assert "<b>said</b>" in parse(page).text  # as text, not as markup
    assert "media-src data:" in page
    assert not sounds(page_of(folder, audio=False))


def test_recordings_stay_small_and_stay_home_where_they_must(heard, monkeypatch):
    folder = heard(seconds=40.0)
    (longest, *_) = sounds(page_of(folder))
    wave, rate = soundfile.read(io.BytesIO(longest))
    assert len(wave) / rate < LONGEST_SECONDS + 0.3
    monkeypatch.setattr("emofuse.evaluation.listening.LARGEST_BYTES", 2 * len(longest))
    page = page_of(folder)
    assert len(sounds(page)) == 2
    assert "MB of audio is put in" in parse(page).text
    closed = page_of(heard(corpus="iemocap"))
    assert not sounds(closed)
    assert "no audio of iemocap" in parse(closed).text
    named = parse(page_of(heard(corpus="ravdess"))).text
    assert "Recordings: ravdess: CC BY-NC-SA 4.0" in named


def test_a_manifest_that_is_gone_is_said(make_run):
    folder = make_run()
    recipe = {"name": "toy", "data": {"manifest": ["nowhere.jsonl"]}}
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    assert "texts and audio are not at hand" in parse(page_of(folder)).text
    assert Recordings({}).find("u") is None


def test_mistakes_are_chosen_by_confidence(make_frame):
    frame = make_frame(recall=(0.5, 0.5, 0.5, 0.5), seeds=1)
    random = np.random.default_rng(0)
    names = [f"p:{name}" for name in CLASSES]
    shares = random.dirichlet(np.ones(4), len(frame))
    order = np.argsort(-shares, axis=1)
    frame[names] = shares
    frame["predicted"] = [CLASSES[place] for place in order[:, 0]]
    chosen = choose_errors(frame, CLASSES, most=3)
    wrong = frame[frame["gold"] != frame["predicted"]]
    sure = wrong[names].max(axis=1).sort_values()
    assert [one.confidence for one in chosen[:3]] == sure.tolist()[::-1][:3]
    assert [one.confidence for one in chosen[3:]] == sure.tolist()[:3]
    assert len({one.id for one in chosen}) == 6
    assert all(one.gold != one.predicted for one in chosen)
    assert choose_errors(frame, CLASSES) == choose_errors(frame.sample(frac=1.0), CLASSES)
    right = frame[frame["gold"] == frame["predicted"]]
    assert choose_errors(right, CLASSES) == ()


def summary_of(clean, worse):
    conditions = [
        Condition("noise", "white", level, f"noise white {level:g} dB", "audio")
        for level in (20.0, 0.0)
    ]
    found = stress_summary(
        clean,
        [(conditions[0], clean, ""), (conditions[1], worse, "a note")],
        CLASSES,
        resamples=200,
    )
    from dataclasses import asdict

    plain = asdict(found)
    plain["conditions"] = plain.pop("rows")
    return json.loads(json.dumps(plain))


def test_stress_is_shown_as_picture_and_table(make_run, make_frame):
    folder = make_run()
    clean = read_report(folder, resamples=10).run.predictions
    worse = clean.copy()
    flip = worse.index[worse.index % 3 == 0]
    names = [f"p:{name}" for name in CLASSES]
    worse.loc[flip, names] = np.roll(worse.loc[flip, names].to_numpy(), 1, axis=1)
    worse["predicted"] = [CLASSES[place] for place in worse[names].to_numpy().argmax(axis=1)]
    found = summary_of(clean, worse)
    same, hard = found["conditions"]
    assert same["difference"] == 0.0
    assert (same["p"], same["answers_changed"]) == (1.0, 0.0)
    assert hard["difference"] < -0.1
    assert hard["difference_interval"]["high"] < 0
    assert stress_png(found) == stress_png(found)
    assert stress_svg(found) == stress_svg(found)
    write_json(folder / "stress" / "summary.json", found)
    text = parse(page_of(folder)).text
    assert "Hardest: noise white 0 dB" in text
    assert "a note" in text


def test_damaged_figures_of_stress_do_not_stop_the_page(make_run):
    folder = make_run()
    for value in ([1], {"conditions": 3}, {"conditions": [{}]}, {"conditions": [], "clean": {}}):
        write_json(folder / "stress" / "summary.json", value)
        assert "cannot be shown" in parse(page_of(folder)).text


def test_explanations_that_lie_there_are_put_in(make_run):
    folder = make_run()
    frame = read_report(folder, resamples=10).run.predictions
    first = choose_errors(frame, CLASSES)[0].id
    images = [{"file": "map.png", "caption": "<i>where</i>"}, {"file": "../../x.png"}, 3]
    for name, slug in ((first, "one"), ("elsewhere", "two")):
        place = folder / "explanations" / slug
        place.mkdir(parents=True)
        (place / "map.png").write_bytes(PNG)
        note = {"id": name, "title": f"why {name}", "images": images, "notes": ["a <b>note</b>"]}
        write_json(place / "summary.json", note)
    (folder / "explanations" / "bad").mkdir()
    (folder / "explanations" / "bad" / "summary.json").write_text("{")
    (folder / "x.png").write_bytes(b"no picture")
    found = parse(page_of(folder))
    assert found.alts.count("<i>where</i>") == 2
    assert "why elsewhere" in found.text
    assert found.text.count("a <b>note</b>") == 2


def measured(value):
    return {"value": value, "interval": {"low": value - 0.05, "high": value + 0.05, "level": 0.95}}


def test_calibration_is_shown_before_and_after():
    quality = {
        "calibration_error": measured(0.12),
        "brier": measured(0.4),
        "likelihood": measured(0.9),
        "bins": [{"low": 0.0, "high": 1.0, "items": 3, "confidence": 0.5, "accuracy": 0.6}],
    }
    sets = {"coverage": measured(0.9), "size": measured(1.6)}
    figures = {
        "calibration": {"raw": quality, "calibrated": quality, "sets": sets, "silence": None}
    }
    found = calibration_part(figures)
    assert [row[0] for row in found["rows"]] == ["as the model gave them", "calibrated on dev"]
    assert found["rows"][0][1] == "12.0 (7.0 to 17.0)"
    assert len(found["pictures"]) == 2
    assert ("emotions in a set", "1.60 (1.55 to 1.65)") in found["facts"]


def test_curves_and_groups_are_shown_where_they_were_analysed():
    one = {"name": "anger", "auc": measured(0.8), "ap": None, "roc": [[0, 0], [1, 1]]}
    found = curves_part({"discrimination": {"classes": [one], "mean": {"name": "mean"}}})
    assert found["rows"] == [("anger", "80.0 (75.0 to 85.0)", "–"), ("mean", "–", "–")]
    assert len(found["pictures"]) == 1
    group = {
        "utterances": 40,
        "speakers": 6,
        "metrics": {"ua": 0.5},
        "intervals": {"ua": {"low": 0.4, "high": None}},
        "small": True,
    }
    fairness = {
        "groups": [{"name": "<f>", **group}, {"name": "m", **group}],
        "worst": "<f>",
        "best": "m",
        "gap": 0.1,
        "gap_by_chance": 0.05,
        "p_holm": 0.2,
        "notes": [],
    }
    figures = {"fairness": {"gender": fairness}, "metrics": {"ua": {"mean": 0.5}}}
    (part,) = fairness_part(figures)
    assert part["rows"][0] == ("<f>", "50.0", "none", "40", "6", "few")
    assert "gap 10.0 points, where 5.0 are to be expected" in part["verdict"]
    assert fairness_part({}) == []


@pytest.mark.slow
@pytest.mark.skipif(browser.find() is None, reason="no Chromium here")
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_a_telephone_and_complains_of_nothing(heard, make_run, tmp_path, dark):
    pytest.importorskip("websockets")
    folder = heard()
    long = "a-very-long-word-without-a-blank-" * 8
    recipe = json.loads((folder / "recipe.yaml").read_text())
    (folder / "recipe.yaml").write_text(json.dumps({**recipe, "name": long[:180]}))
    reports = [read_report(one, resamples=50) for one in (folder, make_run("two", draw=1))]
    for number, shown in enumerate(([reports[0]], reports)):
        path = tmp_path / f"page{number}.html"
        path.write_text(report_html(shown), encoding="utf-8")
        with browser.opened(path, 360, 800, dark) as tab:
            assert tab.value("window.innerWidth") == 360
            assert tab.value("document.documentElement.scrollWidth") <= 360
            back = tab.value("getComputedStyle(document.body).backgroundColor")
            assert (back == "rgb(20, 23, 28)") is dark
            assert tab.value("[...document.images].every(i => i.naturalWidth > 0)")
            assert tab.complaints == []
