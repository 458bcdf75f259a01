"""Which workers do the work."""

from __future__ import annotations

import os
from dataclasses import dataclass

from emofuse.errors import OptionError, nearest_hint

__all__ = ["ENGINES", "Engine"]

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Engine:
    """Who does the work.

    Attributes:
        name: ``local``, processes of this machine; or ``ray``.
        address: of a Ray cluster (``HOST:6379``, ``ray://HOST:10001``, ``auto``); None = Ray is
            started on this machine, and ended afterwards.
        workers: how many; None = one where the engine is ``local``, one a processor with Ray.
        gpus: GPUs, or a share of one, that each worker of a Ray cluster holds.
    """

    name: str = "local"
    address: str | None = None
    workers: int | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise OptionError(f"unknown engine {self.name!r}; {nearest_hint(self.name, ENGINES)}")
        if self.address is not None and self.name != "ray":
            raise OptionError("an address is that of a Ray cluster; add --engine ray")
        if self.workers is not None and self.workers < 1:
            raise OptionError(f"{self.workers} workers do no work; give 1 or more")

    @property
    def alone(self) -> bool:
        """Whether the calling process itself does the work."""
        return self.name == "local" and (self.workers or 1) == 1

    @property
    def here(self) -> int:
        """How many workers this machine is to have, unless a cluster is named."""
        return self.workers or (1 if self.name == "local" else os.cpu_count() or 1)
