"""CSV: three long tables below the job, ``tracking/{scalars,histograms,confusion}.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np

from emofuse.storage import write_text
from emofuse.training.trackers.contract import Place, Seen

__all__ = ["CsvTracker"]

COLUMNS = {
    "scalars": ("phase", "epoch", "name", "value"),
    "histograms": ("phase", "epoch", "name", "low", "high", "count"),
    "confusion": ("phase", "epoch", "gold", "recognised", "count"),
}
BINS = 20


class CsvTracker:
    """Tables that any tool reads.

    Lines are added epoch by epoch. After a kill the epochs that come again replace their lines.

    Args:
        folder: where the tables go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begun: set[str] = set()

    @classmethod
    def prepare(cls, root: Path, run: str) -> None:
        """Nothing to do."""
        del root, run

    @classmethod
    def open(cls, place: Place) -> Self:
        """Begin, or go on after a kill."""
        return cls(place.folder / "tracking")

    def show(self, phase: str, epoch: int, seen: Seen) -> None:
        """Add the lines of an epoch."""
        if phase not in self._begun:
            self._begun.add(phase)
            for table in COLUMNS:
                self._begin(table, phase, epoch)
        start = (phase, epoch)
        self._add("scalars", ((*start, n, f"{v:.9g}") for n, v in seen.scalars.items()))
        for name, values in seen.histograms.items():
            counts, edges = np.histogram(values, bins=BINS)
            bars = zip(edges[:-1], edges[1:], counts, strict=True)
            lines = ((*start, name, f"{a:.6g}", f"{b:.6g}", int(c)) for a, b, c in bars)
            self._add("histograms", lines)
        if seen.confusion is not None:
            for gold, counts in zip(seen.classes, seen.confusion.tolist(), strict=True):
                cells = zip(seen.classes, counts, strict=True)
                self._add("confusion", ((*start, gold, name, count) for name, count in cells))

    def close(self) -> None:
        """Nothing to do: every line is on disk."""

    def _begin(self, table: str, phase: str, epoch: int) -> None:
        """Write the head, and keep the lines of epochs that do not come again."""
        path, kept = self._folder / f"{table}.csv", io.StringIO()
        writer = csv.writer(kept, lineterminator="\n")
        writer.writerow(COLUMNS[table])
        if path.exists():
            with path.open(newline="", encoding="utf-8") as stream:
                for line in csv.DictReader(stream):
                    whole = None not in line.values()
                    if whole and (line["phase"] != phase or int(line["epoch"]) < epoch):
                        writer.writerow(line.values())
        write_text(path, kept.getvalue())

    def _add(self, table: str, lines: Iterable[tuple[object, ...]]) -> None:
        path = self._folder / f"{table}.csv"
        with path.open("a", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows(lines)
