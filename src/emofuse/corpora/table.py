"""A table of one's own: CSV, TSV, JSON lines or Parquet, with any column names."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from pydantic import Field

from emofuse.corpora.contract import Corpus, Place
from emofuse.corpora.files import read_bytes, read_rows, read_text
from emofuse.corpora.findings import Findings
from emofuse.corpora.lists import SPLITS, ListedFiles, native_label, own_word, root_of
from emofuse.errors import CorpusError, OptionError, UsageError, nearest_hint, shorten
from emofuse.manifest import Utterance
from emofuse.options import Options

__all__ = ["CORPUS", "Table", "TableOptions"]

FieldName = Literal[
    "id", "audio", "video", "text", "start", "end", "emotion", "speaker", "gender", "session",
    "dialogue", "language", "split", "valence", "arousal", "dominance",
]  # fmt: skip
USUAL: Mapping[FieldName, tuple[str, ...]] = {
    "id": ("id", "utterance_id", "utt_id", "file_id", "name"),
    "audio": ("audio", "path", "file", "wav", "audio_file", "audio_path", "wav_path", "file_path"),
    "video": ("video", "video_file", "video_path"),
    "text": ("text", "raw_text", "transcript", "transcription", "sentence", "utterance"),
    "start": ("start",),
    "end": ("end",),
    "emotion": ("emotion", "label", "emotion_label"),
    "speaker": ("speaker", "speaker_id", "spk"),
    "gender": ("gender", "sex"),
    "session": ("session", "session_id"),
    "dialogue": ("dialogue", "dialogue_id"),
    "language": ("language",),
    "split": ("split",),
    "valence": ("valence",),
    "arousal": ("arousal", "activation"),
    "dominance": ("dominance",),
}
"""Column names looked for where the user names none; case does not count."""
PLAIN = ("speaker", "gender", "session", "dialogue", "language")
READERS = ".csv .tsv .txt .jsonl .ndjson .parquet .pq"

Row = tuple[str, dict[str, Any]]


class TableOptions(Options):
    """How to read the table.

    Attributes:
        root: folder that paths start from; the table's own unless told.
        columns: field of an utterance -> column (``columns.emotion=label``).
        labels: label in the table -> emotion (``labels.0=anger``).
        votes: emotion -> column with the share or the number of annotators who chose it.
        corpus: name to write; the table's file name unless told.
        language: of every utterance, where no column tells.
    """

    root: str | None = None
    columns: dict[FieldName, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    votes: dict[str, str] = Field(default_factory=dict)
    corpus: str | None = None
    language: str | None = None


class Table(Corpus[TableOptions]):
    """Reads a table with one utterance a row; columns it does not know go into ``extra``.

    Labels may be any words: those outside the vocabulary are kept, and the label scheme decides.
    """

    name = "table"
    about = "a table of your own: CSV, TSV, JSON lines or Parquet, any column names"
    licence = "your own"
    scheme = "ekman7"
    layout = "a table with a header, a row an utterance, and a column with paths or text"
    takes_files: ClassVar[bool] = True
    options_type = TableOptions

    def locate(self, sources: tuple[Path, ...], options: TableOptions) -> Place:
        """Start paths at the option ``root``, else in the table's folder."""
        if len(sources) != 1:
            raise UsageError(f"table takes one file, not {len(sources)}")
        if not sources[0].is_file():
            what = "a folder" if sources[0].is_dir() else "missing"
            raise CorpusError(f"{sources[0]} is {what}; table expects {self.layout}")
        return Place(root_of(options.root, sources[0]), sources)

    def read(
        self, place: Place, options: TableOptions, findings: Findings
    ) -> Iterator[Utterance | None]:
        """Give an utterance a row."""
        source = place.sources[0]
        rows = list(_rows(source, findings))
        columns = _columns(rows, options, source, findings)
        files = ListedFiles(place.root, findings)
        for number, (where, row) in enumerate(rows, start=1):
            yield _utterance(number, where, row, columns=columns, options=options, files=files)
        files.check()


def _columns(
    rows: Sequence[Row], options: TableOptions, source: Path, findings: Findings
) -> Mapping[FieldName, str]:
    """Choose the column of every field: the user's, else a usual name."""
    present = list(dict.fromkeys(name for _, row in rows for name in row))
    taken = {*options.columns.values(), *options.votes.values()}
    for name in sorted(taken) if rows else ():
        if name not in present:
            raise OptionError(f"{source} has no column {name!r}; {nearest_hint(name, present)}")
    lower = {name.lower(): name for name in present if name not in taken}
    found: dict[FieldName, str] = {}
    for field, usual in USUAL.items():
        guesses = [lower[name] for name in usual if name in lower]
        if field in options.columns or guesses:
            found[field] = options.columns.get(field) or guesses[0]
    if rows and not {"audio", "video", "text"} & set(found):
        raise OptionError(
            f"{source}: no column holds audio, video or text (columns: "
            f"{shorten(', '.join(present), 200)}); name one: --option columns.audio=COLUMN"
        )
    if "id" not in options.columns and "id" in found and not _unique(rows, found["id"]):
        message = f"column {found['id']} is not unique: ids made of paths or row numbers"
        findings.add("note", message, serious=False)
        del found["id"]
    if found:
        listed = ", ".join(f"{field}={column}" for field, column in found.items())
        findings.add("note", f"columns read: {listed}", serious=False)
    return found


