"""The heat map of a transfer matrix: a panel a method and number of shots, source by target."""

from __future__ import annotations

import io
import warnings
from itertools import product
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from emofuse.evaluation.plots import figure_png
from emofuse.evaluation.transfer_table import Matrix, TransferRow, order

__all__ = ["heatmap_png", "heatmap_svg"]

CELL = 0.92
"""Width of a cell in inches."""
INK = "#1a1a1a"


def heatmap_png(matrix: Matrix) -> bytes:
    """Draw the matrix as PNG; equal figures give equal bytes."""
    return figure_png(_figure(matrix))


def heatmap_svg(matrix: Matrix) -> bytes:
    """Draw the matrix as SVG; equal figures give equal bytes."""
    figure = _figure(matrix)
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    stream = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "emofuse"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def _figure(matrix: Matrix) -> Figure:
    """One row of panels a method, one column a number of shots; the shots alone on their own."""
    shots = sorted({(row.shots, row.shown) for row in matrix.rows}, key=lambda p: order(p[0]))
    targets = list(matrix.targets)
    alone = {row.method for row in matrix.rows if not row.source}
    names = {name: [""] if name in alone else list(matrix.sources) for name in matrix.methods}
    heights = [len(several) for several in names.values()]
    width = 1.9 + len(shots) * (CELL * len(targets) + 0.28)
    height = 1.5 + CELL * 0.56 * sum(heights) + 0.3 * len(heights)
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(
        len(heights), len(shots), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    low = float(np.floor(10 * min([matrix.chance, *(row.ua for row in matrix.rows)])) / 10)
    image = None
    found = {(row.method, row.shots, row.source, row.target): row for row in matrix.rows}
    for (i, method), (j, (given, shown)) in product(enumerate(names), enumerate(shots)):
        cells = [
            [found.get((method, given, source, target)) for target in targets]
            for source in names[method]
        ]
        axes = grid[i, j]
        image = _panel(axes, cells, low) or image
        _label(axes, names[method], targets, first=j == 0, last=i + 1 == len(heights))
        if i == 0:
            axes.set_title(f"shots: {shown}", fontsize=10)
        if j == 0:
            axes.set_ylabel(method, fontsize=10, fontweight="bold", labelpad=6)
    if image is not None:
        bar = figure.colorbar(image, ax=grid, fraction=0.02, pad=0.01, aspect=40)
        bar.set_label("UA")
    _explain(figure, matrix)
    return figure


def _panel(axes: Any, cells: list[list[TransferRow | None]], low: float) -> Any:
    values = np.array([[np.nan if one is None else one.ua for one in row] for row in cells])
    axes.set_xlim(-0.5, values.shape[1] - 0.5)
    axes.set_ylim(values.shape[0] - 0.5, -0.5)
    axes.set_aspect("auto")
    if np.isnan(values).all():
        axes.set_facecolor("#f4f4f4")
        axes.text(
            *((values.shape[1] - 1) / 2, (values.shape[0] - 1) / 2, "does not apply"),
            ha="center",
            va="center",
            fontsize=7.5,
            color="#8a8a8a",
        )
        return None
    image = axes.imshow(values, cmap="YlGnBu", vmin=low, vmax=1.0, aspect="auto")
    for row, column in np.ndindex(*values.shape):
        one = cells[row][column]
        if one is None:
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color="#f4f4f4"))
            continue
        colour = "white" if (one.ua - low) / (1.0 - low) > 0.55 else INK
        axes.text(
            column,
            row - 0.02,
            f"{100 * one.ua:.1f}",
            ha="center",
            va="bottom",
            fontsize=9,
            color=colour,
        )
        if one.low is not None and one.high is not None:
            ends = f"{100 * one.low:.0f}–{100 * one.high:.0f}"
            axes.text(column, row + 0.06, ends, ha="center", va="top", fontsize=6.5, color=colour)
    return image


def _label(axes: Any, sources: list[str], targets: list[str], *, first: bool, last: bool) -> None:
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    names = [one or "(no source)" for one in sources]
    axes.set_yticks(range(len(sources)), names if first else [""] * len(sources), fontsize=8)
    axes.set_xticks(range(len(targets)), targets if last else [""] * len(targets), fontsize=8)


def _explain(figure: Figure, matrix: Matrix) -> None:
    figure.suptitle(
        f"{matrix.recipe}: from source (rows) to target (columns), UA in %\n"
        f"95 % interval over speakers below; chance {100 * matrix.chance:.0f}",
        fontsize=10.5,
        x=0.01,
        ha="left",
    )
