"""Checkpoints: one safetensors file each, tensors and a JSON note together, written atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from emofuse.errors import TrainingError
from emofuse.storage import atomic_path

__all__ = [
    "load_state",
    "pack_optimiser",
    "save_state",
    "under",
    "unpack_optimiser",
    "write_tensors",
]

NOTE = "note"


def save_state(path: Path, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
    """Write tensors and a note to one file; a reader sees the old file or the new one."""
    whole = {name: part.detach().cpu().contiguous().clone() for name, part in tensors.items()}
    write_tensors(path, whole, {NOTE: json.dumps(note)})


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


def pack_optimiser(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Give the state of an optimiser that keeps tensors for each parameter (such as AdamW)."""
    state = optimiser.state_dict()["state"]
    return {
        f"{place}.{name}": torch.as_tensor(value)
        for place, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def unpack_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `pack_optimiser` gave; settings such as the learning rate stay as they are."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        place, _, name = key.partition(".")
        state.setdefault(int(place), {})[name] = value
    current = optimiser.state_dict()
    optimiser.load_state_dict({"state": state, "param_groups": current["param_groups"]})
