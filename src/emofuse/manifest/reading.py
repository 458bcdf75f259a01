"""Reading a manifest from disk, line by line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from emofuse.errors import ManifestError, shorten
from emofuse.manifest.utterance import Utterance, check_relative

__all__ = ["MAX_LINE", "Lines", "resolve_media", "twice"]

MAX_LINE = 1 << 20


def resolve_media(root: Path, relative: str) -> Path:
    """Resolve a media path below ``root``, refusing one that leaves it through a symbolic link.

    Raises:
        ManifestError: the path leaves the root.
    """
    path = root / check_relative(relative)
    if not path.resolve().is_relative_to(root.resolve()):
        raise ManifestError(
            f"{shorten(relative)} leads out of the corpus root {root}; "
            "choose a root that holds the files themselves"
        )
    return path


def twice(path: Path, number: int, name: str, first: int) -> ManifestError:
    """Say that an id occurs on two lines of a file."""
    return ManifestError(f"{path}:{number}: id {shorten(name)} is already on line {first}")


class Lines:
    """The utterances of a JSONL file, read line by line.

    Attributes:
        root: folder that media paths are relative to; final once the first utterance was given.

    Iterating gives line number and utterance.

    Raises:
        ManifestError: the first bad line, by file and line number; or no utterance at all.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.root = path.parent

    def __iter__(self) -> Iterator[tuple[int, Utterance]]:
        empty = True
        for number, line in _lines(self._path):
            where = f"{self._path}:{number}"
            record = _parse_line(line, where)
            if "manifest" in record and empty:
                self.root = _header_root(record, self._path, number)
                continue
            empty = False
            yield number, _utterance(record, where)
        if empty:
            raise ManifestError(f"{self._path} lists no utterances")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open("rb") as stream:
            for number, raw in enumerate(iter(lambda: stream.readline(MAX_LINE + 1), b""), start=1):
                if len(raw) > MAX_LINE:
                    raise ManifestError(f"{path}:{number}: the line is over {MAX_LINE:,} bytes")
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if line:
                    yield number, line
    except OSError as error:
        raise ManifestError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not UTF-8 text: {error.reason}") from error


def _parse_line(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{where}: not a JSON object: {error}") from error
    if not isinstance(record, dict):
        raise ManifestError(f"{where}: not a JSON object: {shorten(line)}")
    return record


def _header_root(record: dict[str, Any], path: Path, number: int) -> Path:
    header = record["manifest"]
    root = header.get("root") if isinstance(header, dict) else None
    if not isinstance(root, str) or not root or header.get("version", 1) != 1:
        raise ManifestError(f"{path}:{number}: the header must name a root and version 1")
    return path.parent / root


def _utterance(record: dict[str, Any], where: str) -> Utterance:
    try:
        return Utterance.model_validate(record)
    except ValidationError as error:
        raise ManifestError(f"{where}: {Utterance._explain(error)}") from error
