"""The page in a real browser: upload, record, listen, play, download, and what goes wrong.

``EMOFUSE_SHOTS=FOLDER`` says where the pictures go (``docs/images`` for those of the manual), and
``EMOFUSE_SHOTS_MODEL=RUN`` which model they show.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from emofuse.recognition.answer import Transcript, Word
from emofuse.recognition.recognizer import Recognizer
from emofuse.recognition.timeline import TimelineOptions
from emofuse.recognition.timeline_text import write_timeline


def _browser():
    spec = importlib.util.spec_from_file_location(
        "emofuse_tests_server_browser", Path(__file__).parent / "browser.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


browser = _browser()
visit = browser.visit
pytestmark = pytest.mark.skipif(browser.find() is None, reason="there is no Chromium here")
DONE = "document.getElementById('status').textContent.startsWith('Done')"
TROUBLE = "!document.getElementById('problem').hidden"


class Ears:
    """A transcriber that always hears the same."""

    name = "whisper-of-tests"

    def transcribe(self, waveform, rate):
        words = (Word(start=0.1, end=0.4, text="so"), Word(start=0.5, end=0.9, text="late"))
        return Transcript(text="so late", words=words, confidence=0.9)


class Feeling(Recognizer):
    """A recogniser that also gives dimensions."""

    def answer_loaded(self, chunk):
        return [self._felt(one) for one in super().answer_loaded(chunk)]

    def recognise_many(self, *given, **named):
        return [self._felt(one) for one in super().recognise_many(*given, **named)]

    def _felt(self, one):
        if one.emotion is None:
            return one
        vad = {"valence": 1.5 + 3 * one.probabilities["happiness"], "arousal": 4.2, "dominance": 3}
        return one.model_copy(update={"vad": vad})


@pytest.fixture(scope="module")
def files(tmp_path_factory, voices, as_wav) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    data = {
        "meeting.wav": as_wav(voices["long"]),
        "stereo.ogg": as_wav(np.repeat(voices["long"][:, None], 2, 1), 16_000, "OGG", "VORBIS"),
        "aiff.aiff": as_wav(voices["long"], 16_000, "AIFF"),
        "spoken.wav": as_wav(np.repeat(voices["long"], 3), 48_000),
        "junk.wav": b"this is no sound at all" * 10,
        "silence.wav": as_wav(np.zeros(32_000)),
        "minutes.wav": as_wav(np.zeros(16_000 * 100)),
    }
    for name, content in data.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in data}


def segments_of(page) -> list[str]:
    return page.value("[...document.querySelectorAll('#segments button')].map(b => b.textContent)")


@pytest.mark.parametrize("name", ["meeting.wav", "stereo.ogg", "aiff.aiff"])
def test_a_file_is_shown_as_the_recogniser_answers(address, recognizer, files, name):
    expected = recognizer.timeline(files[name], TimelineOptions(delay=30.0))
    whole = recognizer.recognise(files[name])
    with visit(address) as page:
        page.wait("document.getElementById('model').textContent.includes('anger')")
        page.choose("#file", files[name])
        page.wait(DONE)
        assert page.text("#headline").startswith(f"{whole.emotion} with ")
        rows = segments_of(page)
        assert len(rows) == len(expected.segments)
        for row, one in zip(rows, expected.segments, strict=True):
            assert one.emotion in row
            assert row.startswith(f"{one.start:.1f} s to")
        bars = page.value("[...document.querySelectorAll('#shares li')].map(b => b.textContent)")
        assert len(bars) == 4
        assert page.text("#weights").startswith("audio100 %")
        assert page.value("document.getElementById('plane-box').hidden")
        assert page.complaints == []


def test_downloads_are_what_the_library_writes(address, recognizer, files):
    with visit(address) as page:
        page.choose("#file", files["meeting.wav"])
        page.wait(DONE)
        page.click("#save-srt")
        page.click("#save-json")
        subtitles = page.downloaded("emotions.srt")
        answer = json.loads(page.downloaded("emotions.json"))
        timeline = recognizer.timeline(files["meeting.wav"], TimelineOptions(delay=30.0))
        assert subtitles == write_timeline(timeline, "srt")
        assert len(answer["timeline"]["segments"]) == len(timeline.segments)
        assert (
            answer["recognition"]["emotion"] == recognizer.recognise(files["meeting.wav"]).emotion
        )


def test_playing_moves_the_cursor_and_keys_move_it(address, files):
    with visit(address) as page:
        page.choose("#file", files["meeting.wav"])
        page.wait(DONE)
        place = "Number(document.getElementById('canvas').getAttribute('aria-valuenow'))"
        page.value("document.getElementById('canvas').focus()")
        page.press("ArrowRight")
        assert page.wait(place) == 1
        assert page.value("document.getElementById('player').currentTime") == 1
        said = "document.getElementById('canvas').getAttribute('aria-valuetext')"
        assert "1.0 s, " in page.value(said)
        page.press("End")
        page.wait(f"{place} > 10")
        page.click("#segments li:nth-child(2) button")
        page.wait(f"{place} > 3 && {place} < 5")
        page.wait("document.querySelector('#segments li:nth-child(2) button').ariaCurrent=='true'")
        before = page.value(place)
        page.value("document.getElementById('player').play()")
        page.wait(f"{place} > {before} + 0.2")
        page.value("document.getElementById('player').pause()")
        assert page.complaints == []


def test_words_change_the_answer_and_are_shown(address, recognizer, files):
    text = "the house feels so <b>empty</b>"
    expected = recognizer.recognise(files["meeting.wav"], text=text)
    with visit(address) as page:
        page.type("#words", text)
        page.choose("#file", files["meeting.wav"])
        page.wait(DONE)
        assert page.text("#said") == f"{text} ({expected.emotion}) "
        assert page.value("document.querySelectorAll('#weights li').length") == 2
        assert page.value("document.querySelector('#said b')") is None


def test_dimensions_and_transcript_where_the_model_has_them(serve, bundle, files):
    model = Feeling.load(bundle, transcriber=Ears())
    with serve(model) as (_, address), visit(address) as page:
        page.choose("#file", files["meeting.wav"])
        page.wait(DONE)
        assert page.value("document.querySelectorAll('#plane circle').length") >= 3
        assert "arousal 4.2 (1 to 5)" in page.text("#plane-words")
        assert page.value("document.querySelectorAll('#said span').length") >= 2
        assert "so late" in page.text("#said")
        assert page.complaints == []


def test_a_recording_is_answered(address, files):
    with visit(address, microphone=files["spoken.wav"]) as page:
        page.click("#record")
        page.wait("document.getElementById('record').ariaPressed === 'true'")
        assert page.value("document.getElementById('live').disabled")
        page.value("window.began = performance.now()")
        page.wait("performance.now() - window.began > 2500")
        page.click("#record")
        page.wait(DONE)
        page.wait("document.getElementById('player').duration > 1.5")
        assert not page.value("document.getElementById('live').disabled")
        assert page.complaints == []


def test_the_microphone_is_heard_live(address, files):
    with visit(address, microphone=files["spoken.wav"]) as page:
        page.click("#live")
        page.wait("document.getElementById('status').textContent.startsWith('Listening')")
        page.wait("document.querySelectorAll('#segments button').length >= 1")
        assert not page.value("document.getElementById('results').hidden")
        page.click("#live")
        page.wait(DONE)
        assert segments_of(page)
        page.wait("document.getElementById('player').duration > 3")
        assert page.complaints == []


def trouble_of(page) -> str:
    page.wait(TROUBLE)
    return page.text("#problem")


def test_what_cannot_be_taken_is_said(serve, recognizer, files):
    with serve(timeline_seconds=60) as (_, address), visit(address) as page:
        page.choose("#file", files["junk.wav"])
        assert trouble_of(page).startswith("The file cannot be read: the audio is not audio")
        assert page.value("document.getElementById('results').hidden")
        page.choose("#file", files["minutes.wav"])
        page.wait("document.getElementById('problem').textContent.includes('too long')")
        assert "100.0 s; at most 60.0 s" in page.text("#problem")
        page.choose("#file", files["meeting.wav"])
        page.wait(DONE)
        assert page.value("document.getElementById('problem').hidden")
    with serve(max_upload_mb=0.1) as (_, address), visit(address) as page:
        page.choose("#file", files["meeting.wav"])
        assert "The file is too large: it has 0.3 MB" in trouble_of(page)


def test_silence_is_said(address, files):
    with visit(address) as page:
        page.choose("#file", files["silence.wav"])
        page.wait(DONE)
        assert "No speech was found" in page.text("#segments")
        assert "digital silence" in page.text("#notes")


def test_a_busy_service_can_be_asked_again(serve, files):
    with serve(queue=1, max_items=1) as (service, address), visit(address) as page:
        service.queue.take()
        page.choose("#file", files["meeting.wav"])
        assert trouble_of(page).startswith("The service is busy: the queue is full")
        service.queue.give()
        page.click("#problem button")
        page.wait(DONE)
        assert page.value("document.getElementById('problem').hidden")


def test_a_lost_connection_and_a_lost_stream_are_said(serve, files):
    with visit("about:blank#", microphone=files["spoken.wav"]) as page:
        with serve() as (_, address):
            page.call("Page.navigate", url=address)
            page.wait("document.getElementById('model')?.textContent.includes('anger')")
            page.click("#live")
            page.wait("document.getElementById('status').textContent.startsWith('Listening')")
            page.value("window.began = performance.now()")
            page.wait("performance.now() - window.began > 1000")
        page.wait("document.getElementById('live').ariaPressed === 'false'")
        page.wait(DONE)  # the service ended the stream with what it had
        page.choose("#file", files["meeting.wav"])
        assert "The service cannot be reached" in trouble_of(page)
        page.wait("!document.getElementById('live').disabled")
        page.click("#live")
        page.wait("document.getElementById('problem').textContent.includes('connection')")
        assert page.value("document.getElementById('live').ariaPressed") == "false"


def test_a_missing_microphone_is_said(address):
    with visit(address, devices=False) as page:
        for button in ("#record", "#live"):
            page.click(button)
            assert "microphone" in trouble_of(page).lower()
            assert page.value(f"document.querySelector('{button}').ariaPressed") == "false"
            page.value("document.getElementById('problem').hidden = true")


def test_a_key_is_asked_for_and_used(serve, files):
    key = "a-key-of-more-than-sixteen"
    with serve(keys=(key,)) as (_, address), visit(address) as page:
        assert trouble_of(page).startswith("The service wants an API key.")
        page.type("#key", key)
        page.click("#key-field button")
        page.wait("document.getElementById('model').textContent.includes('anger')")
        page.choose("#file", files["meeting.wav"])
        page.wait(DONE)


NAMELESS = """[...document.querySelectorAll('button, input, canvas, audio, svg')].filter(e =>
  !(e.ariaLabel || e.textContent.trim() || e.labels?.length || e.getAttribute('aria-labelledby'))
).map(e => e.outerHTML)"""
CONTRAST = """(() => {
  const rgb = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (c) => c.map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [.2126, .7152, .0722][n], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor;
      if (!c.endsWith(', 0)') && c !== 'transparent') return rgb(c);
    }
    return [255, 255, 255];
  };
  const written = (e) => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  return [...document.querySelectorAll('main *, header *')]
    .filter(e => e.checkVisibility() && !e.disabled && !e.closest('svg') && written(e))
    .map(e => {
      const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))];
      return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), e.outerHTML.slice(0, 80)];
    })
    .filter(([ratio]) => ratio < 4.5);
})()"""


@pytest.mark.parametrize(
    ("name", "size", "dark"),
    [
        ("desktop", (1100, 900), False),
        ("dark", (1100, 900), True),
        ("phone", (360, 800), False),
        ("phone-dark", (360, 800), True),
    ],
)
def test_looks(serve, recognizer, files, tmp_path, name, size, dark):
    shown = os.environ.get("EMOFUSE_SHOTS_MODEL")
    model = Recognizer.load(shown) if shown else recognizer
    sound = Path(os.environ.get("EMOFUSE_SHOTS_SOUND", files["meeting.wav"]))
    with serve(model) as (_, address), visit(address, size, dark=dark) as page:
        page.wait("document.getElementById('model').textContent.includes(':')")
        page.choose("#file", sound)
        page.wait(DONE)
        page.value("document.getElementById('canvas').focus(); window.scrollTo(0, 0)")
        assert page.value("document.documentElement.scrollWidth") <= size[0]
        assert page.value(NAMELESS) == []
        assert page.value(CONTRAST) == []
        page.press("ArrowRight")
        page.press("ArrowRight")
        folder = Path(os.environ.get("EMOFUSE_SHOTS", tmp_path))
        folder.mkdir(parents=True, exist_ok=True)
        picture = folder / f"page-{name}.png"
        picture.write_bytes(page.screenshot(whole=True))
        assert picture.stat().st_size > 10_000
        assert page.complaints == []


def test_every_control_is_reached_by_tab_and_shows_its_focus(address, files):
    with visit(address) as page:
        page.choose("#file", files["meeting.wav"])
        page.wait(DONE)
        page.value("document.activeElement.blur(); window.scrollTo(0, 0)")
        reached = set()
        for _ in range(25):
            page.call(
                "Input.dispatchKeyEvent",
                type="keyDown",
                key="Tab",
                code="Tab",
                windowsVirtualKeyCode=9,
            )
            page.call(
                "Input.dispatchKeyEvent",
                type="keyUp",
                key="Tab",
                code="Tab",
                windowsVirtualKeyCode=9,
            )
            reached.add(page.value("document.activeElement.id"))
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            here = page.value("document.activeElement.tagName")  # a player draws its own focus
            assert here in ("BODY", "AUDIO") or page.value(outline) != "none", here
        wanted = {"choose", "record", "live", "words", "again", "canvas", "save-json", "save-srt"}
        assert wanted <= reached
