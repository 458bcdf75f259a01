"""A timeline as JSON, CSV, SubRip, WebVTT, RTTM or Audacity labels."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable

from emofuse.errors import OptionError, nearest_hint
from emofuse.recognition.timeline import Segment, Timeline

__all__ = ["TIMELINE_FORMATS", "check_timeline_format", "write_timeline"]


def check_timeline_format(name: str) -> str:
    """Give back a legal format.

    Raises:
        OptionError: it is not legal.
    """
    if name not in TIMELINE_FORMATS:
        raise OptionError(
            f"unknown timeline format {name!r}; {nearest_hint(name, TIMELINE_FORMATS)}"
        )
    return name


def write_timeline(timeline: Timeline, form: str) -> str:
    """Write a timeline as text, with an end of line.

    Raises:
        OptionError: ``form`` is not legal.
    """
    return TIMELINE_FORMATS[check_timeline_format(form)](timeline)


def _json(timeline: Timeline) -> str:
    record = timeline.model_dump(mode="json")
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(timeline: Timeline) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    dims = next((tuple(one.vad) for one in timeline.segments if one.vad), ())
    head = ["start", "end", "emotion", "confidence", *(f"p:{name}" for name in timeline.classes)]
    writer.writerow([*head, *(f"vad:{name}" for name in dims), "speaker", "too_unsure", "text"])
    for one in timeline.segments:
        unsure = "" if one.too_unsure is None else "yes" if one.too_unsure else "no"
        writer.writerow(
            [
                f"{one.start:.3f}",
                f"{one.end:.3f}",
                one.emotion,
                f"{one.confidence:.6f}",
                *(f"{one.probabilities[name]:.6f}" for name in timeline.classes),
                *(f"{(one.vad or {}).get(name, float('nan')):.6f}" for name in dims),
                one.speaker or "",
                unsure,
                one.text or "",
            ]
        )
    return stream.getvalue()


def _srt(timeline: Timeline) -> str:
    """SubRip: number, times with a comma, lines, blank."""
    cues = [
        f"{number}\n{_clock(one.start, ',')} --> {_clock(one.end, ',')}\n{_caption(one)}\n"
        for number, one in enumerate(timeline.segments, start=1)
    ]
    return "\n".join(cues)


def _vtt(timeline: Timeline) -> str:
    """WebVTT; the emotion is the class of the cue's text, the speaker its voice."""
    cues = ["WEBVTT", "", f"NOTE {_plain(timeline.id)}, {timeline.model}", ""]
    for number, one in enumerate(timeline.segments, start=1):
        text = _escape(_caption(one))
        kind = re.sub(r"[^A-Za-z0-9_-]", "-", one.emotion)
        inner = f"<c.{kind}>{text}</c>"
        voice = f"<v {_escape(one.speaker)}>{inner}</v>" if one.speaker else inner
        cues += [str(number), f"{_clock(one.start, '.')} --> {_clock(one.end, '.')}", voice, ""]
    return "\n".join(cues)


def _rttm(timeline: Timeline) -> str:
    """RTTM of NIST: the field of the speaker's name holds emotion, or speaker and emotion."""
    file = "_".join(timeline.id.split()) or "recording"
    lines = []
    for one in timeline.segments:
        name = f"{one.speaker}:{one.emotion}" if one.speaker else one.emotion
        channel = 1 if one.channel is None else one.channel + 1
        lines.append(
            f"SPEAKER {file} {channel} {one.start:.3f} {one.seconds:.3f} <NA> <NA> "
            f"{'_'.join(name.split())} {one.confidence:.3f} <NA>\n"
        )
    return "".join(lines)


def _audacity(timeline: Timeline) -> str:
    """Labels of Audacity: start, tab, end, tab, label."""
    return "".join(
        f"{one.start:.6f}\t{one.end:.6f}\t{_plain(_caption(one))}\n" for one in timeline.segments
    )


def _page(timeline: Timeline) -> str:
    from emofuse.recognition.timeline_page import timeline_page

    return timeline_page(timeline)


def _clock(seconds: float, mark: str) -> str:
    milli = round(seconds * 1000)
    hours, rest = divmod(milli, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"


def _caption(one: Segment) -> str:
    head = f"[{one.emotion} {100 * one.confidence:.0f}%]"
    return _plain(f"{head} {one.text}") if one.text else head


def _plain(text: str) -> str:
    """One line without what the formats give a meaning of their own."""
    return " ".join(text.replace("-->", "->").split())


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


TIMELINE_FORMATS: dict[str, Callable[[Timeline], str]] = {
    "json": _json,
    "csv": _csv,
    "srt": _srt,
    "vtt": _vtt,
    "rttm": _rttm,
    "audacity": _audacity,
    "html": _page,
}
