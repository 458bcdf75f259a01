"""Modalities projected to where they can be compared, with the factor of their similarities."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from emofuse.layers.pooling import masked_mean
from emofuse.layers.residual_projection import ResidualProjection
from emofuse.layers.temperature import Temperature, TemperatureKind

__all__ = ["Alignment", "cosines"]


def cosines(rows: Tensor, columns: Tensor) -> Tensor:
    """Multiply ``(n, dim)`` and ``(m, dim)`` to ``(n, m)`` in full precision, autocast or not."""
    with torch.autocast(rows.device.type, enabled=False):
        return rows @ columns.T


class Alignment(nn.Module):
    """Averages each modality's frames, projects them, and scales the result to length 1.

    Args:
        dims: modality -> feature size.
        width: size of the projections.
        dropout: see `ResidualProjection`.
        temperature: see `Temperature`.
    """

    def __init__(
        self, dims: Mapping[str, int], width: int, dropout: float, temperature: TemperatureKind
    ) -> None:
        super().__init__()
        self.projections = nn.ModuleDict(
            {name: ResidualProjection(dim, width, dropout) for name, dim in dims.items()}
        )
        self.temperature = Temperature(temperature)

    def forward(self, inputs: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Give what losses align.

        Args:
            inputs: modality -> ``(batch, time, dim)`` and mask ``(batch, time)``.

        Returns:
            ``projection:<modality>``, ``(batch, width)`` of length 1, and ``scale``, a scalar.
        """
        found = {
            f"projection:{name}": functional.normalize(
                project(masked_mean(*inputs[name])).float(), dim=1
            )
            for name, project in self.projections.items()
        }
        return found | {"scale": self.temperature()}
