"""Checkpoints: one safetensors file each, tensors and a JSON note together, written atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from emofuse.errors import TrainingError
from emofuse.storage import atomic_path
from emofuse.training.fused_adam import FusedAdam
from emofuse.training.together.tensors import spread

__all__ = [
    "Optimiser",
    "load_state",
    "pack_optimiser",
    "random_state",
    "save_state",
    "set_random_state",
    "under",
    "unpack_optimiser",
    "write_tensors",
]

NOTE = "note"
Optimiser = torch.optim.Optimizer | FusedAdam


def save_state(path: Path, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
    """Write tensors and a note to one file; a reader sees the old file or the new one."""
    kept = {name: part.detach().cpu().contiguous().clone() for name, part in tensors.items()}
    write_tensors(path, kept, {NOTE: json.dumps(note)})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors as they are, atomically.

    Raises:
        WorkError: the folder cannot be written (full, read-only, missing rights).
    """
    with atomic_path(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata=dict(metadata))
        except SafetensorError as error:  # what it makes of a full disk
            raise OSError(str(error)) from error


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read what `save_state` wrote; None where there is no file.

    Raises:
        TrainingError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as stream:
            note = json.loads((stream.metadata() or {})[NOTE])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise TrainingError(
            f"checkpoint {path} is damaged ({error}); delete it to train that part again"
        ) from error
    return tensors, note


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors below ``prefix.``, with shorter names.

    >>> list(under("model", {"model.w": torch.zeros(1), "best.w": torch.zeros(1)}))
    ['w']
    """
    start = f"{prefix}."
    return {n.removeprefix(start): part for n, part in tensors.items() if n.startswith(start)}


def pack_optimiser(
    optimiser: Optimiser, order: Sequence[Tensor] | None = None
) -> dict[str, Tensor]:
    """Give the state of an optimiser that keeps tensors for each parameter (such as AdamW).

    Args:
        optimiser: which.
        order: its parameters in the order to number them by; its own unless told.
    """
    return {
        f"{place}.{name}": torch.as_tensor(value)
        for place, one in enumerate(_parameters(optimiser) if order is None else order)
        for name, value in optimiser.state.get(one, {}).items()
        if value is not None
    }


def _parameters(optimiser: Optimiser) -> list[Tensor]:
    return [one for group in optimiser.param_groups for one in group["params"]]


def unpack_optimiser(
    optimiser: Optimiser,
    tensors: Mapping[str, Tensor],
    order: Sequence[Tensor] | None = None,
) -> None:
    """Put back what `pack_optimiser` gave; settings such as the learning rate stay as they are."""
    own = _parameters(optimiser)
    given = own if order is None else order
    places = {id(one): place for place, one in enumerate(own)}
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        parameter = given[int(number)]
        state.setdefault(places[id(parameter)], {})[name] = spread(value, parameter)
    current = optimiser.state_dict()
    optimiser.load_state_dict({"state": state, "param_groups": current["param_groups"]})


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Give where the generators of the processor and of the device stand."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Tensor]) -> None:
    """Put the generators back to where `random_state` found them."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
