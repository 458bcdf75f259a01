"""Regression of valence, arousal and dominance, of the utterance or of its class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from emofuse.errors import OptionError
from emofuse.losses.contract import LossContext, LossTerm, Targets
from emofuse.losses.embedding import wide
from emofuse.losses.vad_table import places_of
from emofuse.models.contract import EmotionOutput
from emofuse.options import Options

__all__ = ["VADLoss", "VADOptions", "to_unit", "vad_ccc", "vad_mse"]

DIMENSIONS = ("valence", "arousal", "dominance")
RELEASED = frozenset({"anger", "happiness", "neutral", "sadness"})
EXTRA = "vad:"


def to_unit(values: Tensor, ranges: Mapping[str, tuple[float, float]]) -> Tensor:
    """Bring ``(batch, 3)`` from the scheme's scale to [-1, 1]; NaN where it has no such range."""
    low = [ranges.get(name, (float("nan"), 1.0))[0] for name in DIMENSIONS]
    high = [ranges.get(name, (0.0, float("nan")))[1] for name in DIMENSIONS]
    bottom, top = (
        torch.tensor(one, dtype=values.dtype, device=values.device) for one in (low, high)
    )
    return 2.0 * (values - bottom) / (top - bottom) - 1.0


def vad_mse(found: Tensor, wanted: Tensor) -> Tensor:
    """Average the squared error over what is known.

    Args:
        found: ``(batch, 3)``.
        wanted: ``(batch, 3)``, NaN where unknown; 0 comes back where nothing is known.
    """
    known = ~wanted.isnan()
    error = torch.where(known, found - wanted.nan_to_num(), 0.0)
    return error.square().sum() / known.sum().clamp_min(1)


def vad_ccc(found: Tensor, wanted: Tensor) -> Tensor:
    """Average ``1 - ccc`` over the dimensions (Lin 1989, concordance correlation).

    ``ccc = 2 cov(x, y) / (var x + var y + (mean x - mean y)^2)`` over the items of the batch whose
    value is known, with variances over their number. A dimension with fewer than two such items
    is left out; without any the loss is 0.

    Args:
        found: ``(batch, 3)``.
        wanted: ``(batch, 3)``, NaN where unknown.
    """
    terms = []
    for mine, theirs in zip(found.unbind(dim=1), wanted.unbind(dim=1), strict=True):
        known = ~theirs.isnan()
        if int(known.sum()) < 2:
            continue
        x, y = mine[known], theirs[known]
        gap = x.mean() - y.mean()
        x, y = x - x.mean(), y - y.mean()
        spread = x.square().mean() + y.square().mean() + gap.square()
        terms.append(1.0 - 2.0 * (x * y).mean() / spread.clamp_min(1e-12))
    return torch.stack(terms).mean() if terms else found.sum() * 0.0


class VADOptions(Options):
    """Options of `VADLoss`.

    Attributes:
        of: what learns: the model's ``head``, or the ``projections`` by which its attention is
            guided (vga-fusion with ``vga``).
        targets: ``corpus``, what the annotators said; ``table``, one point a class (see
            `vad_table`); ``auto``, the first where it is known and else the second.
        measure: ``mse`` or ``ccc``.
        legacy: what the released novel model learned: the table where the classes are anger,
            happiness, neutral and sadness; for any other scheme, zeros.
    """

    of: Literal["head", "projections"] = "head"
    targets: Literal["auto", "corpus", "table"] = "auto"
    measure: Literal["mse", "ccc"] = "mse"
    legacy: bool = False


class VADLoss(LossTerm):
    """Squared error or concordance against values in [-1, 1].

    Raises:
        OptionError: a class of the scheme is not in the table and is needed from it.
    """

    options_type = VADOptions
    table: Tensor | None

    def __init__(self, options: VADOptions, context: LossContext) -> None:
        super().__init__(options, context)
        self.chosen = options
        self.ranges = dict(context.vad)
        self.source = "table" if options.legacy else options.targets
        table = None if self.source == "corpus" else _table(context.classes, legacy=options.legacy)
        self.register_buffer("table", table, persistent=False)

    def forward(self, output: EmotionOutput, targets: Targets) -> Tensor:
        """Give the loss of a batch; NaN targets take no part.

        Raises:
            OptionError: the model gives nothing to compare, or no utterance has values of its own.
        """
        wanted = self._wanted(targets)
        measure = vad_mse if self.chosen.measure == "mse" else vad_ccc
        if self.chosen.of == "head":
            if output.vad is None:
                raise OptionError("the loss 'vad' needs a model that gives vad (vad: true)")
            return measure(wide(output.vad), wanted)
        found = {key: one for key, one in output.extras.items() if key.startswith(EXTRA)}
        if not found:
            raise OptionError(
                "the loss 'vad' of projections needs a model whose attention is guided (vga: true)"
            )
        values = []
        for key, one in found.items():
            there = output.extras.get(f"present:{key.rpartition(':')[2]}")
            known = wanted if there is None else wanted.masked_fill(~there[:, None], float("nan"))
            values.append(measure(wide(one), known))
        return torch.stack(values).mean()

    def _wanted(self, targets: Targets) -> Tensor:
        own = None
        if self.source != "table" and targets.vad is not None:
            own = to_unit(targets.vad.float(), self.ranges)
        if self.table is None:
            if own is None:
                raise OptionError(
                    "the loss 'vad' with targets: corpus needs utterances with valence, arousal "
                    "and dominance, and none has any; take targets: table"
                )
            return own
        by_class = self.table[targets.labels]
        return by_class if own is None else torch.where(own.isnan(), by_class, own)


def _table(classes: tuple[str, ...], *, legacy: bool) -> Tensor:
    if not classes:
        raise OptionError("the loss 'vad' needs the names of the classes to look them up")
    if legacy and set(classes) != RELEASED:
        return torch.zeros(len(classes), len(DIMENSIONS))
    return torch.tensor(places_of(classes))
