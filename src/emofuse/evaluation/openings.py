"""How often a run looked at test labels, when, and why (``openings.jsonl``).

A test set that is looked at often enough is a dev set. So whoever joins predictions with test
labels writes a line first: the record is there even where the work after it fails.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from emofuse.errors import WorkError

__all__ = ["Opening", "count_openings", "read_openings", "record_opening"]

NAME = "openings.jsonl"


@dataclass(frozen=True)
class Opening:
    """One look at test labels.

    Attributes:
        at: when, ISO 8601 in UTC; empty where the line is damaged.
        why: what for.
        utterances: how many test utterances were looked at; None where the line is damaged.
    """

    at: str
    why: str
    utterances: int | None


def record_opening(folder: Path, why: str, utterances: int) -> int:
    """Write down that test labels are about to be looked at.

    The line goes to the end of the file in one write and is synced before this returns, so that a
    kill or a second process loses none.

    Args:
        folder: of the run.
        why: what for, in a few words.
        utterances: how many test utterances.

    Returns:
        How often the run has opened test, this time included.

    Raises:
        WorkError: the file cannot be written.
    """
    path = folder / NAME
    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = {"at": now, "why": " ".join(why.split()), "utterances": int(utterances)}
    data = (json.dumps(line, ensure_ascii=False) + "\n").encode()
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            if os.fstat(handle).st_size:
                os.lseek(handle, -1, os.SEEK_END)
                if os.read(handle, 1) != b"\n":
                    data = b"\n" + data  # a full disk cut the last line short
            if os.write(handle, data) != len(data):
                raise OSError("the disk is full")
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        reason = error.strerror or str(error)
        raise WorkError(
            f"cannot write {path}: {reason}; test labels are not opened without a record"
        ) from error
    return count_openings(folder)


def read_openings(folder: Path) -> tuple[Opening, ...]:
    """Read the record of a run, oldest first; a damaged line counts as an opening.

    Raises:
        WorkError: the file cannot be read.
    """
    path = folder / NAME
    try:
        if not path.exists():
            return ()
        lines = path.read_bytes().decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise WorkError(f"cannot read {path}: {error.strerror or error}") from error
    return tuple(_opening(line) for line in lines if line.strip())


def count_openings(folder: Path) -> int:
    """Say how often a run looked at test labels.

    Raises:
        WorkError: the record cannot be read.
    """
    return len(read_openings(folder))


def _opening(line: str) -> Opening:
    try:
        note = json.loads(line)
        return Opening(str(note["at"]), str(note["why"]), int(note["utterances"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return Opening("", "damaged line", None)
