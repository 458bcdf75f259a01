"""What of a training is worth looking at: losses, dev, gates, shares, fuzzy rules, confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from emofuse.evaluation.metrics import confusion_matrix
from emofuse.layers.fuzzy import MEMBERSHIPS
from emofuse.training.judge import Recognised
from emofuse.training.steppers import Row
from emofuse.training.trackers.contract import Place, Seen, Tracker, open_trackers

__all__ = ["Watch", "is_sample", "seen_of"]

FUZZY = "fuzzy:"
COLUMNS = 16
"""Most columns of an extra whose means are shown one by one."""
VALUES = 1 << 16
"""Most values that go into one histogram, evenly spaced."""
NAMES = {"loss": "loss/total", "learning_rate": "learning_rate", "grad_norm": "gradient/norm"}


def is_sample(epoch: int) -> bool:
    """Tell whether an epoch's confusion matrix is kept: 1, 2, 5, 10, 20, 50, 100 ...

    >>> [epoch for epoch in range(1, 101) if is_sample(epoch)]
    [1, 2, 5, 10, 20, 50, 100]
    """
    return epoch > 0 and str(epoch).rstrip("0") in ("1", "2", "5")


def seen_of(
    row: Row, dev: Recognised | None, labels: Tensor | None, classes: Sequence[str], confusion: bool
) -> Seen:
    """Put together what trackers show of an epoch.

    Args:
        row: of the history.
        dev: what the model says of dev, with extras; None without dev.
        labels: ``(items,)`` of dev.
        classes: class names in order.
        confusion: whether to count a confusion matrix.
    """
    scalars = _scalars(row)
    if dev is None or labels is None:
        return Seen(scalars, classes=tuple(classes))
    histograms: dict[str, Tensor] = {}
    for name, part in dev.weights.items():
        scalars[f"weight/{name}"] = float(part.mean())
        histograms[f"weight/{name}"] = part
    for name, part in dev.extras.items():
        shown, values = _extra(name, part)
        scalars |= shown
        histograms[name.replace(":", "/")] = values
    matrix = None
    if confusion:
        predicted = dev.logits.argmax(dim=1).numpy()
        matrix = confusion_matrix(labels.numpy(), predicted, len(classes))
    return Seen(
        scalars, {n: _plain(part) for n, part in histograms.items()}, matrix, tuple(classes)
    )


def _scalars(row: Row) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in row.items():
        if not isinstance(value, int | float) or name in ("epoch", "seed"):
            continue
        kind, _, rest = name.partition("_")
        plain = f"dev/{rest}" if kind == "dev" else name.replace(":", "/")
        found[NAMES.get(name, plain)] = float(value)
    return found


def _extra(name: str, part: Tensor) -> tuple[dict[str, float], Tensor]:
    """Give means to plot and values for a histogram; of fuzzy rules, which one was chosen."""
    plain = name.replace(":", "/")
    if part.ndim == 1:
        return {f"{plain}/mean": float(part.mean())}, part
    columns = part.flatten(1)
    if name.startswith(FUZZY) and columns.shape[1] == len(MEMBERSHIPS):
        means = dict(zip(MEMBERSHIPS, columns.mean(dim=0).tolist(), strict=True))
        return {f"{plain}/{kind}": mean for kind, mean in means.items()}, columns.argmax(dim=1)
    if columns.shape[1] <= COLUMNS:
        return {f"{plain}/{i}": mean for i, mean in enumerate(columns.mean(dim=0).tolist())}, part
    return {f"{plain}/mean": float(part.mean())}, part


def _plain(part: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    values = part.detach().float().flatten()
    values = values[:: max(1, len(values) // VALUES)]
    return values[torch.isfinite(values)].numpy()


class Watch:
    """Tells the trackers of one job.

    Args:
        names: of the trackers.
        place: whose course it is.
        classes: class names in order.
    """

    def __init__(self, names: tuple[str, ...], place: Place, classes: Sequence[str]) -> None:
        self._trackers: list[Tracker] = open_trackers(names, place)
        self._classes = tuple(classes)

    def epoch(self, phase: str, row: Row, dev: Recognised | None, labels: Tensor | None) -> None:
        """Tell of an epoch."""
        epoch = int(row["epoch"] or 0)
        self._show(phase, epoch, seen_of(row, dev, labels, self._classes, is_sample(epoch)))

    def best(
        self, epochs: int, figures: Mapping[str, float], dev: Recognised | None, labels: Tensor
    ) -> None:
        """Tell of the model that was kept."""
        self._show("best", epochs, seen_of(dict(figures), dev, labels, self._classes, True))

    def close(self) -> None:
        """End."""
        for tracker in self._trackers:
            tracker.close()

    def _show(self, phase: str, epoch: int, seen: Seen) -> None:
        for tracker in self._trackers:
            tracker.show(phase, epoch, seen)
