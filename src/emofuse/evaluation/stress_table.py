"""Stress as a table and as a picture, from its summary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emofuse.errors import WorkError
from emofuse.evaluation.tables import Table, p_value, percent
from emofuse.storage import read_json

__all__ = ["read_stress", "stress_table"]

SUMMARY = "summary.json"


def read_stress(run: Path) -> dict[str, Any] | None:
    """Read what `emofuse evaluate --stress` left in a run; None where there is nothing.

    Raises:
        WorkError: it is damaged.
    """
    path = run / "stress" / SUMMARY
    if not path.is_file():
        return None
    found = read_json(path)
    rows = found.get("conditions") if isinstance(found, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise WorkError(f"{path} lists no conditions; delete it and run evaluate --stress again")
    return {str(key): value for key, value in found.items()}


def stress_table(summary: Mapping[str, Any], name: str = "") -> Table:
    """One row a condition: UA, what it lost against clean with its interval, p, answers moved."""
    clean = summary["clean"]["ua"]
    rows: list[tuple[str, ...]] = [
        ("clean", percent(clean), _ends(summary["clean_interval"]), "", "", "", "", "")
    ]
    rows += [_row(row) for row in summary["conditions"]]
    title = (
        f"{name + ': ' if name else ''}UA in % under stress; difference from clean paired by "
        f"{summary['unit']} ({summary['clusters']:,}), 95 %"
    )
    heads = ("condition", "UA", "95 %", "less clean", "95 % of it", "p Holm", "moved %", "failed")
    return Table(title, heads, tuple(rows))


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    interval = row["difference_interval"]
    low, high = interval.get("low"), interval.get("high")
    return (
        str(row["label"]),
        percent(row["metrics"]["ua"]),
        _ends(row["interval"]),
        _points(row["difference"]),
        "none" if low is None or high is None else f"{_points(low)} to {_points(high)}",
        p_value(row["p_holm"]),
        percent(row["answers_changed"]),
        f"{row['failed']:,}" if row["failed"] else "",
    )


def _points(value: float) -> str:
    """Show a difference in points; what rounds to nothing has no minus."""
    return f"{round(100 * value, 1) + 0.0:+.1f}"


def _ends(interval: Mapping[str, Any]) -> str:
    low, high = interval.get("low"), interval.get("high")
    return "none" if low is None or high is None else f"{percent(low)} to {percent(high)}"
