"""Every format of a timeline, read back."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from emofuse.errors import MediaError, OptionError
from emofuse.recognition.answer import Word
from emofuse.recognition.timeline import Segment, Timeline
from emofuse.recognition.timeline_text import TIMELINE_FORMATS, write_timeline
from emofuse.recognition.turns import Turn, name_speakers, read_turns


@pytest.fixture
def timeline():
    def segment(start, end, emotion, share, **more):
        other = "sadness" if emotion == "anger" else "anger"
        shares = {emotion: share, other: 1 - share}
        named = {name: shares[name] for name in ("anger", "sadness")}
        return Segment(
            start=start, end=end, emotion=emotion, probabilities=named, confidence=share, **more
        )

    return Timeline(
        id="my call.wav",
        seconds=4000.0,
        classes=("anger", "sadness"),
        segments=(
            segment(0.5, 2.25, "anger", 0.75, text='a <b> & "c" --> d', vad={"valence": 2.0}),
            segment(3.0, 3.0004, "sadness", 0.5, speaker="anna", too_unsure=True),
            segment(
                3661.5, 3662.0, "sadness", 1.0, words=(Word(start=3661.5, end=3662, text="x"),)
            ),
        ),
        model="linear 0123",
        licence="data: CC0-1.0; encoders: none",
        notes=("a note",),
    )


def test_json_comes_back(timeline):
    assert Timeline.parse(json.loads(write_timeline(timeline, "json"))) == timeline


def test_csv(timeline):
    rows = list(csv.DictReader(io.StringIO(write_timeline(timeline, "csv"))))
    assert [row["emotion"] for row in rows] == ["anger", "sadness", "sadness"]
    assert float(rows[0]["p:anger"]) == 0.75
    assert rows[0]["text"] == 'a <b> & "c" --> d'
    assert (rows[1]["speaker"], rows[1]["too_unsure"]) == ("anna", "yes")


def test_subtitles(timeline):
    srt = write_timeline(timeline, "srt")
    times = re.findall(r"^(\S+) --> (\S+)$", srt, re.MULTILINE)
    assert times[0] == ("00:00:00,500", "00:00:02,250")
    assert times[2] == ("01:01:01,500", "01:01:02,000")
    assert srt.split("\n")[0:3:2] == ["1", '[anger 75%] a <b> & "c" -> d']
    vtt = write_timeline(timeline, "vtt")
    assert vtt.startswith("WEBVTT\n\n")
    assert '<c.anger>[anger 75%] a &lt;b&gt; &amp; "c" -&gt; d</c>' in vtt
    assert "<v anna><c.sadness>" in vtt
    assert vtt.count("-->") == 3


def test_rttm_and_labels(timeline, tmp_path):
    rttm = write_timeline(timeline, "rttm")
    assert all(len(line.split()) == 10 for line in rttm.splitlines())
    (tmp_path / "t.rttm").write_text(rttm)
    turns = read_turns(tmp_path / "t.rttm")
    assert turns[0] == Turn(0.5, 2.25, "anger")
    assert turns[1].speaker == "anna:sadness"
    lines = [line.split("\t") for line in write_timeline(timeline, "audacity").splitlines()]
    assert [float(line[0]) for line in lines] == [0.5, 3.0, 3661.5]
    assert all(len(line) == 3 for line in lines)


def test_page_is_whole_and_safe(timeline):
    page = write_timeline(timeline, "html")
    assert "a &lt;b&gt; &amp;" in page
    assert "<b> &" not in page
    assert not re.search(r"(src|href)\s*=", page)
    assert "prefers-color-scheme: dark" in page
    assert page.count('<div class="what"') == 3
    assert "a note" in page
    assert "anna" in page


@pytest.mark.parametrize("form", TIMELINE_FORMATS)
def test_an_empty_timeline_in_every_format(timeline, form):
    empty = timeline.model_copy(update={"segments": ()})
    assert write_timeline(empty, form) or form in ("srt", "rttm", "audacity")


def test_unknown_format(timeline):
    with pytest.raises(OptionError, match="did you mean 'srt'"):
        write_timeline(timeline, "srtt")


def test_shares_of_the_speaking_time(timeline):
    found = timeline.shares()
    assert found["anger"] == pytest.approx(1.75 / 2.2504)
    assert sum(found.values()) == pytest.approx(1.0)


def test_speakers_by_their_turns(timeline, tmp_path):
    turns = [Turn(0.0, 1.0, "b"), Turn(1.0, 2.5, "c"), Turn(3661.0, 3663.0, "b")]
    named = name_speakers(timeline, turns)
    assert [one.speaker for one in named.segments] == ["c", "anna", "b"]
    bad = tmp_path / "t.rttm"
    bad.write_text("SPEAKER x 1 zero 1 <NA> <NA> a <NA> <NA>\n")
    with pytest.raises(MediaError, match="t.rttm:1 is no SPEAKER line"):
        read_turns(bad)
    bad.write_text("\n")
    with pytest.raises(MediaError, match="no SPEAKER line"):
        read_turns(bad)
