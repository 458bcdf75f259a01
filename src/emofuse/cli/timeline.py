"""What ``emofuse predict --timeline`` does."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from emofuse.cli.console import progress_bar, say
from emofuse.errors import OptionError
from emofuse.options import apply_overrides

if TYPE_CHECKING:
    from emofuse.recognition.adapting.profile import VoiceProfile
    from emofuse.recognition.recognizer import Recognizer

__all__ = ["write_timeline_of"]

DELAY = 30.0  # seconds that windows wait for company where nobody waits for them


def write_timeline_of(
    recognizer: Recognizer,
    name: str,
    form: str,
    *,
    channels: str,
    settings: list[str],
    turns: Path | None,
    output: Path | None,
    adapt: Mapping[str, str] | None = None,
    voice: VoiceProfile | None = None,
) -> None:
    """Write the timeline of a recording to a file or to standard output.

    Raises:
        OptionError: an unknown format or setting.
        WorkError: the recording cannot be read, or the file not be written.
    """
    from emofuse.recognition.query import check_channels
    from emofuse.recognition.timeline import TimelineOptions
    from emofuse.recognition.timeline_text import check_timeline_format, write_timeline
    from emofuse.recognition.turns import name_speakers, read_turns
    from emofuse.storage import write_text

    check_timeline_format(form)
    base = {"delay": DELAY, "channels": check_channels(channels), **(adapt or {})}
    options = TimelineOptions.parse(apply_overrides(base, settings), "--set")
    known = None if turns is None else read_turns(turns)
    source = io.BytesIO(sys.stdin.buffer.read()) if name == "-" else Path(name)
    if known is not None and channels == "each":
        raise OptionError("--turns go with mixed channels: each channel is a speaker already")
    own = "-" if name == "-" else None
    with progress_bar() as progress:
        found = recognizer.timeline(source, options, progress, id=own, turns=known, voice=voice)
    if known is not None:
        found = name_speakers(found, known)
    text = write_timeline(found, form)
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        write_text(output, text)
        say(f"{len(found.segments)} segments in {output}")
    for note in found.notes:
        say(f"note: {note}")
