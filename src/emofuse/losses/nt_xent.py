"""NT-Xent: two views of each item find each other among all views of the batch."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from emofuse.errors import OptionError
from emofuse.losses.contract import LossContext, LossTerm, Targets
from emofuse.models.contract import EmotionOutput
from emofuse.options import Options

__all__ = ["NTXent", "NTXentOptions", "nt_xent", "same_items"]


def same_items(keys: Sequence[Hashable]) -> Tensor:
    """Say which items are copies of each other: ``(items, items)`` bool, True where keys are equal.

    >>> same_items(["yes", "no", "yes"])[0].tolist()
    [True, False, True]
    """
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    numbers = torch.tensor([places[key] for key in keys])
    return numbers[:, None] == numbers[None, :]


def nt_xent(
    first: Tensor, second: Tensor, temperature: float = 0.07, same: Tensor | None = None
) -> Tensor:
    """Average the normalised temperature-scaled cross-entropy over all views (Chen et al. 2020).

    With ``z`` the views at length 1, ``i+`` the other view of ``i`` and ``s = z z' / temperature``,
    the loss of a view is ``-s(i, i+) + log sum over k of exp s(i, k)``, where ``k`` goes over all
    views but ``i`` itself and those of copies of its item.

    Args:
        first: ``(items, dim)``, one view of each item, of any length.
        second: the other view.
        temperature: above 0.
        same: ``(items, items)`` bool, which items are copies of each other; copies are no
            negatives. None: every other item is a negative.

    >>> views = torch.eye(2)
    >>> round(float(nt_xent(views, views, 1.0)), 4)
    0.5514
    """
    items = len(first)
    with torch.autocast(first.device.type, enabled=False):
        views = functional.normalize(torch.cat([_exact(first), _exact(second)]), dim=1)
        scores = views @ views.T / temperature
    others = torch.arange(2 * items, device=scores.device).roll(items)
    left_out = torch.eye(2 * items, dtype=torch.bool, device=scores.device)
    if same is not None:
        left_out = left_out | same.to(scores.device).repeat(2, 2)
        left_out[torch.arange(2 * items, device=scores.device), others] = False
    return functional.cross_entropy(scores.masked_fill(left_out, float("-inf")), others)


def _exact(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


class NTXentOptions(Options):
    """Options of `NTXent`.

    Attributes:
        temperature: of the similarities.
        views: the two embeddings of the model that are views of one item.
        legacy: what the released FleSER does: copies of an item count as negatives.
    """

    temperature: float = Field(default=0.07, gt=0.0, allow_inf_nan=False)
    views: tuple[str, str] = ("audio", "text")
    legacy: bool = False


class NTXent(LossTerm):
    """NT-Xent between two embeddings of a model (see `nt_xent`).

    Items with equal numbers in ``extras["key"]``, ``(batch,)``, are copies of each other; a model
    that gives no keys has none.
    """

    options_type = NTXentOptions

    def __init__(self, options: NTXentOptions, context: LossContext) -> None:
        super().__init__(options, context)
        self.temperature, self.views, self.legacy = (
            options.temperature,
            options.views,
            options.legacy,
        )

    def forward(self, output: EmotionOutput, targets: Targets) -> Tensor:
        """Give the loss of a batch.

        Raises:
            OptionError: the model has no such embeddings, or they differ in size.
        """
        lacking = [name for name in self.views if name not in output.embeddings]
        if lacking:
            have = ", ".join(output.embeddings) or "none"
            raise OptionError(
                f"nt-xent: the model gives no embedding {lacking[0]!r}; it has {have}"
            )
        first, second = (output.embeddings[name] for name in self.views)
        if first.shape != second.shape:
            raise OptionError(
                f"nt-xent: {self.views[0]} has {first.shape[1]} values and {self.views[1]} "
                f"{second.shape[1]}; the two views must be of one size"
            )
        key = None if self.legacy else output.extras.get("key")
        same = None if key is None else key[:, None] == key[None, :]
        return nt_xent(first, second, self.temperature, same)
