"""Several utterances of one request: side by side, and adapted to the speakers that it names."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from emofuse.errors import OptionError
from emofuse.recognition.adapting.many import Speakers
from emofuse.recognition.adapting.reference import check_moods
from emofuse.recognition.answer import Recognition
from emofuse.recognition.reading import Loaded
from emofuse.recognition.recognizer import Recognizer
from emofuse.server.problems import Problem

__all__ = ["adapt_to_speakers", "side_by_side"]

OWN = ("bad_audio", "too_long", "no_answer", "bad_options")
"""Codes of what is wrong with one utterance; anything else is wrong with the request."""
Given = TypeVar("Given")
Done = TypeVar("Done")


async def side_by_side(
    items: Sequence[Given], work: Callable[[Given], Awaitable[Done]], names: Sequence[str]
) -> list[Done | Recognition]:
    """Work on all at once; what cannot be done is an answer that says why.

    Args:
        items: to work on.
        work: on one.
        names: of the items, for such answers.

    Raises:
        Problem: it is one of the whole request.
    """

    async def one_of(item: Given, name: str) -> Done | Recognition:
        try:
            return await work(item)
        except Problem as problem:
            if problem.code not in OWN:
                raise
            return Recognition(id=name, error=str(problem))

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(one_of(item, name)) for item, name in zip(items, names, strict=True)
        ]
    return [task.result() for task in tasks]


def adapt_to_speakers(recognizer: Recognizer, heard: Sequence[Loaded], most: int) -> None:
    """Encode the sound of utterances and give each the voice of its speaker.

    Args:
        recognizer: hears them.
        heard: what was read.
        most: encoded together.

    Raises:
        Problem: the model cannot be adapted to a speaker.
    """
    try:
        check_moods(recognizer.config, recognizer.needs, "any")
        speakers = Speakers(recognizer.reference)
    except OptionError as error:
        raise Problem("bad_options", f"speaker: {error}") from error
    for first in range(0, len(heard), most):
        chunk = heard[first : first + most]
        recognizer.hear(chunk)
        recognizer.listen_loaded(chunk)
        speakers.hear(chunk)
    speakers.give(heard)
