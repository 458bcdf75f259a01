"""What a probe says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

__all__ = ["Verdict", "VerdictKind", "number", "shown_names"]

VerdictKind = Literal["ok", "finding", "not applicable"]


@dataclass(frozen=True)
class Verdict:
    """One line of the table.

    Attributes:
        probe: name of the probe.
        verdict: ``ok``, ``finding`` (something is wrong) or ``not applicable``.
        subject: what was looked at: an option, an attention map, a modality.
        why: what was seen, in a line.
        advice: what to do about a finding.
        numbers: what was measured, for JSON.
    """

    probe: str
    verdict: VerdictKind
    subject: str
    why: str
    advice: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        plain: dict[str, Any] = _finite(asdict(self))
        return plain


def _finite(value: Any) -> Any:
    """Put None in the place of NaN and infinity, which JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def shown_names(names: Sequence[str], limit: int = 4) -> str:
    """List names in a line, the rest as a count.

    >>> shown_names(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    listed = ", ".join(names[:limit])
    return listed if len(names) <= limit else f"{listed} and {len(names) - limit} more"


def number(value: float) -> str:
    """Show a measured value: three digits, exact zero as 0.

    >>> number(0.0), number(0.012345), number(1e-9)
    ('0', '0.0123', '1e-09')
    """
    return f"{value:.3g}"
