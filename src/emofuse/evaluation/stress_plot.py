"""One picture of stress: what every condition costs, with its interval."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text

from emofuse.evaluation.plots import COLOURS, figure_png

__all__ = ["stress_png", "stress_svg"]

ROW = 0.21  # inches
LONGEST = 30


def stress_png(summary: Mapping[str, Any]) -> bytes:
    """Draw it as PNG; equal summaries give equal bytes."""
    return figure_png(_figure(summary))


def stress_svg(summary: Mapping[str, Any]) -> bytes:
    """Draw it as SVG; equal summaries give equal bytes."""
    with rc_context({"svg.hashsalt": "emofuse", "svg.fonttype": "none"}):
        figure = _figure(summary)
        for text in figure.findobj(Text):
            text.set_parse_math(False)
        stream = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None})
    return stream.getvalue()


def _figure(summary: Mapping[str, Any]) -> Figure:
    """A row a condition: UA less clean in points, a dot and its 95 % interval."""
    rows = list(summary["conditions"])
    groups = list(dict.fromkeys(row["group"] for row in rows))
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(groups)}
    figure = Figure(figsize=(5.0, max(1.8, ROW * len(rows) + 1.1)), layout="constrained")
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        colour, middle = colours[row["group"]], 100 * row["difference"]
        low, high = row["difference_interval"]["low"], row["difference_interval"]["high"]
        if low is not None and high is not None:
            axes.plot([100 * low, 100 * high], [place, place], color=colour, linewidth=1.8)
        axes.plot([middle], [place], marker="o", markersize=4, color=colour)
    axes.axvline(0.0, color="#444444", linewidth=1.0)
    chance = 100 * (summary["chance"] - summary["clean"]["ua"])
    axes.axvline(chance, color="#999999", linewidth=1.0, linestyle=":")
    axes.set_yticks(np.arange(len(rows)), [_short(str(row["label"])) for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    for place in range(1, len(rows)):
        if rows[place]["group"] != rows[place - 1]["group"]:
            axes.axhline(place - 0.5, color="#dddddd", linewidth=0.8)
    axes.set_xlabel("UA less clean, points", fontsize=9)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
