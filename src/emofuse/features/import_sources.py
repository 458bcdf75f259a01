"""Read features that others extracted: old pickles, or ``.npy`` arrays beside a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse.errors import FeatureError, OptionError, nearest_hint, shorten
from emofuse.features.unpickle import plain, read_pickle
from emofuse.manifest import Modality
from emofuse.media.arrays import reason
from emofuse.storage import sha256_file

__all__ = [
    "FIELDS",
    "PICKLED",
    "ImportSource",
    "choose_columns",
    "read_pickled",
    "read_rows",
    "some",
]

FIELDS = (
    "id", "text", "emotion", "speaker", "gender", "session", "dialogue", "language", "split",
)  # fmt: skip
"""Fields of an utterance that a table's column may fill."""

GUESSES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "name", "file_id"),
    "text": ("text", "utterance", "transcript", "sentence"),
    "emotion": ("emotion", "label", "labels"),
    "speaker": ("speaker", "speaker_id"),
    "gender": ("gender", "sex"),
    "session": ("session", "session_id"),
    "dialogue": ("dialogue", "dialogue_id", "dialog", "dialog_id"),
    "language": ("language",),
    "split": ("split",),
}
PICKLED: Mapping[Modality, tuple[str, ...]] = {
    "audio": ("audio_embed", "audio_features", "audio_feat", "audio"),
    "text": ("text_embed", "text_features", "text_feat"),
    "video": ("video_embed", "video_features", "video_feat"),
}
SHOWN = 5  # rows named in a finding


@dataclass
class ImportSource:
    """What was read, before it is stored.

    Attributes:
        rows: fields of each utterance, by `FIELDS`; values as found.
        vectors: modality -> one array a row, ``(dim,)`` or ``(frames, dim)``, None where missing.
        revisions: modality -> hash of the file it came from.
        findings: what is odd about them, in words.
    """

    rows: list[dict[str, Any]]
    vectors: dict[Modality, list[NDArray[Any] | None]]
    revisions: dict[Modality, str]
    findings: list[str] = field(default_factory=list)


def read_rows(
    rows: Sequence[Mapping[str, str]],
    arrays: Mapping[Modality, Path],
    columns: Mapping[str, str] | None = None,
) -> ImportSource:
    """Put ``.npy`` arrays beside the rows of a table, in row order.

    Args:
        rows: the table: column -> cell.
        arrays: modality -> file of shape ``(rows, dim)`` or ``(rows, frames, dim)``; frames that
            are all zero at a sequence's end count as padding and are cut.
        columns: field (see `FIELDS`) -> column; others are guessed by name.

    Raises:
        OptionError: a column that is not there.
        FeatureError: an array that cannot be read, or has another number of rows.
    """
    if not rows or not arrays:
        raise FeatureError("nothing to import: the table has no rows, or no array is named")
    names = list(rows[0])
    chosen = choose_columns(names, columns or {})
    plain_rows = [{field: row[name] for field, name in chosen.items()} for row in rows]
    vectors: dict[Modality, list[NDArray[Any] | None]] = {}
    for modality, path in arrays.items():
        table = _read_npy(path)
        if len(table) != len(rows):
            raise FeatureError(
                f"{path} has {len(table):,} rows and the table {len(rows):,}; "
                "they must belong together row by row"
            )
        vectors[modality] = [_trim(row) for row in table]
    revisions = {modality: sha256_file(path)[:32] for modality, path in arrays.items()}
    taken = ", ".join(f"{field}={name}" for field, name in chosen.items()) or "none"
    return ImportSource(plain_rows, vectors, revisions, [f"columns taken: {taken}"])


