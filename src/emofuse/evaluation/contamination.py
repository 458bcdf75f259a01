"""Encoders that knew the test before: seen with labels, or nobody wrote down what they saw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from emofuse.errors import shorten

__all__ = ["contaminated_by", "unknown_encoders"]


def contaminated_by(encoders: Any, corpora: Iterable[str]) -> tuple[str, ...]:
    """Name the encoders that saw a corpus under test together with its labels, one line each.

    An adaptation counts by its utterances, which training checked, and not by its corpus.

    Args:
        encoders: modality -> description with its ``provenance``, as in a bundle.
        corpora: those under test.
    """
    tested = {str(name).lower() for name in corpora}
    found = []
    for modality, provenance in _provenances(encoders):
        labelled, adapted = (_names(provenance.get(k)) for k in ("labelled_on", "adapted_on"))
        seen = sorted((labelled - adapted) & tested)
        if seen:
            source = provenance.get("source")
            told = f" ({' '.join(str(source).split())})" if source else ""
            found.append(f"the {modality} encoder saw {', '.join(seen)} with labels{told}")
    return tuple(found)


def unknown_encoders(encoders: Any) -> tuple[str, ...]:
    """Name the encoders of which nobody wrote down what they saw, one line each."""
    found = []
    for modality, provenance in _provenances(encoders):
        if provenance.get("known") is False:
            spec = encoders[modality].get("spec")
            name = spec.get("name") if isinstance(spec, Mapping) else None
            found.append(
                f"nobody wrote down what the {modality} encoder ({shorten(_public(name))}) saw: it "
                "may know the test speakers, or their labels"
            )
    return tuple(found)


def _public(name: Any) -> Any:
    """Leave out of a folder's path what others need not know: a page is shown around."""
    parts = Path(name).parts if isinstance(name, str) and Path(name).is_absolute() else ()
    return "/".join(parts[-2:]) if len(parts) > 3 else name


def _provenances(encoders: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for modality, encoder in encoders.items() if isinstance(encoders, Mapping) else ():
        provenance = encoder.get("provenance") if isinstance(encoder, Mapping) else None
        if isinstance(provenance, Mapping):
            yield str(modality), provenance


def _names(value: Any) -> set[str]:
    return {str(one).lower() for one in value} if isinstance(value, list | tuple) else set()
