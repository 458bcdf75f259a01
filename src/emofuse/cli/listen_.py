"""``emofuse listen``: emotions as they are spoken."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emofuse.cli import predict_options as given
from emofuse.cli.adapting import AdaptFrom, AssumedMoods, check_moods, known_voice
from emofuse.cli.console import say
from emofuse.errors import OptionError

if TYPE_CHECKING:
    from emofuse.recognition.stream import Stream
    from emofuse.recognition.timeline import Segment

EXAMPLE = (
    "Example: emofuse listen -m runs/fusion. A file at its own pace: emofuse listen -m runs/fusion "
    "--from call.wav. Another recorder: arecord -t raw -f S16_LE -r 16000 | emofuse listen -m "
    "runs/fusion --from -"
)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("listen", epilog=EXAMPLE)(listen)


def listen(
    *,
    model: given.Model = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", help="An audio file, or - for raw 16-bit mono samples; else a microphone."
        ),
    ] = None,
    rate: Annotated[int, typer.Option(help="Hertz of microphone or raw samples.")] = 16_000,
    microphone: Annotated[str | None, typer.Option(help="Its name or number.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Read a file as fast as can be.")] = False,
    seconds: Annotated[float | None, typer.Option(help="Stop after so many seconds.")] = None,
    transcribe: given.Transcribe = None,
    window: Annotated[float, typer.Option(help="Seconds the model sees at once.")] = 3.0,
    hop: Annotated[float, typer.Option(help="Seconds from one window to the next.")] = 1.0,
    delay: Annotated[float, typer.Option(help="Seconds a window may wait for others.")] = 0.5,
    detector: Annotated[str, typer.Option(help="energy or silero.")] = "energy",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    device: given.Device = "cpu",
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Adapt to the speaker by what was heard so far.")
    ] = False,
    adapt_from: AdaptFrom = None,
    moods: AssumedMoods = None,
) -> None:
    """Recognise emotions of a microphone as it is spoken into; Ctrl-C ends it.

    A segment is written when it will not change any more.
    """
    from emofuse.recognition.recognizer import Recognizer
    from emofuse.recognition.timeline import TimelineOptions

    options = TimelineOptions.parse(
        {
            "window": window,
            "hop": hop,
            "delay": delay,
            "detector": detector,
            "adapt": "causal" if adapt else "off",
            "moods": check_moods(moods, "causal" if adapt else None, adapt_from),
        },
        "listen",
    )
    if seconds is not None and seconds <= 0:
        raise OptionError(f"--seconds {seconds:g} is not above 0")
    recognizer = Recognizer.load(model, device, transcriber=transcribe)
    voice = known_voice(recognizer, adapt_from, None)
    rate, chunks = _source(source, rate, microphone, fast=fast)
    stream = recognizer.stream(rate, options, voice=voice)
    say(f"listening; a segment is out at most {stream.latency:.1f} s after its end")
    heard = _hear(stream, chunks, as_json, None if seconds is None else seconds * rate)
    say(f"{heard / rate:.1f} s heard")


def _hear(stream: Stream, chunks: Iterator[Any], as_json: bool, limit: float | None) -> int:
    """Write segments as they come, up to the limit, the end or Ctrl-C; count samples."""
    heard = 0
    try:
        for chunk in chunks:
            heard += len(chunk)
            _write(stream.feed(chunk), as_json)
            if limit is not None and heard >= limit:
                break
    except KeyboardInterrupt:
        say("stopped")
    _write(stream.finish(), as_json)
    return heard


def _source(
    source: str | None, rate: int, microphone: str | None, *, fast: bool
) -> tuple[int, Iterator[Any]]:
    from emofuse.recognition.sources import file_chunks, microphone_chunks, raw_chunks

    if source is None:
        return rate, microphone_chunks(rate, microphone)
    if microphone is not None:
        raise OptionError("give --from or --microphone, not both")
    if source == "-":
        return rate, raw_chunks(sys.stdin.buffer, rate)
    return file_chunks(Path(source), paced=not fast)


def _write(segments: Sequence[Segment], as_json: bool) -> None:
    for one in segments:
        if as_json:
            record = one.model_dump(mode="json")
            line = json.dumps(record, ensure_ascii=False, allow_nan=False)
        else:
            doubt = " ?" if one.too_unsure else ""
            line = (
                f"{one.start:8.2f} - {one.end:8.2f} s  {one.emotion}{doubt} "
                f"{100 * one.confidence:.0f} %  {one.text or ''}"
            ).rstrip()
        sys.stdout.write(line + "\n")
    sys.stdout.flush()
