"""No test utterance may be known to an encoder: the check of encoders that were adapted here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emofuse.encoders.adapted import Adapted, read_adapted
from emofuse.errors import ProtocolError, shorten
from emofuse.manifest import Manifest
from emofuse.protocols.audit import Audit
from emofuse.protocols.contract import Fold
from emofuse.training.recipe import Recipe

__all__ = ["check_adapted"]

LEGACY = "legacy-"


def check_adapted(recipe: Recipe, manifest: Manifest, folds: Sequence[Fold], found: Audit) -> Audit:
    """Refuse folds whose test utterances an encoder of the recipe was adapted on.

    A legacy protocol is let through: its leaks are what it is there to show. The stamp then says
    how many utterances are concerned.

    Args:
        recipe: with its encoders.
        manifest: the utterances.
        folds: as they will be trained.
        found: their audit.

    Returns:
        The audit, with what was found here added to its stamp and warnings.

    Raises:
        ProtocolError: such an utterance, under a protocol that is no legacy one.
        EncoderError: an adapted encoder does not say what it saw.
    """
    said: list[str] = []
    for modality, spec in recipe.encoders.items():
        folder = Path(spec.name).expanduser()
        adapted = read_adapted(folder) if folder.is_dir() else None
        if adapted is None:
            continue
        hit = {fold.name: _seen(adapted, manifest, fold) for fold in folds}
        bad = {name: ids for name, ids in hit.items() if ids}
        if not bad:
            continue
        name, ids = next(iter(bad.items()))
        tested = sum(len(fold.test) for fold in folds)
        count = sum(map(len, bad.values()))
        if not found.protocol.startswith(LEGACY):
            raise ProtocolError(
                f"the {modality} encoder {spec.name} was adapted on {count:,} of {tested:,} test "
                f"utterances (fold {name!r}, e.g. {shorten(ids[0])}); train this encoder's own "
                f"fold alone: protocol={{name: given, path: {spec.name}/fold.json}}"
            )
        how = "with labels, " if adapted.labels else ""
        said.append(
            f"CONTAMINATED: the {modality} encoder was adapted, {how}on {count:,} of {tested:,} "
            "test utterances"
        )
    if not said:
        return found
    return found.model_copy(
        update={
            "stamp": " · ".join([found.stamp, *said]),
            "warnings": (*found.warnings, *said),
        }
    )


def _seen(adapted: Adapted, manifest: Manifest, fold: Fold) -> list[str]:
    return [name for name in fold.test if adapted.saw(name, manifest[name].corpus)]
