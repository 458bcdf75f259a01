"""Supervised contrast: items of one class find each other among all others of the batch."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from emofuse.errors import OptionError
from emofuse.losses.contract import LossContext, LossTerm, Targets
from emofuse.losses.embedding import wide
from emofuse.models.contract import EmotionOutput
from emofuse.options import Options

__all__ = ["SupCon", "SupConOptions", "supcon"]

SMALLEST = 1e-8  # within the released logarithm


def supcon(
    rows: Tensor, labels: Tensor, temperature: float = 0.07, *, legacy: bool = False
) -> Tensor:
    """Average ``- mean over p of log (exp s_ip / sum over k of exp s_ik)`` over the anchors ``i``.

    ``s = z z' / temperature`` with ``z`` the rows at length 1; ``p`` goes over the other items with
    the label of ``i``, ``k`` over all other items (Khosla et al. 2020, eq. 2). An item that is
    alone with its label is no anchor; without any anchor the loss is 0.

    Args:
        rows: ``(items, dim)``.
        labels: ``(items,)`` long.
        temperature: above 0.
        legacy: the released form: an item without a partner counts as an anchor worth 0, and
            1e-8 stands within the logarithm.

    >>> rows = torch.eye(2).repeat(2, 1)
    >>> round(float(supcon(rows, torch.tensor([0, 1, 0, 1]), 1.0)), 4)
    0.5514
    """
    own = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    with torch.autocast(rows.device.type, enabled=False):
        units = normalize(wide(rows), dim=1)
        scores = units @ units.T / temperature
    same = (labels[:, None] == labels[None, :]) & ~own
    partners = same.sum(dim=1)
    anchors = partners > 0
    if len(rows) < 2 or not bool(anchors.any()):
        return rows.sum() * 0.0
    others = scores.masked_fill(own, float("-inf"))
    if legacy:
        total = (others.exp().sum(dim=1, keepdim=True) + SMALLEST).log()
    else:
        total = others.logsumexp(dim=1, keepdim=True)
    found = ((scores - total) * same).sum(dim=1) / partners.clamp_min(1)
    return -(found.mean() if legacy else found[anchors].mean())


class SupConOptions(Options):
    """Options of `SupCon`.

    Attributes:
        temperature: of the similarities.
        of: ``projection``, the model's own (``extras["supcon"]``), or one of its embeddings.
        legacy: the released form (see `supcon`).
    """

    temperature: float = Field(default=0.07, gt=0.0, allow_inf_nan=False)
    of: str = Field(default="projection", min_length=1, max_length=60)
    legacy: bool = False


class SupCon(LossTerm):
    """Supervised contrast on a vector of the model (see `supcon`)."""

    options_type = SupConOptions

    def __init__(self, options: SupConOptions, context: LossContext) -> None:
        super().__init__(options, context)
        self.temperature, self.of, self.legacy = options.temperature, options.of, options.legacy

    def forward(self, output: EmotionOutput, targets: Targets) -> Tensor:
        """Give the loss of a batch; items that lack the modality it reads take no part.

        Raises:
            OptionError: the model gives no such vector.
        """
        known = {"projection": output.extras.get("supcon"), **output.embeddings}
        rows, labels = known.get(self.of), targets.labels
        if rows is None:
            have = ", ".join(name for name, one in known.items() if one is not None)
            raise OptionError(f"supcon: the model gives no {self.of!r}; it has {have or 'none'}")
        there = output.extras.get(f"present:{self.of}")
        if there is not None and not bool(there.all()):
            rows, labels = rows[there], labels[there]
        return supcon(rows, labels, self.temperature, legacy=self.legacy)
