"""Logs as JSON, a line an event, without content: no text, no audio, no names, no addresses."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import TextIO

__all__ = ["LOGGER", "JsonLines", "event", "trace_of", "write_logs"]

LEVELS = {
    "emofuse.server": logging.INFO,
    "uvicorn": logging.WARNING,
    "python_multipart": logging.ERROR,
}
LOGGER = logging.getLogger("emofuse.server")


def event(name: str, level: int = logging.INFO, **facts: object) -> None:
    """Log an event with its facts; whoever calls gives none that a client wrote."""
    LOGGER.log(level, name, extra={"facts": facts})


def trace_of(error: BaseException) -> dict[str, object]:
    """Say where an error comes from, but not its message, which may hold content."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    return {
        "error": type(error).__name__,
        "where": [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames],
    }


class JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        facts = getattr(record, "facts", None)
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.msg if facts is not None else record.name,
        }
        line |= facts or {}
        if facts is None:  # of a library: its message may hold content, its place does not
            line["where"] = f"{record.filename}:{record.lineno}"
        if record.exc_info and record.exc_info[1] is not None:
            line |= trace_of(record.exc_info[1])
        return json.dumps(line, ensure_ascii=True, default=str)


def write_logs(stream: TextIO | None = None) -> None:
    """Write the events of service and web server to a stream, standard error unless told."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in LEVELS.items():
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