def choose_columns(names: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Say which column fills which field: those that were named, and guesses.

    Raises:
        OptionError: an unknown field, or a column that is not there.
    """
    chosen: dict[str, str] = {}
    for target, name in columns.items():
        if target not in FIELDS:
            raise OptionError(f"unknown field {target!r}; {nearest_hint(target, FIELDS)}")
        if name not in names:
            raise OptionError(f"no column {shorten(name)}; {nearest_hint(name, names)}")
        chosen[target] = name
    lower = {name.lower(): name for name in reversed(names)}
    for target, guesses in GUESSES.items():
        found = next((lower[guess] for guess in guesses if guess in lower), None)
        if target not in chosen and found is not None:
            chosen[target] = found
    return chosen


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        table = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FeatureError(f"{path} is no .npy array that can be read: {reason(error)}") from error
    if (
        not isinstance(table, np.ndarray)
        or table.ndim not in (2, 3)
        or table.dtype.kind not in "fiu"
    ):
        shape = getattr(table, "shape", "of several arrays")
        raise FeatureError(
            f"{path} is {shape}; expected numbers, (rows, dim) or (rows, frames, dim)"
        )
    return table


def _trim(row: NDArray[Any]) -> NDArray[Any]:
    if row.ndim == 1:
        return row
    used = np.flatnonzero(np.any(row != 0, axis=1))
    return row[: used[-1] + 1] if len(used) else row[:1]


def read_pickled(path: Path) -> ImportSource:
    """Read an old feature pickle: a list of dicts or of ``(text, audio, label)`` tuples.

    Keys: ``audio_embed``, ``text_embed``, ``video_embed`` (or ``..._features``, ``..._feat``) and
    ``label``; ``id``, ``text``, ``speaker`` and the other fields are taken where they are. A tuple
    of three is text vector, audio vector, label; of two, vector and label is refused as ambiguous.

    Raises:
        FeatureError: the file cannot be read safely, or is not such a list.
    """
    entries = read_pickle(path)
    if not isinstance(entries, list | tuple) or not entries:
        raise FeatureError(
            f"{path} holds {type(entries).__name__}, not a list of dicts or tuples with "
            "text_embed, audio_embed and label"
        )
    revision = sha256_file(path)[:32]
    source = ImportSource([], {}, {}, [])
    missing: list[int] = []
    for number, entry in enumerate(entries):
        if entry is None:
            missing.append(number)
            continue
        _take_entry(source, _as_dict(entry, path, number))
    if missing:
        source.findings.append(f"{len(missing)} entries are None: {some(missing)} (left out)")
    source.vectors = {m: v for m, v in source.vectors.items() if any(a is not None for a in v)}
    if not source.vectors:
        legal = ", ".join(key for keys in PICKLED.values() for key in keys)
        raise FeatureError(f"{path}: no entry has a vector under any of {legal}")
    source.revisions = dict.fromkeys(source.vectors, revision)
    return source


def _as_dict(entry: Any, path: Path, number: int) -> Mapping[str, Any]:
    if isinstance(entry, Mapping):
        return {str(key): plain(value) for key, value in entry.items()}
    if isinstance(entry, list | tuple) and len(entry) == 3:
        keys = ("text_embed", "audio_embed", "label")
        return {key: plain(value) for key, value in zip(keys, entry, strict=True)}
    raise FeatureError(
        f"{path}: entry {number} is a {type(entry).__name__}"
        + (f" of {len(entry)}" if isinstance(entry, list | tuple) else "")
        + "; expected a dict, or a tuple (text_embed, audio_embed, label)"
    )


def _take_entry(source: ImportSource, entry: Mapping[str, Any]) -> None:
    for modality, keys in PICKLED.items():
        found = next((entry[key] for key in keys if isinstance(entry.get(key), np.ndarray)), None)
        if found is not None and found.ndim == 2 and len(found) == 1:
            found = found[0]
        source.vectors.setdefault(modality, []).append(found)
    row: dict[str, Any] = {}
    for target, guesses in GUESSES.items():
        value = next((entry[g] for g in guesses if g in entry), None)
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.item()
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            row[target] = value
    source.rows.append(row)


def some(numbers: Sequence[int]) -> str:
    """Name the first few of some row numbers."""
    more = ", ..." if len(numbers) > SHOWN else ""
    return ", ".join(str(number) for number in numbers[:SHOWN]) + more
