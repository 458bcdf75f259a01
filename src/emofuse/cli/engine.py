"""Options of the verbs that can spread their work over workers."""

from __future__ import annotations

from typing import Annotated

import typer

from emofuse.cluster.engine import ENGINES, Engine

__all__ = ["Address", "EngineName", "Workers", "make_engine"]

EngineName = Annotated[
    str, typer.Option("--engine", help=f"Who does the work: {' or '.join(ENGINES)}.")
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", help="Ray cluster, HOST:6379 or ray://HOST:10001; started here unless told."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Processes; local: 1 unless told, ray: one a processor."),
]


def make_engine(name: str, address: str | None, workers: int | None, gpus: float = 0.0) -> Engine:
    """Give the engine that the options name.

    Raises:
        OptionError: an unknown name, or an address without Ray.
    """
    return Engine(name, address, workers, gpus)
