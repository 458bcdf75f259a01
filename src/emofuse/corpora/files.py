"""Files of a corpus: one walk over the tree, text in whatever encoding, tables."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from emofuse.corpora.findings import Findings
from emofuse.errors import CorpusError, nearest_hint, shorten
from emofuse.media.audio import AUDIO_EXTENSIONS

__all__ = [
    "MEDIA_EXTENSIONS",
    "VIDEO_EXTENSIONS",
    "Tree",
    "decode_text",
    "read_bytes",
    "read_rows",
    "read_text",
    "whole_number",
]

VIDEO_EXTENSIONS = (".mp4", ".mkv", ".mov", ".avi", ".flv", ".webm", ".mpg")
MEDIA_EXTENSIONS = (*AUDIO_EXTENSIONS, *VIDEO_EXTENSIONS)
MAX_TEXT_BYTES = 1 << 30


class Tree:
    """All files under a folder, by relative path, listed once and in a fixed order.

    Ghost files (``._name``, left by macOS) and linked folders, which are not followed, are
    counted as findings.

    Args:
        root: the folder.
        findings: where to count.
    """

    def __init__(self, root: Path, findings: Findings) -> None:
        self.root = root
        found: list[str] = []

        def refuse(error: OSError) -> None:
            place = Path(str(error.filename or root)).name
            findings.add("unlisted", f"folder cannot be read ({error.strerror})", place)

        for folder, folders, names in os.walk(root, onerror=refuse):
            here = Path(folder).relative_to(root)
            for name in folders:
                if (Path(folder) / name).is_symlink():
                    findings.add("link", "linked folder, not followed", (here / name).as_posix())
            found.extend(_listed(here, names, findings))
        self.files = tuple(sorted(found))

    def having(self, extensions: Sequence[str] = AUDIO_EXTENSIONS) -> Iterator[PurePosixPath]:
        """Give the relative paths with one of these extensions (case does not count)."""
        for name in self.files:
            path = PurePosixPath(name)
            if path.suffix.lower() in extensions:
                yield path

    def named(self, name: str) -> list[Path]:
        """Give the files of this name at any level, the nearest to the root first."""
        wanted = name.lower()
        found = [PurePosixPath(f) for f in self.files if f.lower().endswith(wanted)]
        exact = [path for path in found if path.name.lower() == wanted]
        return [self.root / path for path in sorted(exact, key=lambda p: (len(p.parts), p))]


def _listed(folder: Path, names: Sequence[str], findings: Findings) -> Iterator[str]:
    for name in names:
        relative = (folder / name).as_posix()
        if name.startswith("._"):
            findings.add("ghost", "not a recording but a note of macOS", relative, serious=False)
        elif not relative.isprintable():
            findings.add("unknown-name", "the file's name is not legal text", relative)
        else:
            yield relative


def read_bytes(path: Path) -> bytes:
    """Read a whole file.

    Raises:
        CorpusError: it cannot be read, or is over 1 GiB.
    """
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise CorpusError(f"{path} is over 1 GiB: not a list or a transcript")
        return path.read_bytes()
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror or error}") from error


def decode_text(data: bytes, fallbacks: Sequence[str] = ("cp1252",)) -> str:
    r"""Decode text whose encoding is not stated.

    A byte-order mark decides; else many NUL bytes mean UTF-16; else UTF-8; else the fallbacks in
    order, the last of which replaces what it cannot decode.

    >>> decode_text("\u4f60\u597d".encode("utf-16")), decode_text(b"caf\xe9")
    ('你好', 'café')
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    head = data[:1000]
    if head.count(0) > len(head) // 10:
        little = head[1::2].count(0) >= head[0::2].count(0)
        return data.decode("utf-16-le" if little else "utf-16-be", "replace")
    for encoding in ("utf-8-sig", *fallbacks[:-1]):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    try:
        return data.decode(fallbacks[-1])
    except UnicodeDecodeError:
        return data.decode(fallbacks[-1], "replace")


def read_text(path: Path, fallbacks: Sequence[str] = ("cp1252",)) -> str:
    """Read text whose encoding is not stated (see `decode_text`).

    Raises:
        CorpusError: the file cannot be read.
    """
    return decode_text(read_bytes(path), fallbacks)


def read_rows(
    path: Path, delimiter: str, findings: Findings, required: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """Read a table with a header; a row with too few or too many cells is a bad line.

    Yields:
        the number of the line on which the row ends, and its cells by column.

    Raises:
        CorpusError: the file cannot be read, is no table, or lacks a required column.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter)
    try:
        columns = [name.strip() for name in next(reader, [])]
        _check_header(path, columns, required)
        for cells in reader:
            if len(cells) == len(columns):
                yield reader.line_num, dict(zip(columns, cells, strict=True))
            elif cells:
                message = f"{len(cells)} cells under {len(columns)} columns; left out"
                findings.add("bad-line", message, f"{path.name}:{reader.line_num}")
    except csv.Error as error:
        raise CorpusError(f"{path}:{reader.line_num}: not a table: {error}") from error


def _check_header(path: Path, columns: Sequence[str], required: Sequence[str]) -> None:
    lacking = [name for name in required if name not in columns]
    doubles = [name for name, count in Counter(columns).items() if count > 1]
    if lacking:
        hint = nearest_hint(lacking[0], columns)
        raise CorpusError(f"{path} has no column {lacking[0]!r}; {hint}")
    if doubles:
        raise CorpusError(f"{path} has the column {shorten(doubles[0])} twice; rename one")


def whole_number(cell: str) -> int | None:
    """Read an age or a count; anything else is none.

    >>> whole_number(" 31 "), whole_number("old")
    (31, None)
    """
    text = cell.strip()
    return int(text) if text.isdecimal() and len(text) <= 9 else None
