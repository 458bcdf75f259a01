"""Short cuts that a batch may allow, and that a computation over many models at once may not."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["surely_all", "surely_none"]


def surely_all(flags: Tensor) -> bool:
    """Tell whether every flag is known to be True.

    Inside `torch.vmap` flags have one answer a model, and in an export they have none yet, so that
    nothing is sure: False.
    """
    if torch.compiler.is_compiling():
        return False
    try:
        return bool(flags.all())
    except RuntimeError:
        return False


def surely_none(flags: Tensor) -> bool:
    """Tell whether every flag is known to be False or 0 (see `surely_all`)."""
    if torch.compiler.is_compiling():
        return False
    try:
        return not bool(flags.any())
    except RuntimeError:
        return False