def _unique(rows: Sequence[Row], column: str) -> bool:
    values = [str(row.get(column)) for _, row in rows]
    return len(set(values)) == len(values)


def _utterance(
    number: int,
    where: str,
    row: Mapping[str, Any],
    *,
    columns: Mapping[FieldName, str],
    options: TableOptions,
    files: ListedFiles,
) -> Utterance | None:  # fmt: skip
    cell: dict[str, Any] = {field: _plain(row.get(column)) for field, column in columns.items()}
    text = _text(cell.get("text"))
    paths = {
        kind: None
        if cell.get(kind) is None
        else files.find(str(cell[kind]), where, text is not None)
        for kind in ("audio", "video")
    }
    if not any(paths.values()) and text is None:
        if cell.get("audio") is None and cell.get("video") is None:
            files.findings.add("bad-line", "neither path nor text; left out", where)
        return None
    native = native_label(cell.get("emotion"))
    votes = {name: _plain(row.get(column)) for name, column in options.votes.items()}
    vad = {name: cell.get(name) for name in ("valence", "arousal", "dominance")}
    split = _text(cell.get("split"))
    try:
        shares = _shares(votes)
    except ValueError as error:
        files.findings.add("bad-line", f"{error}; left out", where)
        return None
    return files.findings.utterance(
        where,
        id=_text(cell.get("id")) or _made_id(paths["audio"] or paths["video"], cell, number),
        corpus=options.corpus or PurePosixPath(where.rpartition(":")[0]).stem,
        **paths,
        text=text,
        start=cell.get("start"),
        end=cell.get("end"),
        emotion=own_word(native, options.labels),
        votes=shares,
        vad=vad if any(value is not None for value in vad.values()) else None,
        **{name: _text(cell.get(name)) for name in PLAIN if name != "language"},
        language=_text(cell.get("language")) or options.language,
        split=None if split is None else SPLITS.get(split.lower(), split),
        extra={"native_emotion": native, **_rest(row, columns, options)},
    )


def _rest(
    row: Mapping[str, Any], columns: Mapping[FieldName, str], options: TableOptions
) -> dict[str, Any]:
    """Keep every other column; a nested value is kept as JSON."""
    used = {*columns.values(), *options.votes.values()}
    found = {name: _plain(value) for name, value in row.items() if name not in used}
    return {
        name: value
        if value is None or isinstance(value, str | int | float | bool)
        else json.dumps(value, default=str)
        for name, value in found.items()
    }


def _made_id(path: str | None, cell: Mapping[str, Any], number: int) -> str:
    """Make an id of the path (and the slice); a row without a file is named by its number."""
    if path is None:
        return f"row-{number}"
    stem = PurePosixPath(path).with_suffix("").as_posix()
    slice_ = [cell.get("start"), cell.get("end")]
    return stem if slice_ == [None, None] else f"{stem}[{slice_[0]}-{slice_[1]}]"


def _shares(votes: Mapping[str, Any]) -> dict[str, float] | None:
    """Turn counts or shares into shares that sum to 1."""
    if all(value is None for value in votes.values()):
        return None
    mistake = ValueError("votes are numbers of 0 or more, not all 0")
    try:
        numbers = {name: float(value if value is not None else 0) for name, value in votes.items()}
    except (TypeError, ValueError, OverflowError) as error:
        raise mistake from error
    total = sum(numbers.values())
    if not math.isfinite(total) or total <= 0 or min(numbers.values()) < 0:
        raise mistake
    return {name: number / total for name, number in numbers.items()}


def _plain(value: Any) -> Any:
    """Give a cell as Python knows it; blank and NaN are none."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _rows(path: Path, findings: Findings) -> Iterator[Row]:
    """Give every row with its place."""
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv", ".txt"):
        for number, row in read_rows(path, _delimiter(path), findings):
            yield f"{path.name}:{number}", row
    elif suffix in (".jsonl", ".ndjson"):
        yield from _json_lines(path, findings)
    elif suffix in (".parquet", ".pq"):
        yield from _parquet(path)
    else:
        raise CorpusError(f"{path} is no table that can be read; legal extensions: {READERS}")


def _delimiter(path: Path) -> str:
    """Tell the delimiter from the header: the one that occurs most."""
    lines = read_text(path).splitlines() or [""]
    return max(",\t;|", key=lines[0].count)


def _json_lines(path: Path, findings: Findings) -> Iterator[Row]:
    for number, line in enumerate(read_bytes(path).split(b"\n"), start=1):
        where = f"{path.name}:{number}"
        try:
            record = json.loads(line.decode("utf-8-sig")) if line.strip() else None
        except (ValueError, RecursionError):
            findings.add("bad-line", "not JSON; left out", where)
            continue
        if isinstance(record, dict):
            yield where, record
        elif record is not None:
            findings.add("bad-line", "not a JSON object; left out", where)


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as table:
            number = 0
            for batch in table.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path.name}:{number}", row
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorpusError(f"{path} is not Parquet: {error}") from error


CORPUS = Table()
