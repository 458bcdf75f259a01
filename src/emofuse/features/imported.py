"""Imported vectors: filed by a name of the user's, by corpus and id, and by their file's hash."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emofuse.encoders.build import IMPORTED
from emofuse.encoders.contract import EncoderSpec, FloatArray
from emofuse.errors import FeatureError, OptionError, shorten
from emofuse.features.keys import FORMAT, FeatureKey, FeatureSpace
from emofuse.features.store import FeatureStore
from emofuse.manifest import Manifest, Modality, Utterance
from emofuse.storage import read_json, write_json

__all__ = ["check_name", "gather_imported", "imported_key", "imported_space", "register_import"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def check_name(name: str) -> str:
    """Refuse a name of imported vectors that could not be a file's name.

    Raises:
        OptionError: the name is not 1 to 80 letters, digits, dots, dashes and underscores.
    """
    if not _NAME.fullmatch(name):
        raise OptionError(
            f"{shorten(name)} is no name for imported vectors; "
            "take 1 to 80 letters, digits, '.', '-' and '_', the first a letter or digit"
        )
    return name


def imported_space(modality: Modality, name: str, revision: str) -> FeatureSpace:
    """Give the space of imported vectors.

    Args:
        modality: what they describe.
        name: what the user calls them.
        revision: hash of the file they came from.
    """
    encoder = f"{IMPORTED}{name}"
    about = {"format": FORMAT, "modality": modality, "encoder": encoder, "revision": revision}
    return FeatureSpace.of(about)


def imported_key(space: FeatureSpace, utterance: Utterance) -> FeatureKey:
    """Give the key of an utterance's imported vector: its corpus and its id."""
    return FeatureKey(space, f"{utterance.corpus or ''}\x1f{utterance.id}")


def _card(store: FeatureStore, modality: Modality, name: str) -> Path:
    return store.folder / "imported" / modality / f"{check_name(name)}.json"


def register_import(
    store: FeatureStore, modality: Modality, name: str, card: Mapping[str, Any], replace: bool
) -> None:
    """Note what a name stands for.

    Args:
        store: the feature store.
        modality: what the vectors describe.
        name: what the user calls them.
        card: at least ``revision``, ``dim`` and ``granularity``.
        replace: give the name to new vectors although it stands for others.

    Raises:
        FeatureError: the name stands for other vectors.
    """
    path = _card(store, modality, name)
    if path.exists() and not replace:
        known = read_json(path).get("revision")
        if known != card["revision"]:
            raise FeatureError(
                f"{name!r} already stands for other {modality} vectors in {store.folder}; "
                "choose another --name, or give --replace"
            )
    write_json(path, dict(card))


def gather_imported(
    manifest: Manifest, modality: Modality, spec: EncoderSpec, store: FeatureStore
) -> tuple[list[FloatArray | None], dict[str, object]]:
    """Read the vectors of a manifest that were imported under ``imported:NAME``.

    Returns:
        An array or None (the utterance has no such vector) for each utterance, and the
        description of the vectors, in the form of `describe_encoder`.

    Raises:
        FeatureError: nothing was imported under the name, or a vector has gone.
    """
    name = spec.name.removeprefix(IMPORTED)
    path = _card(store, modality, name)
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.json"))) or "(none)"
        raise FeatureError(
            f"no {modality} vectors were imported as {name!r} into {store.folder} "
            f"(known: {known}); run: emofuse import"
        )
    card = read_json(path)
    space = imported_space(modality, name, str(card["revision"]))
    naming = [u for u in manifest if u.features.get(modality) == name]
    found = store.get_many([imported_key(space, utterance) for utterance in naming])
    for utterance, array in zip(naming, found, strict=True):
        if array is None:
            raise FeatureError(
                f"{shorten(utterance.id)} names {modality} vectors {name!r} that "
                f"{store.folder} does not hold; import them again"
            )
    vectors = {utterance.id: array for utterance, array in zip(naming, found, strict=True)}
    arrays = [vectors.get(utterance.id) for utterance in manifest]
    description: dict[str, object] = {
        "modality": modality,
        "spec": spec.model_dump(mode="json"),
        "revision": card["revision"],
        "precision": "fp32",
        "dim": card["dim"],
        "frame_rate": None,
        "sample_rate": 0,
        "provenance": card.get("provenance")
        or {"licence": "unknown", "pretrained_on": [], "labelled_on": [], "known": False},
    }
    return arrays, description
