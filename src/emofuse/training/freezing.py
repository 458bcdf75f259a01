"""Parts of a model that do not learn."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from emofuse.errors import OptionError, nearest_hint
from emofuse.models.contract import FusionModel

__all__ = ["freeze_parts"]


def freeze_parts(model: FusionModel, names: Sequence[str]) -> tuple[nn.Module, ...]:
    """Stop parts of a model from learning, and give them.

    Args:
        model: changed in place.
        names: names of modules or parameters, or the beginning of module names.

    Raises:
        OptionError: a name that is the beginning of none.
    """
    known = {name: part for name, part in model.named_modules() if name}
    single = dict(model.named_parameters())
    frozen: list[nn.Module] = []
    for wanted in names:
        if wanted in single:
            single[wanted].requires_grad_(False)
            continue
        found = [part for name, part in known.items() if f"{name}.".startswith(f"{wanted}.")]
        if not found:
            tops = sorted({name.split(".")[0] for name in known})
            raise OptionError(f"freeze {wanted!r}: no such part; {nearest_hint(wanted, tops)}")
        frozen += found
    for part in frozen:
        part.requires_grad_(False)
    return tuple(frozen)
