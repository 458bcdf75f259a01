"""From a specification in a recipe to folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from emofuse.errors import OptionError, ProtocolError, nearest_hint, shorten
from emofuse.manifest import Manifest
from emofuse.protocols import PROTOCOLS
from emofuse.protocols.contract import Fold, Protocol

__all__ = ["load_protocol", "make_folds"]


def load_protocol(spec: Mapping[str, Any]) -> Protocol:
    """Make a protocol from ``{"name": ..., option: value}``.

    >>> load_protocol({"name": "group-kfold", "by": "dialogue", "k": 3}).options.name
    'group-kfold'

    Raises:
        OptionError: an unknown name, an unknown key or an illegal value.
    """
    name = spec.get("name") if isinstance(spec, Mapping) else None
    if not isinstance(name, str):
        raise OptionError(
            f"protocol: expected a name and options, got {shorten(spec)}; "
            f"{nearest_hint('', PROTOCOLS.names(), limit=20)}"
        )
    kind: type[Protocol] = PROTOCOLS.load(name)
    return kind(kind.options_type.parse(spec, where=f"protocol {name}"))


def make_folds(manifest: Manifest, spec: Mapping[str, Any]) -> tuple[Protocol, list[Fold]]:
    """Cut a labelled manifest into folds.

    Utterances without an emotion stay out of every fold; the audit counts them.

    Args:
        manifest: labelled by a scheme (`Manifest.label`).
        spec: ``{"name": ..., option: value}``, as in a recipe.

    Returns:
        The protocol, for the audit, and its folds.

    Raises:
        OptionError: an unknown protocol, key or value.
        ProtocolError: the manifest cannot be cut this way.
    """
    protocol = load_protocol(spec)
    labelled = manifest.filter(lambda u: u.emotion is not None)
    if len(labelled) < 2:
        raise ProtocolError(
            f"{len(labelled)} of {len(manifest)} utterances have an emotion; "
            "label the manifest or choose another scheme"
        )
    folds = list(protocol.folds(labelled))
    _check(folds, labelled, protocol.options.name)
    return protocol, folds


def _check(folds: list[Fold], labelled: Manifest, name: str) -> None:
    if not folds:
        raise ProtocolError(f"{name} made no fold")
    fold, count = Counter(fold.name for fold in folds).most_common(1)[0]
    if count > 1:
        raise ProtocolError(f"{name}: {count} folds are named {fold!r}; names must differ")
    known = set(labelled.ids)
    for each in folds:
        strange = [one for one in (*each.train, *each.dev, *each.test) if one not in known]
        if strange:
            raise ProtocolError(
                f"{name}, fold {each.name!r}: no labelled utterance {shorten(strange[0])} "
                f"({len(strange)} such)"
            )
