"""Who speaks when, as a diariser wrote it down (RTTM), put on the segments of a timeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emofuse.corpora.files import read_text
from emofuse.errors import MediaError, shorten
from emofuse.recognition.timeline import Timeline

__all__ = ["Turn", "TurnTable", "name_speakers", "read_turns"]


@dataclass(frozen=True)
class Turn:
    """A turn of one speaker: seconds from and up to, and who."""

    start: float
    end: float
    speaker: str


def read_turns(path: Path) -> list[Turn]:
    """Read the SPEAKER lines of an RTTM file.

    Raises:
        MediaError: a line that is none, or no turn at all.
        CorpusError: the file cannot be read.
    """
    turns: list[Turn] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        try:
            start, length, speaker = float(fields[3]), float(fields[4]), fields[7]
        except (ValueError, IndexError) as error:
            raise MediaError(f"{path}:{number} is no SPEAKER line: {shorten(line)}") from error
        if not (start >= 0 and 0 <= length < float("inf")):
            raise MediaError(f"{path}:{number}: start {start:g}, length {length:g} make no turn")
        turns.append(Turn(start, start + length, speaker))
    if not turns:
        raise MediaError(f"{path} holds no SPEAKER line; write turns as RTTM")
    return sorted(turns, key=lambda turn: turn.start)


class TurnTable:
    """Says who speaks in a span; spans are asked for in the order of their start.

    Args:
        turns: of all speakers, in any order; they may overlap.
    """

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = sorted(turns, key=lambda turn: turn.start)
        self._first = 0
        self.speakers = tuple(sorted({turn.speaker for turn in turns}))

    def speaker(self, start: float, end: float) -> str | None:
        """Give the speaker whose turns cover most of a span of seconds; None where nobody's do."""
        turns = self._turns
        while self._first < len(turns) and turns[self._first].end <= start:
            self._first += 1
        covered: dict[str, float] = {}
        for turn in turns[self._first :]:
            if turn.start >= end:
                break
            shared = min(turn.end, end) - max(turn.start, start)
            if shared > 0:
                covered[turn.speaker] = covered.get(turn.speaker, 0.0) + shared
        return max(covered, key=lambda name: (covered[name], name), default=None)


def name_speakers(timeline: Timeline, turns: Sequence[Turn]) -> Timeline:
    """Give each segment the speaker whose turns cover most of it; none where nobody's do.

    A segment is not cut where the speaker changes inside it.
    """
    table = TurnTable(turns)
    named = []
    for segment in timeline.segments:
        best = table.speaker(segment.start, segment.end) or segment.speaker
        named.append(segment.model_copy(update={"speaker": best}))
    return timeline.model_copy(update={"segments": tuple(named)})
