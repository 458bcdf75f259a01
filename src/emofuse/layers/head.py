"""A classifier: dropout, hidden layers, classes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from emofuse.layers.dropout import Dropout

__all__ = ["classifier_head"]


def classifier_head(
    dim: int,
    hidden: Sequence[int],
    classes: int,
    dropout: float,
    *,
    linear: bool = False,
    last_dropout: bool = False,
) -> nn.Sequential:
    """Build ``Dropout -> (Linear -> LeakyReLU) ... -> Linear``.

    Args:
        dim: size of what comes in.
        hidden: widths of the hidden layers; none = one linear layer.
        classes: size of what comes out.
        dropout: share dropped of what comes in.
        linear: leave out the non-linearities.
        last_dropout: drop the same share before the last layer.
    """
    layers: list[nn.Module] = [Dropout(dropout)]
    for width in hidden:
        layers.append(nn.Linear(dim, width))
        if not linear:
            layers.append(nn.LeakyReLU(0.01))
        dim = width
    if last_dropout:
        layers.append(Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(dim, classes))
