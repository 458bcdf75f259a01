"""Names for things that load late: a registry knows names without importing what they name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from emofuse.errors import OptionError, nearest_hint

__all__ = ["Registry"]


class Registry:
    """A closed list of built-in names, open to plug-ins by entry point.

    Args:
        kind: what is listed, in messages (``"model"``).
        targets: name -> ``"module:attribute"``; the module loads on first use.
        group: entry-point group that plug-ins use; ``emofuse.<kind>s`` unless told.

    >>> Registry("tool", {"join": "os.path:join"}).load("join")("a", "b")
    'a/b'
    """

    def __init__(self, kind: str, targets: Mapping[str, str], group: str = "") -> None:
        self.kind = kind
        self.group = group or f"emofuse.{kind}s"
        self._targets = dict(targets)

    def targets(self) -> dict[str, str]:
        """Every name with its target; a built-in name wins over a plug-in."""
        found = {point.name: point.value for point in entry_points(group=self.group)}
        return {**found, **self._targets}

    def names(self) -> tuple[str, ...]:
        """Every legal name, sorted."""
        return tuple(sorted(self.targets()))

    def __contains__(self, name: object) -> bool:
        return name in self._targets or name in self.targets()

    def load(self, name: str) -> Any:
        """Import and return what a name stands for.

        Raises:
            OptionError: the name is unknown.
        """
        target = self._targets.get(name) or self.targets().get(name)
        if target is None:
            raise OptionError(f"unknown {self.kind} {name!r}; {nearest_hint(name, self.names())}")
        module, _, attribute = target.partition(":")
        return getattr(import_module(module), attribute)
