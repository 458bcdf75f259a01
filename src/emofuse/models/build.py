"""From a name, options and sizes to a model; initial weights from a seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from emofuse.errors import OptionError
from emofuse.models import MODELS
from emofuse.models.contract import FusionModel, ModelSpec
from emofuse.options import Options

__all__ = ["build_model", "parse_model_options", "seeded"]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw torch's own random numbers from ``seed`` inside the block.

    Afterwards the process-wide generators are as they were: a caller's draws do not move.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def parse_model_options(name: str, options: Mapping[str, Any]) -> Options:
    """Validate a model's options by the model's own type.

    Raises:
        OptionError: an unknown model, key or value.
    """
    options_type: type[Options] = MODELS.load(name).options_type
    return options_type.parse(options, f"model {name!r}")


def build_model(
    name: str, options: Mapping[str, Any], spec: ModelSpec, seed: int = 0
) -> FusionModel:
    """Build a model with initial weights drawn from ``seed``.

    Args:
        name: a name in `MODELS`.
        options: the model's options, without its name.
        spec: sizes.
        seed: of the initial weights.

    Raises:
        OptionError: an unknown model, key or value, or a modality that the model needs and
            ``spec`` lacks.
    """
    parsed = parse_model_options(name, options)
    kind: type[FusionModel] = MODELS.load(name)
    lacking = sorted(kind.required - set(spec.dims))
    if lacking or not spec.dims:
        need = ", ".join(lacking) or "at least one modality"
        have = ", ".join(spec.dims) or "none"
        raise OptionError(f"model {name!r} needs {need}; the encoders give: {have}")
    with seeded(seed):
        return kind(spec, parsed)
