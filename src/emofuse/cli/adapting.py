"""The options of speaker adaptation: who speaks, and what is known of the voice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emofuse.cli.console import progress_bar, say
from emofuse.errors import OptionError, nearest_hint

if TYPE_CHECKING:
    from emofuse.recognition.adapting.profile import VoiceProfile
    from emofuse.recognition.answer import Moods
    from emofuse.recognition.query import Query
    from emofuse.recognition.recognizer import Recognizer

__all__ = [
    "Adapt",
    "AdaptFrom",
    "AssumedMoods",
    "SaveVoice",
    "check_adapt",
    "check_moods",
    "known_voice",
    "with_speakers",
]

SPEAKERS = ("column", "parent", "one")
TIMES = ("recording", "causal")
Adapt = Annotated[
    str | None,
    typer.Option(
        help="Move each speaker's voice to where the voices of training lie. Who speaks: column "
        "(of a table or manifest), parent (the folder of a file), one (all are one speaker); of "
        "a timeline: recording (all of it), causal (what was heard so far).",
    ),
]
AdaptFrom = Annotated[
    list[str] | None,
    typer.Option(
        help="What is known of the one speaker: audio files, a folder, or a file of --save-voice.",
    ),
]
AssumedMoods = Annotated[
    str | None,
    typer.Option(
        "--moods",
        help="What adaptation takes for granted of what it hears of a speaker: any (nothing; the "
        "default), mixed (all moods in like measure).",
    ),
]
SaveVoice = Annotated[
    Path | None, typer.Option(help="Write what --adapt-from taught, to be given to it again.")
]


def check_adapt(how: str | None, timeline: bool) -> str | None:
    """Give back a legal way to adapt.

    Raises:
        OptionError: it is not legal, or not here.
    """
    here, there = (TIMES, SPEAKERS) if timeline else (SPEAKERS, TIMES)
    if how in there:
        raise OptionError(
            f"--adapt {how} goes {'without' if timeline else 'with'} --timeline; "
            f"legal here: {', '.join(here)}"
        )
    if how is not None and how not in here:
        raise OptionError(f"--adapt {how!r}: {nearest_hint(how, here)}")
    return how


def check_moods(moods: str | None, how: str | None, known: Sequence[str] | None) -> Moods:
    """Give what is taken for granted of a speaker's moods.

    Raises:
        OptionError: it is not legal, or nothing is adapted.
    """
    if moods is None:
        return "any"
    if how is None and not known:
        raise OptionError("--moods goes with --adapt or --adapt-from")
    if moods in ("any", "mixed"):
        return "any" if moods == "any" else "mixed"
    raise OptionError(f"--moods {moods!r}: {nearest_hint(moods, ('any', 'mixed'))}")


def with_speakers(queries: Sequence[Query], how: str, voice: VoiceProfile | None) -> list[Query]:
    """Say of each query who speaks.

    Raises:
        OptionError: nothing says it, or a voice is given where there may be several.
    """
    if how == "one":
        name = "the speaker" if voice is None else voice.speaker
        return [replace(one, speaker=name) for one in queries]
    if voice is not None:
        raise OptionError(f"--adapt-from is the voice of one speaker: not with --adapt {how}")
    found = list(queries)
    if how == "parent":
        found = [replace(one, speaker=_folder(one)) for one in queries]
    if not any(one.speaker for one in found):
        hint = "parent or one" if how == "column" else "column or one"
        raise OptionError(f"--adapt {how}: nothing says who speaks; take {hint}")
    return found


def _folder(query: Query) -> str | None:
    from emofuse.recognition.query import path_id

    place = query.audio if isinstance(query.audio, Path) else query.video
    return path_id(place.parent) if isinstance(place, Path) else None


def known_voice(
    recognizer: Recognizer, names: Sequence[str] | None, save: Path | None
) -> VoiceProfile | None:
    """Read a voice, or take it from clips; None where none is given.

    Raises:
        OptionError: several voices, or one of another model.
        WorkError: nothing can be read or heard.
    """
    if not names:
        if save is not None:
            raise OptionError("--save-voice writes what --adapt-from teaches: give --adapt-from")
        return None
    from emofuse.recognition.adapting.profile import VoiceProfile

    kept = [name for name in names if Path(name).suffix == ".json"]
    if kept and len(names) > 1:
        raise OptionError(f"--adapt-from: one voice at a time; {kept[0]} is one by itself")
    if kept:
        found = VoiceProfile.load(Path(kept[0]))
        found.check(recognizer.reference)
    else:
        found = _enrol(recognizer, names, save)
    if save is not None:
        found.save(save)
        say(f"the voice of {found.speaker}, {found.utterances:g} utterances, in {save}")
    return found


def _enrol(recognizer: Recognizer, names: Sequence[str], save: Path | None) -> VoiceProfile:
    from emofuse.recognition.inputs import find_queries

    _ = recognizer.reference  # refuses before anything is read
    queries = find_queries(names, note=say)
    speaker = Path(names[0]).stem if save is None else save.stem
    with progress_bar() as progress:
        return recognizer.enrol(queries, speaker or "speaker", progress)
