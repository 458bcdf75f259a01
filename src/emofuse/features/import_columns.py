"""Features that stand in the columns of a table, and joining them to utterances that exist."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse.errors import FeatureError, OptionError, nearest_hint, shorten
from emofuse.features.import_sources import ImportSource, choose_columns, some
from emofuse.manifest import Manifest, Modality, Utterance
from emofuse.storage import sha256_text

__all__ = ["join_rows", "read_columns"]


def read_columns(
    rows: Sequence[Mapping[str, str]],
    patterns: Mapping[Modality, Sequence[str]],
    columns: Mapping[str, str] | None = None,
) -> ImportSource:
    """Take vectors out of the numeric columns of a table.

    Args:
        rows: the table: column -> cell. An empty cell counts as NaN.
        patterns: modality -> patterns of column names (``*_mean``); a vector's values stand in the
            order of the columns.
        columns: field of an utterance -> column; others are guessed by name.

    Raises:
        OptionError: a pattern that no column fits, or a column that is not there.
        FeatureError: no rows, or a cell that is no number.
    """
    if not rows:
        raise FeatureError("nothing to import: the table has no rows")
    names = list(rows[0])
    chosen = choose_columns(names, columns or {})
    vectors: dict[Modality, list[NDArray[Any] | None]] = {}
    revisions: dict[Modality, str] = {}
    findings = [f"columns taken: {', '.join(f'{f}={n}' for f, n in chosen.items()) or 'none'}"]
    for modality, wanted in patterns.items():
        taken = _fitting(names, wanted)
        table = np.array([[_number(row, name, n) for name in taken] for n, row in enumerate(rows)])
        vectors[modality] = list(table)
        cells = "\n".join("\t".join(row[name] for name in taken) for row in rows)
        revisions[modality] = sha256_text("\t".join(taken) + "\n" + cells)[:32]
        findings.append(f"{modality}: {len(taken)} columns, {taken[0]} to {taken[-1]}")
    fields = [{field: row[name] for field, name in chosen.items()} for row in rows]
    return ImportSource(fields, vectors, revisions, findings)


def _fitting(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise OptionError(f"no column fits {shorten(pattern)}; {nearest_hint(pattern, names)}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in wanted)]


def _number(row: Mapping[str, str], name: str, place: int) -> float:
    cell = row[name].strip()
    try:
        return float(cell) if cell else float("nan")
    except ValueError as error:
        raise FeatureError(
            f"row {place}, column {name}: {shorten(cell)} is no number; name other columns"
        ) from error


def join_rows(
    source: ImportSource, manifest: Manifest, match: str | None = None
) -> tuple[ImportSource, list[Utterance]]:
    """Find the utterance of each row.

    Args:
        source: rows with an ``id`` each.
        manifest: the utterances.
        match: regular expression searched in both ids; what its groups find, joined, must be equal.
            None: the ids are equal.

    Returns:
        The rows that have an utterance, and these utterances.

    Raises:
        OptionError: no regular expression, or one without a group.
        FeatureError: rows without an id, two of one key, or none that fits.
    """
    pattern = _compiled(match)
    owners: dict[str, list[Utterance]] = {}
    for utterance in manifest:
        owners.setdefault(_key(utterance.id, pattern), []).append(utterance)
    kept: list[int] = []
    found: list[Utterance] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(source.rows):
        if not row.get("id"):
            raise FeatureError(f"row {number} has no id; name its column: --column id=COLUMN")
        key = _key(str(row["id"]), pattern)
        several = len(owners.get(key, ())) > 1
        if several or (key and key in seen):
            raise FeatureError(
                f"{shorten(key)} stands for several "
                f"{'utterances' if several else 'rows'}; match more of the ids"
            )
        seen[key] = number
        if key and key in owners:
            kept.append(number)
            found.append(owners[key][0])
    if not kept:
        first = shorten(str(source.rows[0].get("id")))
        raise FeatureError(f"no row fits an utterance ({first} and {shorten(manifest.ids[0])})")
    lost = sorted(set(range(len(source.rows))) - set(kept))
    findings = list(source.findings)
    if lost:
        findings.append(f"{len(lost)} rows fit no utterance: {some(lost)} (left out)")
    if len(found) < len(manifest):
        findings.append(f"{len(manifest) - len(found)} utterances have no row (left out)")
    vectors = {m: [arrays[n] for n in kept] for m, arrays in source.vectors.items()}
    rows = [source.rows[n] for n in kept]
    return ImportSource(rows, vectors, dict(source.revisions), findings), found


def _compiled(match: str | None) -> re.Pattern[str] | None:
    if match is None:
        return None
    try:
        pattern = re.compile(match)
    except (re.error, OverflowError, RecursionError) as error:
        raise OptionError(f"--match {shorten(match)} is no regular expression: {error}") from error
    if not pattern.groups:
        raise OptionError(f"--match {shorten(match)} has no group: put brackets around the key")
    return pattern


def _key(name: str, pattern: re.Pattern[str] | None) -> str:
    if pattern is None:
        return name
    found = pattern.search(name)
    return "".join(group or "" for group in found.groups()) if found else ""
