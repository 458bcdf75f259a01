"""All probes over one bench."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from emofuse.errors import OptionError, nearest_hint
from emofuse.probes import (
    attention,
    companions,
    floor,
    gradient,
    leak,
    modality,
    padding,
    start,
    switches,
    terms,
)
from emofuse.probes.bench import Bench
from emofuse.probes.verdict import Verdict
from emofuse.progress import Progress, ProgressEvent, silent

__all__ = ["PROBES", "run_probes"]

Probe = Callable[[Bench], list[Verdict]]

PROBES: Mapping[str, Probe] = {
    attention.PROBE: attention.probe,
    gradient.PROBE: gradient.probe,
    switches.PROBE: switches.probe,
    companions.PROBE: companions.probe,
    padding.PROBE: padding.probe,
    modality.PROBE: modality.probe,
    leak.PROBE: leak.probe,
    terms.PROBE: terms.probe,
    start.PROBE: start.probe,
    floor.PROBE: floor.probe,
}
"""Name -> probe, in the order of the table."""


def run_probes(
    bench: Bench, only: Iterable[str] = (), progress: Progress = silent
) -> list[Verdict]:
    """Run the probes.

    Args:
        bench: what they work on.
        only: names of probes; empty = all.
        progress: told of every probe (stage ``probe``).

    Raises:
        OptionError: a name that is no probe.
    """
    wanted = list(only) or list(PROBES)
    for name in wanted:
        if name not in PROBES:
            raise OptionError(f"unknown probe {name!r}; {nearest_hint(name, PROBES)}")
    found: list[Verdict] = []
    for done, name in enumerate(wanted, 1):
        found += PROBES[name](bench)
        values: dict[str, Any] = {"probe": name}
        progress(ProgressEvent("probe", done, len(wanted), "probes", values))
    return found
