"""Databases in audformat: a header ``db.yaml`` and tables beside it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import Field

from emofuse.corpora.contract import Corpus, Place
from emofuse.corpora.findings import Findings
from emofuse.corpora.lists import SPLITS, ListedFiles, native_label, own_word, root_of
from emofuse.errors import CorpusError, MissingExtraError, OptionError, UsageError, nearest_hint
from emofuse.manifest import Utterance
from emofuse.options import Options, load_yaml

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CORPUS", "Audformat", "AudformatOptions"]

TEXTS = ("transcription", "transcript", "text")
TABLE_NAME = re.compile(r"[\w.-]+")
NAMED = ("speaker", "session", "dialogue", "gender", "language")

UNFIT = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What audformat and pandas raise at a header or a table that makes no sense."""

Key = tuple[str, float | None, float | None]


class AudformatOptions(Options):
    """What to read.

    Attributes:
        table: table with the emotions; unless told, the first that has such a column.
        column: its column with the emotions.
        labels: label in the database -> emotion.
        splits: table -> ``train``, ``dev`` or ``test``, for tables whose own split says nothing.
        corpus: name to write; the database's own unless told.
    """

    table: str | None = None
    column: str = "emotion"
    labels: dict[str, str] = Field(default_factory=dict)
    splits: dict[str, str] = Field(default_factory=dict)
    corpus: str | None = None


class Audformat(Corpus[AudformatOptions]):
    """Reads a database folder: one table with emotions, the others for what they add.

    Pickled tables are refused and the header is read as plain YAML: nothing in the folder is run.
    """

    name = "audformat"
    about = "a database in audformat (audb): any table with emotions (extra: audformat)"
    licence = "that of the database; see its db.yaml"
    scheme = "ekman7"
    layout = "db.yaml with tables db.NAME.csv or db.NAME.parquet beside it"
    options_type = AudformatOptions

    def locate(self, sources: tuple[Path, ...], options: AudformatOptions) -> Place:
        """Take the folder, or its ``db.yaml``."""
        if len(sources) != 1:
            raise UsageError(f"audformat takes one folder, not {len(sources)}")
        root = root_of(None, sources[0]) if sources[0].is_file() else sources[0]
        if not (root / "db.yaml").is_file():
            raise CorpusError(f"no db.yaml in {root}: audformat expects {self.layout}")
        return Place(root, (root,))

    def read(
        self, place: Place, options: AudformatOptions, findings: Findings
    ) -> Iterator[Utterance | None]:
        """Give an utterance a row of the table with emotions."""
        with warnings.catch_warnings():  # audformat calls pandas in ways that pandas deprecates
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            try:
                found = self._read(place, options, findings)
            except UNFIT as error:
                reason = f"{type(error).__name__} {error}".strip()
                raise CorpusError(f"{place.root} is no audformat database: {reason}") from error
        yield from found

    def _read(
        self, place: Place, options: AudformatOptions, findings: Findings
    ) -> list[Utterance | None]:
        database = _load(place.root)
        table = _choose(database, options)
        frame = _frame(database, table)
        others = [_records(_frame(database, t)) for t in database.tables if t != table]
        parts = _parts(database, options)
        files = ListedFiles(place.root, findings)
        name = str(database.name)
        found = [
            _utterance(
                key,
                {**_looked_up(others, key), **row},
                parts=parts,
                options=options,
                files=files,
                name=name,
            )
            for key, row in _records(frame).items()
        ]
        files.check()
        return found


def _load(root: Path) -> Any:
    """Load header and tables without running anything: safe YAML, no pickles."""
    try:
        import audformat
    except ImportError as error:
        raise MissingExtraError("audformat", "audformat") from error

    pickles = sorted(path.name for path in root.glob("db.*.pkl"))
    if pickles:
        raise CorpusError(
            f"{root / pickles[0]} is a pickle, which can run code and is never opened; delete the "
            "db.*.pkl files (db.*.csv or db.*.parquet hold the same)"
        )
    header = load_yaml(root / "db.yaml")
    if not isinstance(header, Mapping):
        raise CorpusError(f"{root / 'db.yaml'} is no audformat header")
    database = audformat.Database.load_header_from_yaml(dict(header))
    for name in (*database.misc_tables, *database.tables):
        if not TABLE_NAME.fullmatch(name):
            raise CorpusError(f"{root / 'db.yaml'}: {name!r} is no legal name of a table")
        database[name].load(str(root / f"db.{name}"))
    return database


