"""The features of test utterances under stress, and the tables that models are asked with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from emofuse.augment.replay import apply_step
from emofuse.augment.sources import Sources
from emofuse.augment.stress_draw import StressDraw
from emofuse.encoders.contract import Encoder, FloatArray, Item
from emofuse.errors import ManifestError, MediaError
from emofuse.features.changed import Changed, encode_changed
from emofuse.features.store import FeatureStore
from emofuse.features.table import FeatureTable, Ragged
from emofuse.manifest import Manifest, Modality, Utterance
from emofuse.media.audio import audio_key, read_audio, slice_key
from emofuse.progress import Progress
from emofuse.storage import sha256_text

__all__ = ["Place", "Stressed", "stress_features", "stressed_table"]

Place = tuple[str, str, str]
"""Fold, id of the utterance, label of the condition."""


@dataclass
class Stressed:
    """Features of one modality under some conditions.

    Attributes:
        modality: which.
        contents: place -> content; absent = the utterance is as it was.
        arrays: content -> ``(frames, dim)``.
        failed: place -> why there is nothing.
    """

    modality: Modality
    contents: dict[Place, str] = field(default_factory=dict)
    arrays: dict[str, FloatArray] = field(default_factory=dict)
    failed: dict[Place, str] = field(default_factory=dict)


def stress_features(
    draws: Iterable[tuple[Place, StressDraw]],
    manifest: Manifest,
    encoder: Encoder,
    store: FeatureStore,
    *,
    sources: Sources,
    progress: Progress,
    stage: str,
) -> Stressed:
    """Encode utterances under several conditions at once: an utterance's levels go together.

    Args:
        draws: what is done to which utterance.
        manifest: the utterances.
        encoder: loaded.
        store: keeps every changed utterance under its content and what was done.
        sources: folders of noises, responses and voices.
        progress: told of ``stage``.
        stage: what to call it.
    """
    found = Stressed(encoder.modality)
    work = _Work(manifest, encoder, sources)
    groups: dict[str, dict[str, Changed]] = {}
    for place, draw in draws:
        try:
            change = work.change(draw)
        except (MediaError, ManifestError, OSError) as error:
            found.failed[place] = str(error)
            continue
        if change is not None:
            groups.setdefault(draw.utterance, {})[change.content] = change
            found.contents[place] = change.content
    chunks = [list(group.values()) for group in groups.values()]
    found.arrays, bad = encode_changed(chunks, encoder, store, progress, stage)
    for place, content in found.contents.items():
        if content not in found.arrays:
            found.failed[place] = bad.get(content, "the store lost its features")
    return found


@dataclass
class _Work:
    manifest: Manifest
    encoder: Encoder
    sources: Sources
    hashes: dict[Path, str] = field(default_factory=dict)

    def change(self, draw: StressDraw) -> Changed | None:
        """Name what is to be encoded; None where nothing is changed."""
        utterance: Utterance = self.manifest[draw.utterance]
        if self.encoder.modality == "text":
            return _changed_text(utterance, draw)
        if utterance.audio is None or not draw.steps:
            return None
        path = self.manifest.path(utterance.audio)
        if path not in self.hashes:
            self.hashes[path] = audio_key(path)
        content = slice_key(self.hashes[path], utterance.start, utterance.end)
        make = partial(_hear, utterance, path, draw, self.sources, self.encoder.sample_rate)
        return Changed(utterance.id, f"{content}+augment:{draw.audio_digest()}", make)


def _changed_text(utterance: Utterance, draw: StressDraw) -> Changed | None:
    text = draw.read(utterance.text)
    if text is None or text == utterance.text:
        return None
    return Changed(utterance.id, sha256_text(text), partial(Item, utterance.id, text=text))


def _hear(utterance: Utterance, path: Path, draw: StressDraw, sources: Sources, rate: int) -> Item:
    wave = read_audio(path, rate, utterance.start, utterance.end)
    for step in draw.steps:
        wave = apply_step(step, wave, sources, rate)
    return Item(f"{utterance.id} ({draw.condition})", waveform=wave)


def stressed_table(
    table: FeatureTable,
    places: Sequence[Place],
    stressed: Stressed | None,
    hidden: Modality | None = None,
) -> FeatureTable:
    """Give the features of some utterances as they are under a condition.

    Args:
        table: undisturbed features.
        places: the utterances, one row each, in order; none of them failed.
        stressed: what was changed; None = nothing.
        hidden: a modality that is taken away.
    """
    ids = tuple(name for _, name, _ in places)
    rows = table.rows(ids)
    parts: dict[str, Ragged] = {}
    for name, part in table.modalities.items():
        if name == hidden:
            parts[name] = Ragged(part.values[:0], torch.zeros(len(ids) + 1, dtype=torch.long))
        elif stressed is not None and name == stressed.modality:
            parts[name] = _replaced(part.take(rows), places, stressed)
        else:
            parts[name] = part.take(rows)
    return FeatureTable(ids, parts, table.encoders)


def _replaced(part: Ragged, places: Sequence[Place], stressed: Stressed) -> Ragged:
    if not any(place in stressed.contents for place in places):
        return part
    arrays: list[FloatArray | None] = []
    for row, place in enumerate(places):
        start, end = part.offsets[row : row + 2].tolist()
        content = stressed.contents.get(place)
        whole = part.values[start:end].numpy() if content is None else stressed.arrays[content]
        arrays.append(whole if len(whole) else None)
    return Ragged.from_arrays(arrays, part.dim)
