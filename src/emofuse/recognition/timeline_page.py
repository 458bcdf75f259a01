"""A timeline as a page that needs nothing but itself: a band of emotions, a coloured transcript."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emofuse.recognition.timeline import Segment, Timeline

__all__ = ["colour_of", "timeline_page"]

COLOURS = {
    "anger": "#c4372c",
    "frustration": "#a8552a",
    "disgust": "#6f7d1e",
    "fear": "#7a4fa3",
    "happiness": "#d99a00",
    "excitement": "#e07b00",
    "surprise": "#0f8f8c",
    "sadness": "#1f5fa8",
    "neutral": "#7b7f86",
    "calm": "#4d8f5b",
    "boredom": "#8c7b6b",
}
SPARE = ("#b0447f", "#2b7a4b", "#4b6bd6", "#a07a1b", "#5a5f8a", "#3f8fb8")
BANDS = 2000  # stretches that the band draws; more are joined
LIGHTEST = 0.35  # opacity of a segment without confidence


@dataclass(frozen=True)
class _Row:
    """A segment as it is shown."""

    clock: str
    seconds: str
    start: float
    emotion: str
    colour: str
    opacity: float
    confidence: int
    shares: str
    speaker: str
    text: str
    unsure: bool
    dims: str


def timeline_page(timeline: Timeline) -> str:
    """Draw a timeline as HTML; light and dark, on paper and on a telephone."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    world = Environment(
        loader=PackageLoader("emofuse.recognition", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    colours = {name: colour_of(name, timeline.classes) for name in timeline.classes}
    shares = timeline.shares()
    return world.get_template("timeline.html.j2").render(
        timeline=timeline,
        length=_clock(timeline.seconds),
        speech=_clock(timeline.speech_seconds),
        legend=[(name, colours[name], f"{100 * shares[name]:.0f}") for name in timeline.classes],
        bands=_bands(timeline, colours),
        rows=[_row(one, colours) for one in timeline.segments],
        speakers=any(one.speaker for one in timeline.segments),
    )


def colour_of(emotion: str, classes: Sequence[str]) -> str:
    """Give an emotion its colour; one without a colour of its own gets a spare one by its place.

    >>> colour_of("anger", ["anger"])
    '#c4372c'
    """
    if emotion in COLOURS:
        return COLOURS[emotion]
    strangers = [name for name in classes if name not in COLOURS]
    return SPARE[strangers.index(emotion) % len(SPARE)] if emotion in strangers else SPARE[0]


def _bands(timeline: Timeline, colours: dict[str, str]) -> list[tuple[str, str, str, float]]:
    """Left edge and width in per cent, colour and opacity of each stretch of the band."""
    total = timeline.seconds or 1.0
    every = -(-len(timeline.segments) // BANDS) or 1
    return [
        (
            f"{100 * one.start / total:.4f}",
            f"{max(100 * one.seconds / total, 0.02):.4f}",
            colours[one.emotion],
            _opacity(one),
        )
        for one in timeline.segments[::every]
    ]


def _row(one: Segment, colours: dict[str, str]) -> _Row:
    ranked = sorted(one.probabilities.items(), key=lambda pair: -pair[1])
    return _Row(
        clock=_clock(one.start),
        seconds=f"{one.seconds:.1f}",
        start=round(one.start, 3),
        emotion=one.emotion,
        colour=colours[one.emotion],
        opacity=_opacity(one),
        confidence=round(100 * one.confidence),
        shares=", ".join(f"{name} {100 * share:.0f} %" for name, share in ranked[:4]),
        speaker=one.speaker or "",
        text=one.text or "",
        unsure=bool(one.too_unsure),
        dims=", ".join(f"{name} {value:.2f}" for name, value in (one.vad or {}).items()),
    )


def _opacity(one: Segment) -> float:
    return round(LIGHTEST + (1.0 - LIGHTEST) * min(max(one.confidence, 0.0), 1.0), 2)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