def _choose(database: Any, options: AudformatOptions) -> str:
    tables = {name: list(database[name].columns) for name in database.tables}
    having = [name for name, columns in tables.items() if options.column in columns]
    if options.table is not None and options.table not in tables:
        hint = nearest_hint(options.table, tables)
        raise OptionError(f"the database has no table {options.table!r}; {hint}")
    if options.table is not None and options.table in having:
        return options.table
    if options.table is not None or not having:
        columns = sorted({column for listed in tables.values() for column in listed})
        hint = nearest_hint(options.column, columns)
        where = f"table {options.table}" if options.table is not None else "no table"
        raise OptionError(f"column {options.column!r} not found ({where}); {hint}")
    chosen: str = min(having, key=lambda name: (name != options.column, list(tables).index(name)))
    return chosen


def _frame(database: Any, table: str) -> pd.DataFrame:
    """Give a table, with what its schemes say about a label (a speaker's gender) as columns."""
    found = database[table]
    frame: pd.DataFrame = found.get().copy()
    for column_id, column in found.columns.items():
        scheme = database.schemes.get(column.scheme_id) if column.scheme_id else None
        labels = getattr(scheme, "labels", None)
        if isinstance(labels, str):
            labels = database[labels].df.to_dict("index")
        if not isinstance(labels, dict) or column_id not in NAMED:
            continue
        for key in {k for told in labels.values() if isinstance(told, dict) for k in told}:
            if key not in frame.columns:
                frame[key] = [_told(labels, value, key) for value in frame[column_id]]
    return frame


def _told(labels: Mapping[Any, Any], value: Any, key: str) -> Any:
    told = labels.get(value)
    return told.get(key) if isinstance(told, Mapping) else None


def _key(key: Any) -> Key:
    """Give the file of a row and, where it is a part of one, its ends in seconds."""
    import pandas as pd

    if not isinstance(key, tuple):
        return str(key), None, None
    name, start, end = key
    first: float | None = None if pd.isna(start) else float(start.total_seconds())
    last: float | None = None if pd.isna(end) else float(end.total_seconds())
    return (str(name), None, None) if not first and last is None else (str(name), first, last)


def _records(frame: pd.DataFrame) -> dict[Key, dict[str, Any]]:
    """Give the rows by key, without what is missing."""
    import pandas as pd

    return {
        _key(key): {str(name): value for name, value in row.items() if not pd.isna(value)}
        for key, row in zip(frame.index, frame.to_dict("records"), strict=True)
    }


def _looked_up(others: list[dict[Key, dict[str, Any]]], key: Key) -> dict[str, Any]:
    """Collect what other tables say about a row: of the same segment, or of the whole file."""
    found: dict[str, Any] = {}
    for wanted in dict.fromkeys((key, (key[0], None, None))):
        for records in others:
            found = {**records.get(wanted, {}), **found}
    return found


def _parts(database: Any, options: AudformatOptions) -> dict[Key, str]:
    """Tell which rows belong to an official part: by the table's split, or as the user says."""
    parts: dict[Key, str] = {}
    for name, table in database.tables.items():
        split = database.splits.get(table.split_id) if table.split_id else None
        word = options.splits.get(name) or (split.type if split is not None else None)
        part = SPLITS.get(str(word).lower()) if word else None
        if part is not None:
            parts.update(dict.fromkeys(map(_key, table.index), part))
    unknown = [name for name in options.splits if name not in database.tables]
    if unknown:
        hint = nearest_hint(unknown[0], database.tables)
        raise OptionError(f"the database has no table {unknown[0]!r}; {hint}")
    return parts


def _utterance(
    key: Key,
    values: Mapping[str, Any],
    *,
    parts: Mapping[Key, str],
    options: AudformatOptions,
    files: ListedFiles,
    name: str,
) -> Utterance | None:
    file, start, end = key
    text = next((str(values[column]) for column in TEXTS if column in values), None)
    path = files.find(file, file, has_text=text is not None)
    if path is None and text is None:
        return None
    native = native_label(values.get(options.column))
    used = {options.column, *TEXTS, *NAMED}
    stem = PurePosixPath(file).with_suffix("").as_posix()
    whole = start is None and end is None
    return files.findings.utterance(
        file,
        id=stem if whole else f"{stem}[{start or 0:g}-{'end' if end is None else f'{end:g}'}]",
        corpus=options.corpus or name,
        audio=path,
        start=start,
        end=end,
        text=text,
        emotion=own_word(native, options.labels),
        **{field: str(values[field]) for field in NAMED if field in values},
        split=parts.get(key, parts.get((file, None, None))),
        extra={
            "native_emotion": native,
            **{field: _plain(value) for field, value in values.items() if field not in used},
        },
    )


def _plain(value: Any) -> str | int | float | bool:
    item = value.item() if hasattr(value, "item") else value
    return item if isinstance(item, str | int | float | bool) else str(item)


CORPUS = Audformat()
