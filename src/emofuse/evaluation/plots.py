"""Pictures of a report, as PNG bytes; equal input gives equal bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from emofuse.evaluation.metrics import mean_defined
from emofuse.evaluation.runs import History

__all__ = ["confusion_png", "curves_png", "figure_png"]

DPI = 130
LONGEST_LABEL = 16
COLOURS = ("#1f5fa8", "#c4511d", "#2b7a4b", "#7a4fa3", "#6b6b6b")
BOLD_JOBS = 12


def confusion_png(confusion: NDArray[np.int64], classes: Sequence[str]) -> bytes:
    """Draw a confusion matrix: shade and per cent by row (gold), counts below.

    Args:
        confusion: ``(classes, classes)`` counts, rows gold.
        classes: class names in order.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    size = max(3.6, 0.72 * len(classes) + 1.4)
    figure = Figure(figsize=(size + 0.6, size), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    bar = figure.colorbar(image, ax=axes, fraction=0.045, pad=0.03)
    bar.set_label("share of gold class")
    names = [_short(name) for name in classes]
    places = range(len(names))
    axes.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, names)
    axes.set_xlabel("recognised")
    axes.set_ylabel("gold")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for row, column in np.ndindex(*counts.shape):
        share = float(shares[row, column]) if totals[row, 0] else None
        _cell(axes, (row, column), share, float(counts[row, column]))
    return figure_png(figure)


def _cell(axes: Any, place: tuple[int, int], share: float | None, count: float) -> None:
    """Write share and count; a dash where gold lacks the class."""
    row, column = place
    if share is None:
        axes.text(column, row, "–", ha="center", va="center", color="#1a1a1a", fontsize=9)
        return
    colour = "white" if share > 0.55 else "#1a1a1a"
    axes.text(column, row, f"{share:.0%}", ha="center", va="bottom", color=colour, fontsize=9.5)
    axes.text(column, row + 0.08, f"{count:,.0f}", ha="center", va="top", color=colour, fontsize=7)


def curves_png(histories: Sequence[History]) -> bytes | None:
    """Draw learning curves: losses at left, dev metrics at right, mean over jobs in bold.

    Thin lines show each job, for losses and the first metric.

    Args:
        histories: one a fold and seed; columns with ``loss`` in their name are losses, others
            whose name starts with ``dev_`` are metrics.

    Returns:
        the picture, or None where there is nothing to draw.
    """
    names = list(dict.fromkeys(name for one in histories for name in one.columns))
    losses = [name for name in names if "loss" in name]
    metrics = [name for name in names if name.startswith("dev_") and name not in losses]
    panels = [(title, p) for title, p in (("loss", losses), ("dev metrics", metrics)) if p]
    if not panels:
        return None
    figure = Figure(figsize=(4.4 * len(panels) + 0.4, 3.3), layout="constrained")
    for place, (title, columns) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), place)
        for rank, (name, colour) in enumerate(zip(columns, COLOURS, strict=False)):
            _lines(axes, histories, (name, colour), each=title == "loss" or rank == 0)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, framealpha=0.8, edgecolor="none")
    return figure_png(figure)


def _lines(axes: Any, histories: Sequence[History], line: tuple[str, str], each: bool) -> None:
    """Draw a column's mean over the jobs that still ran at an epoch, and each job if asked."""
    name, colour = line
    jobs = [one for one in histories if name in one.columns]
    faint = 0.35 if len(jobs) <= BOLD_JOBS else 0.12
    by_epoch: dict[float, list[float]] = {}
    for one in jobs:
        epochs, values = one.columns["epoch"], one.columns[name]
        if each and len(jobs) > 1:
            axes.plot(epochs, values, color=colour, alpha=faint, linewidth=0.7)
        for epoch, value in zip(epochs, values, strict=True):
            by_epoch.setdefault(epoch, []).append(value)
    steps = sorted(epoch for epoch in by_epoch if np.isfinite(epoch))
    means = [float(mean_defined(np.array(by_epoch[epoch]))) for epoch in steps]
    marker = "o" if len(steps) == 1 else None
    axes.plot(steps, means, color=colour, linewidth=1.8, marker=marker, label=_short(name))


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…"


def figure_png(figure: Figure) -> bytes:
    """Render a figure; equal figures give equal bytes."""
    canvas = FigureCanvasAgg(figure)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a class may be called "$x"
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        canvas.print_figure(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()
