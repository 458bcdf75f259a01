"""File imported features: checks, labels, the store and the manifest.

Row counts, one size throughout, NaN, dead columns and labels are checked. The result is a manifest
whose utterances name the imported vectors, and the vectors in the store; after that
``imported:NAME`` works wherever an encoder's name does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from emofuse.encoders.contract import FloatArray
from emofuse.errors import FeatureError, LabelError, OptionError
from emofuse.features.import_sources import ImportSource, some
from emofuse.features.imported import check_name, imported_key, imported_space, register_import
from emofuse.features.keys import FeatureKey
from emofuse.features.store import FeatureStore
from emofuse.manifest import Manifest, Modality, Utterance
from emofuse.progress import Progress, ProgressEvent, silent
from emofuse.storage import sha256_text

__all__ = ["ImportReport", "store_import"]

SHARD_ROWS = 4096
UNKNOWN = {"licence": "unknown", "pretrained_on": [], "labelled_on": [], "known": False}


@dataclass(frozen=True)
class ImportReport:
    """What became of an import.

    Attributes:
        manifest: the utterances, each naming its vectors.
        dims: modality -> size.
        stored: vectors that are new in the store.
        findings: what is odd, in words.
    """

    manifest: Manifest
    dims: Mapping[str, int]
    stored: int
    findings: tuple[str, ...]


def store_import(
    source: ImportSource,
    store: FeatureStore,
    name: str,
    *,
    corpus: str | None = None,
    classes: Sequence[str] = (),
    split: str | None = None,
    root: Path = Path(),
    owners: Sequence[Utterance] | None = None,
    provenance: Mapping[str, Any] | None = None,
    replace: bool = False,
    strict: bool = False,
    progress: Progress = silent,
) -> ImportReport:
    """Check what was read, file the vectors, and make the manifest.

    Args:
        source: from `read_rows` or `read_pickled`.
        store: where the vectors go.
        name: what ``imported:NAME`` will say.
        corpus: corpus of the utterances; ``name`` unless told.
        classes: class names in order, for labels that are integers.
        split: ``train``, ``dev`` or ``test`` of utterances that do not say.
        root: root of the manifest.
        owners: the utterances that the rows belong to, one a row (see `join_rows`); otherwise each
            row becomes one.
        provenance: keys of `encoders.contract.Provenance` that are known of the vectors.
        replace: let ``name`` stand for these vectors although it stood for others.
        strict: a finding that costs a vector is an error.
        progress: told of stage ``import``.

    Raises:
        FeatureError: vectors of several sizes, or (strict) vectors with NaN.
        LabelError: integers without ``classes``, or outside of them.
        OptionError: ``name`` or a field has an illegal value.
    """
    check_name(name)
    findings = list(source.findings)
    vectors = {m: _check_vectors(m, v, findings, strict) for m, v in source.vectors.items()}
    common = {"corpus": corpus or name, **({"split": split} if split is not None else {})}
    rows = _name_labels(source.rows, classes) if owners is None else source.rows
    utterances = _owners(rows, vectors, name, common, owners)
    kept = [(number, u) for number, u in enumerate(utterances) if u is not None]
    if len(kept) < len(utterances):
        lost = [number for number, u in enumerate(utterances) if u is None]
        findings.append(f"{len(lost)} rows have no usable vector: {some(lost)} (left out)")
    manifest = Manifest((u for _, u in kept), root)
    stored = 0
    dims: dict[str, int] = {}
    for modality, arrays in vectors.items():
        dims[modality] = next(a.shape[1] for a in arrays if a is not None)
        revision = _revision(source.revisions[modality], [u.id for _, u in kept])
        card = _card(modality, arrays, revision, provenance)
        register_import(store, modality, name, card, replace)
        space = imported_space(modality, name, str(card["revision"]))
        pairs = [(imported_key(space, u), arrays[number]) for number, u in kept]
        entries = [(key, array) for key, array in pairs if array is not None]
        stored += _file(store, modality, entries, progress)
    return ImportReport(manifest, dims, stored, tuple(findings))


def _owners(
    rows: Sequence[Mapping[str, Any]],
    vectors: Mapping[Modality, Sequence[FloatArray | None]],
    name: str,
    common: Mapping[str, str],
    owners: Sequence[Utterance] | None,
) -> list[Utterance | None]:
    """Whom each row belongs to; None where it has no usable vector."""
    utterances: list[Utterance | None] = []
    for number, row in enumerate(rows):
        present = {m: name for m, arrays in vectors.items() if arrays[number] is not None}
        if not present:
            utterances.append(None)
        elif owners is None:
            utterances.append(_utterance({**common, **row}, number, present))
        else:
            features = {**owners[number].features, **present}
            utterances.append(owners[number].model_copy(update={"features": features}))
    return utterances


def _file(
    store: FeatureStore,
    modality: str,
    entries: Sequence[tuple[FeatureKey, FloatArray]],
    progress: Progress,
) -> int:
    """Put vectors into the store, a shard at a time; give the number of new ones."""
    stored = 0
    for start in range(0, len(entries), SHARD_ROWS):
        block = entries[start : start + SHARD_ROWS]
        stored += store.put_many(block)
        done = start + len(block)
        progress(ProgressEvent(f"import {modality}", done, len(entries), "rows"))
    return stored


def _revision(file: str, ids: Sequence[str]) -> str:
    """Name the vectors: the file they came from, and which id owns which row."""
    return sha256_text("\n".join([file, *ids]))[:32]


def _card(
    modality: str,
    arrays: Sequence[FloatArray | None],
    revision: str,
    provenance: Mapping[str, Any] | None,
) -> dict[str, Any]:
    present = [a for a in arrays if a is not None]
    return {
        "modality": modality,
        "revision": revision,
        "dim": present[0].shape[1],
        "granularity": "pooled" if all(len(a) == 1 for a in present) else "frames",
        "rows": len(present),
        "provenance": {**UNKNOWN, **(provenance or {})},
    }


def _check_vectors(
    modality: Modality, arrays: Sequence[NDArray[Any] | None], findings: list[str], strict: bool
) -> list[FloatArray | None]:
    """Bring vectors to ``(frames, dim)`` float32, and say what is wrong with them."""
    sizes = Counter(a.shape[-1] for a in arrays if a is not None and a.ndim in (1, 2))
    odd = [n for n, a in enumerate(arrays) if a is not None and a.ndim not in (1, 2)]
    if len(sizes) != 1 or odd:
        detail = ", ".join(f"{size} x {count}" for size, count in sizes.most_common(4))
        raise FeatureError(
            f"{modality} vectors are not all of one size (found: {detail or 'none'}"
            + (f"; rows {some(odd)} are no vectors" if odd else "")
            + "); they were mixed from several encoders"
        )
    result: list[FloatArray | None] = []
    bad: list[int] = []
    for number, array in enumerate(arrays):
        fine = array is not None and array.size > 0 and bool(np.isfinite(array).all())
        if array is not None and not fine:
            bad.append(number)
        result.append(
            np.array(np.atleast_2d(array), np.float32) if fine and array is not None else None
        )
    if bad:
        text = f"{modality}: {len(bad)} vectors hold NaN or infinity, or are empty: {some(bad)}"
        if strict:
            raise FeatureError(text)
        findings.append(f"{text} (left out)")
    if all(array is None for array in result):
        raise FeatureError(f"{modality}: no usable vector")
    findings.extend(_odd_values(modality, [a for a in result if a is not None]))
    return result


def _odd_values(modality: str, arrays: Sequence[FloatArray]) -> Iterable[str]:
    low = np.min([a.min(axis=0) for a in arrays], axis=0)
    high = np.max([a.max(axis=0) for a in arrays], axis=0)
    dead = np.flatnonzero(low == high)
    if len(dead) and len(arrays) > 1:
        yield f"{modality}: {len(dead)} of {len(low)} columns are constant: {some(dead.tolist())}"
    empty = sum(not a.any() for a in arrays)
    if empty:
        yield f"{modality}: {empty} vectors are all zero"


def _name_labels(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Turn integer labels into names."""
    numbers = Counter(place for row in rows if (place := _integer(row.get("emotion"))) is not None)
    if numbers and not classes:
        raise LabelError(
            f"labels are integers ({some(sorted(numbers))}); name the classes in their order: "
            "--classes neutral,anger,..."
        )
    outside = {place: count for place, count in numbers.items() if not 0 <= place < len(classes)}
    if outside:
        found = ", ".join(f"{place} x {count}" for place, count in sorted(outside.items()))
        raise LabelError(
            f"labels {found} lie outside the {len(classes)} classes: {', '.join(classes)}"
        )
    named: list[dict[str, Any]] = []
    for row in rows:
        place = _integer(row.get("emotion"))
        named.append({**row, "emotion": classes[place]} if place is not None else dict(row))
    return named


def _integer(value: object) -> int | None:
    if isinstance(value, int | float) and float(value).is_integer():
        return int(value)
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return None


def _utterance(row: Mapping[str, Any], number: int, features: Mapping[Modality, str]) -> Utterance:
    fields = {key: text for key, value in row.items() if (text := str(value).strip())}
    fields.setdefault("id", f"{next(iter(features.values()))}-{number:06d}")
    try:
        return Utterance.model_validate({**fields, "features": features})
    except ValidationError as error:
        raise OptionError(f"row {number}: {Utterance._explain(error)}") from error
