"""Answers as JSON lines, CSV or rows of a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from typing import TextIO

from emofuse.errors import OptionError, nearest_hint
from emofuse.recognition.recognizer import Recognition

__all__ = ["FORMATS", "CsvWriter", "JsonWriter", "check_format", "table_columns", "table_rows"]

FORMATS = ("table", "json", "csv")
MANY_CLASSES = 5  # more do not fit side by side in a terminal
SHOWN_CLASSES = 3


def check_format(name: str) -> str:
    """Give back a legal format.

    Raises:
        OptionError: it is not legal.
    """
    if name not in FORMATS:
        raise OptionError(f"unknown format {name!r}; {nearest_hint(name, FORMATS)}")
    return name


class JsonWriter:
    """Writes one JSON object a line, each as soon as it is known.

    Args:
        stream: where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, answers: Sequence[Recognition]) -> None:
        """Write answers."""
        for answer in answers:
            self._stream.write(
                json.dumps(answer.model_dump(mode="json"), ensure_ascii=False, allow_nan=False)
                + "\n"
            )
        self._stream.flush()


class CsvWriter:
    """Writes CSV (RFC 4180 quoting) with a header; lists are joined by blanks or semicolons.

    Args:
        stream: where to.
        classes: class names in order, for the columns ``p:<class>``.
        modalities: the model's, for the columns ``w:<modality>``.
    """

    def __init__(self, stream: TextIO, classes: Sequence[str], modalities: Sequence[str]) -> None:
        self._stream = stream
        self._classes = classes
        self._modalities = modalities
        self._writer = csv.writer(stream, lineterminator="\n")
        self._writer.writerow(
            [
                "id",
                "emotion",
                *(f"p:{name}" for name in classes),
                *(f"w:{name}" for name in modalities),
                "calibrated",
                "emotion_set",
                "too_unsure",
                "modalities",
                "missing",
                "seconds",
                "speaker",
                "adapted_from",
                "notes",
                "error",
            ]
        )

    def write(self, answers: Sequence[Recognition]) -> None:
        """Write answers."""
        for answer in answers:
            self._writer.writerow(
                [
                    answer.id,
                    answer.emotion,
                    *(_number(answer.probabilities.get(name)) for name in self._classes),
                    *(_number(answer.weights.get(name)) for name in self._modalities),
                    _flag(answer.calibrated),
                    " ".join(answer.emotion_set),
                    _flag(answer.too_unsure),
                    " ".join(answer.modalities),
                    " ".join(answer.missing),
                    "" if answer.seconds is None else f"{answer.seconds:.3f}",
                    *_adapted(answer),
                    "; ".join(answer.notes),
                    answer.error,
                ]
            )
        self._stream.flush()


def _adapted(answer: Recognition) -> tuple[str, str]:
    """Give the speaker whose voice was moved, and from how many utterances."""
    if answer.adapted is None:
        return "", ""
    return answer.adapted.speaker, f"{answer.adapted.utterances:g}"


def _flag(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def table_columns(classes: Sequence[str]) -> tuple[str, ...]:
    """Head of the table: a column a class, or one for the first few where there are many."""
    shares = classes if len(classes) <= MANY_CLASSES else ("most probable, %",)
    return ("utterance", "emotion", "rests on", "seconds", *shares)


def table_rows(answers: Sequence[Recognition], classes: Sequence[str]) -> list[list[str]]:
    """Rows of the table: per cents, and how much each modality weighed."""
    return [_row(answer, classes) for answer in answers]


def _row(answer: Recognition, classes: Sequence[str]) -> list[str]:
    if answer.error is not None:
        return [answer.id, "-", "-", "-", *("" for _ in table_columns(classes)[4:])]
    rests = " + ".join(
        f"{name} {100 * answer.weights[name]:.0f} %" if name in answer.weights else name
        for name in answer.modalities
    )
    length = "-" if answer.seconds is None else f"{answer.seconds:.1f}"
    found = answer.probabilities
    shares = [f"{100 * found[name]:.1f}" for name in classes]
    if len(classes) > MANY_CLASSES:
        first = sorted(classes, key=lambda name: -found[name])[:SHOWN_CLASSES]
        shares = [", ".join(f"{name} {100 * found[name]:.1f}" for name in first)]
    doubt = " ?" if answer.too_unsure else ""
    return [answer.id, f"{answer.emotion}{doubt}", rests, length, *shares]
