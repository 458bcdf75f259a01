"""The file every figure comes from: one row an utterance, fold and seed (``predictions.parquet``).

Columns: ``id``, ``corpus``, ``fold``, ``seed``, ``speaker``, ``session``, ``dialogue``, ``gender``,
``gold`` and ``predicted`` (class names), ``p:<class>`` (probabilities, in the order of the label
scheme) and ``w:<modality>`` (share of the decision). The class list and the modalities also lie in
the metadata of the file.

There may be more: ``age`` (years) and ``language``; ``vad:<dimension>`` and
``gold_vad:<dimension>`` on the scale of the label scheme; ``c:<class>`` (calibrated
probabilities), ``t:<class>`` (least calibrated probability that puts a class into the set) and
``answer_above`` (least calibrated confidence that is answered).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emofuse.errors import WorkError, shorten
from emofuse.storage import atomic_path

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = [
    "CALIBRATED",
    "DIMENSIONS",
    "GOLD_VAD",
    "PROBABILITY",
    "SILENCE",
    "THRESHOLD",
    "VAD",
    "WEIGHT",
    "calibrated_of",
    "check_predictions",
    "modalities_of",
    "read_predictions",
    "write_predictions",
]

PROBABILITY = "p:"
WEIGHT = "w:"
CALIBRATED, THRESHOLD, SILENCE = "c:", "t:", "answer_above"
VAD, GOLD_VAD = "vad:", "gold_vad:"
DIMENSIONS = ("valence", "arousal", "dominance")
REQUIRED_TEXT = ("id", "fold", "gold", "predicted")
OPTIONAL_TEXT = ("corpus", "speaker", "session", "dialogue", "gender", "language")
COLUMNS = (
    *("id", "corpus", "fold", "seed", "speaker", "session", "dialogue", "gender"),
    *("gold", "predicted"),
)
METADATA = b"emofuse"
TOLERANCE = 1e-3
TIE = 1e-6


def modalities_of(frame: pd.DataFrame) -> tuple[str, ...]:
    """Modalities whose weights the frame holds, in column order."""
    return tuple(str(c).removeprefix(WEIGHT) for c in frame.columns if str(c).startswith(WEIGHT))


def write_predictions(path: Path, frame: pd.DataFrame, classes: Sequence[str]) -> None:
    """Check predictions and write them as Parquet, atomically.

    Args:
        path: the file to write.
        frame: one row an utterance, fold and seed; columns as described above. Unknown speakers,
            sessions, dialogues, genders and corpora are None or NaN.
        classes: class names in the order of the label scheme.

    Raises:
        WorkError: a column is missing or unknown, or a row is wrong (see `check_predictions`).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_predictions(frame, classes, str(path))
    modalities = modalities_of(frame)
    schema = _schema(classes, modalities, frame.columns)
    unknown = [name for name in frame.columns if name not in schema.names]
    if unknown:
        raise WorkError(f"{path}: unknown column {shorten(unknown[0])}; legal: {_legal(schema)}")
    try:
        table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    except (pa.ArrowException, UnicodeError) as error:
        raise WorkError(f"{path}: predictions cannot be stored: {error}") from error
    note = json.dumps({"format": 1, "classes": list(classes), "modalities": list(modalities)})
    table = table.replace_schema_metadata({METADATA: note.encode()})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_predictions(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read predictions and check every row.

    Returns:
        the rows, and the class names in order.

    Raises:
        WorkError: the file is missing, empty or no Parquet, or a row is wrong.
    """
    table = _read_table(path)
    classes = _stored_classes(table, path)
    try:
        frame = table.replace_schema_metadata(None).to_pandas()
    except (ValueError, TypeError, NotImplementedError) as error:
        raise WorkError(f"{path}: columns that cannot be read: {error}") from error
    coded = frame.select_dtypes("category").columns
    frame = frame.astype(dict.fromkeys(coded, object))
    check_predictions(frame, classes, str(path))
    return frame, classes


def check_predictions(frame: pd.DataFrame, classes: Sequence[str], where: str) -> None:
    """Refuse predictions that cannot be believed.

    Args:
        frame: as for `write_predictions`.
        classes: class names in order.
        where: what the frame is, for messages (a file name).

    Raises:
        WorkError: a missing column; no rows; a missing id, fold, seed or label; a label outside the
            classes; probabilities that are NaN, outside [0, 1] or do not sum to 1; a predicted
            class that is not the most probable; weights that are no shares; an id twice in one
            fold and seed. The message names the first such row.
    """
    _check_columns(frame, classes, where)
    _check_keys(frame, where)
    _check_labels(frame, classes, where)
    _check_probabilities(frame, classes, where)
    _check_weights(frame, where)
    _check_more(frame, classes, where)


def _check_columns(frame: pd.DataFrame, classes: Sequence[str], where: str) -> None:
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise WorkError(f"{where}: the class list {shorten(list(classes))} needs 2 or more names")
    wanted = [*COLUMNS, *(PROBABILITY + name for name in classes)]
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise WorkError(f"{where}: column {missing[0]!r} is missing{more}; train the run again")
    doubled = frame.columns[frame.columns.duplicated()]
    if len(doubled):
        raise WorkError(f"{where}: column {doubled[0]!r} occurs twice")
    stray = [name for name in frame.columns if name.startswith(PROBABILITY) and name not in wanted]
    if stray:
        raise WorkError(f"{where}: column {stray[0]!r} names no class; legal: {', '.join(classes)}")
    if not len(frame):
        raise WorkError(f"{where} holds no predictions; train the run again")


def _check_keys(frame: pd.DataFrame, where: str) -> None:
    for name in REQUIRED_TEXT:
        present = frame[name].map(lambda value: isinstance(value, str) and bool(value))
        _refuse(frame, ~present.to_numpy(bool), where, f"{name} is missing or no text")
    for name in (one for one in OPTIONAL_TEXT if one in frame.columns):
        wrong = frame[name].notna() & ~frame[name].map(lambda value: isinstance(value, str))
        _refuse(frame, wrong.to_numpy(bool), where, f"{name} is no text")
    if frame["seed"].dtype.kind not in "iu":
        raise WorkError(f"{where}: column 'seed' must hold whole numbers, not {frame.seed.dtype}")
    doubled = frame.duplicated(["id", "fold", "seed"]).to_numpy(bool)
    _refuse(frame, doubled, where, "this id occurs twice in its fold and seed")


def _check_labels(frame: pd.DataFrame, classes: Sequence[str], where: str) -> None:
    for name in ("gold", "predicted"):
        outside = ~frame[name].isin(list(classes)).to_numpy(bool)
        if outside.any():
            value = frame[name].iloc[int(outside.argmax())]
            legal = ", ".join(classes)
            _refuse(frame, outside, where, f"{name} {shorten(value)} is no class; legal: {legal}")


def _check_probabilities(frame: pd.DataFrame, classes: Sequence[str], where: str) -> None:
    values = _numbers(frame, [PROBABILITY + name for name in classes], where)
    _refuse(frame, ~np.isfinite(values).all(axis=1), where, "a probability is not a number")
    outside = ((values < -TIE) | (values > 1 + TOLERANCE)).any(axis=1)
    _refuse(frame, outside, where, "a probability is outside 0 to 1")
    total = values.sum(axis=1)
    wrong = np.abs(total - 1.0) > TOLERANCE
    if wrong.any():
        found = total[int(wrong.argmax())]
        _refuse(frame, wrong, where, f"the probabilities sum to {found:.4g}, not 1")
    places = {name: place for place, name in enumerate(classes)}
    chosen = frame["predicted"].map(places).to_numpy(int)
    lower = values[np.arange(len(values)), chosen] < values.max(axis=1) - TIE
    _refuse(frame, lower, where, "the predicted class is not the most probable one")


def _check_weights(frame: pd.DataFrame, where: str) -> None:
    names = [WEIGHT + name for name in modalities_of(frame)]
    if names:
        values = _numbers(frame, names, where)
        wrong = ~((values >= -TIE) & (values <= 1 + TOLERANCE)).all(axis=1)
        _refuse(frame, wrong, where, "a modality's weight is not between 0 and 1")


def _check_more(frame: pd.DataFrame, classes: Sequence[str], where: str) -> None:
    """Look through the columns that need not be there."""
    for start in (CALIBRATED, THRESHOLD):
        names = [start + name for name in classes]
        there = [name for name in names if name in frame.columns]
        if there and len(there) < len(names):
            raise WorkError(f"{where}: column {sorted(set(names) - set(there))[0]!r} is missing")
        if not there:
            continue
        values = _numbers(frame, names, where)
        unknown = np.isnan(values).all(axis=1)
        inside = ((values >= -TIE) & (values <= 1 + TOLERANCE)).all(axis=1)
        _refuse(frame, ~(unknown | inside), where, f"a {start}<class> is not between 0 and 1")
        if start == CALIBRATED:
            whole = np.abs(values.sum(axis=1) - 1.0) <= TOLERANCE
            _refuse(frame, ~(unknown | whole), where, "calibrated probabilities do not sum to 1")
    starts = (VAD, GOLD_VAD)
    plain = [n for n in frame.columns if n.startswith(starts) or n in ("age", SILENCE)]
    if plain:
        wrong = np.isinf(_numbers(frame, plain, where)).any(axis=1)
        _refuse(frame, wrong, where, "a number is infinite")


def calibrated_of(frame: pd.DataFrame, classes: Sequence[str]) -> NDArray[np.float64] | None:
    """Calibrated probabilities ``(rows, classes)``; None where a row has none."""
    names = [CALIBRATED + name for name in classes]
    if not set(names) <= set(frame.columns):
        return None
    values = frame[names].to_numpy(np.float64)
    return None if np.isnan(values).any() else values


def _numbers(frame: pd.DataFrame, names: list[str], where: str) -> NDArray[np.float64]:
    strange = [name for name in names if frame[name].dtype.kind not in "fiu"]
    if strange:
        raise WorkError(f"{where}: column {strange[0]!r} must hold numbers")
    return frame[names].to_numpy(np.float64)


def _refuse(frame: pd.DataFrame, wrong: ArrayLike, where: str, reason: str) -> None:
    rows = np.flatnonzero(wrong)
    if len(rows):
        row = int(rows[0])
        more = f" ({len(rows)} such rows)" if len(rows) > 1 else ""
        name = shorten(frame["id"].iloc[row])
        raise WorkError(f"{where}: row {row + 1} (id {name}): {reason}{more}")


def _schema(classes: Sequence[str], modalities: Sequence[str], there: Collection[str]) -> pa.Schema:
    import pyarrow as pa

    fields = [(name, pa.int64() if name == "seed" else pa.string()) for name in COLUMNS]
    fields += [(PROBABILITY + name, pa.float64()) for name in classes]
    fields += [(WEIGHT + name, pa.float64()) for name in modalities]
    starts = [(CALIBRATED, classes), (THRESHOLD, classes)]
    starts += [(VAD, DIMENSIONS), (GOLD_VAD, DIMENSIONS)]
    more = [(start + name, pa.float64()) for start, names in starts for name in names]
    more += [(SILENCE, pa.float64()), ("age", pa.float64()), ("language", pa.string())]
    fields += [(name, kind) for name, kind in more if name in there]
    return pa.schema(fields)


def _legal(schema: pa.Schema) -> str:
    return ", ".join(schema.names)


def _read_table(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if not path.stat().st_size:
            raise WorkError(f"{path} is empty; train the run again")
        with path.open("rb") as stream:
            return pq.ParquetFile(stream).read()
    except OSError as error:
        reason = error.strerror or "it is no whole Parquet file; train the run again"
        raise WorkError(f"cannot read {path}: {reason}") from error
    except (pa.ArrowException, ValueError) as error:
        raise WorkError(
            f"cannot read {path}: it is no whole Parquet file; train the run again"
        ) from error


def _stored_classes(table: pa.Table, path: Path) -> tuple[str, ...]:
    raw = (table.schema.metadata or {}).get(METADATA)
    if raw is None:
        raise WorkError(f"{path} was not written by emofuse: its metadata names no classes")
    try:
        note = json.loads(raw)
        classes = note["classes"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WorkError(f"{path}: its metadata names no classes") from error
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise WorkError(f"{path}: its metadata names no list of classes")
    return tuple(classes)
