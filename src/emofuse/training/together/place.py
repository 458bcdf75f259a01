"""Training by several processes that `torchrun` or `accelerate launch` has started.

All of them run the same program on the same data. Each step's batch is split over them (see
`models.shared`); process 0 alone has the run directory, the others write into a folder of their own
that goes away, after they have read there what an earlier call had finished.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from emofuse.errors import TrainingError, UsageError
from emofuse.training.recipe import Recipe

__all__ = ["Place", "is_main", "launched", "main_first", "take_place", "together"]

HOURS = 24
"""How long a process waits for the others, one that encodes say."""
NOT_READ = (".lock", "*.tmp", "bundle", "tracking*", "predictions.parquet")


@dataclass(frozen=True)
class Place:
    """Where a process stands among those that train together.

    Attributes:
        rank: its number, from 0.
        folder: where it writes.
    """

    rank: int
    folder: Path


def launched() -> int:
    """How many processes were started to train together; 1 where none was."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def is_main() -> bool:
    """Whether this process speaks for all."""
    return launched() == 1 or os.environ.get("RANK", "0") == "0"


@contextmanager
def take_place(folder: Path) -> Iterator[Place]:
    """Join the other processes for the block, where there are any.

    Args:
        folder: of the run; on a file system that all of them see.

    Raises:
        TrainingError: the others cannot be reached.
    """
    if launched() == 1:
        yield Place(0, folder)
        return
    import torch.distributed as dist

    _join()
    scratch: str | None = None
    try:
        if dist.get_rank():
            scratch = tempfile.mkdtemp(prefix="emofuse-rank-")
            if folder.exists():
                ignored = shutil.ignore_patterns(*NOT_READ)
                shutil.copytree(folder, scratch, ignore=ignored, dirs_exist_ok=True)
        dist.barrier()  # what there was is read before process 0 writes
        yield Place(dist.get_rank(), folder if scratch is None else Path(scratch))
        dist.barrier()
    finally:
        dist.destroy_process_group()
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _join() -> None:
    import torch
    import torch.distributed as dist

    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        backend = "nccl"
    try:
        if not dist.is_initialized():
            dist.init_process_group(backend, timeout=timedelta(hours=HOURS))
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise TrainingError(
            f"process {os.environ.get('RANK')} cannot reach the others: {reason}"
        ) from error


@contextmanager
def main_first() -> Iterator[None]:
    """Let process 0 do the block before the others, which then find its work done."""
    if launched() == 1:
        yield
        return
    import torch.distributed as dist

    if dist.get_rank():
        dist.barrier()
    yield
    if not dist.get_rank():
        dist.barrier()


def together(recipe: Recipe) -> Recipe:
    """Give the recipe as several processes carry it out: one training after the other, untracked.

    What tracks a training looks at dev in process 0 alone, and the others would wait for it.
    """
    if launched() == 1:
        return recipe
    _same_precision(recipe)
    given: dict[str, Any] = {"workers": 0, "stack": False, "tracking": ()}
    if recipe.trainer.sharding == "auto":
        by_accelerate = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() in ("true", "1")
        given["sharding"] = "fsdp" if by_accelerate else "none"
    return recipe.model_copy(update={"trainer": recipe.trainer.model_copy(update=given)})


def _same_precision(recipe: Recipe) -> None:
    """Refuse what `accelerate launch` was told of precision where the recipe says otherwise.

    Raises:
        UsageError: they differ.
    """
    told = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    known = {recipe.trainer.precision, *(one.precision for one in recipe.trainer.stages)}
    if told != "no" and told not in known:
        raise UsageError(
            f"accelerate launch says --mixed_precision {told}, the recipe trainer.precision "
            f"{recipe.trainer.precision}; the recipe decides: set trainer.precision=bf16, or "
            "launch with --mixed_precision no"
        )
