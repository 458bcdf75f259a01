"""Encode a manifest into the store, and gather what a run needs from it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from emofuse.encoders.build import IMPORTED, describe_encoder, load_encoder
from emofuse.encoders.contract import Encoder, EncoderSpec, FloatArray
from emofuse.errors import FeatureError, MediaError
from emofuse.features.keys import FeatureKey, FeatureSpace, encoder_space
from emofuse.features.plan import Plan, make_plan
from emofuse.features.session import Session
from emofuse.features.store import FeatureStore
from emofuse.features.table import FeatureTable, Ragged
from emofuse.manifest import Manifest, Modality
from emofuse.progress import Progress, silent

__all__ = ["EncodeReport", "describe_encoder", "encode_manifest", "load_table"]


@dataclass(frozen=True)
class EncodeReport:
    """What became of one modality of a manifest.

    Attributes:
        modality: ``audio`` or ``text``.
        done: contents encoded now (several utterances may share one).
        skipped: utterances whose content was in the store, or occurs earlier in the manifest.
        absent: utterances without this modality.
        quarantined: id -> why it could not be encoded.
        warnings: what else was found: texts cut at the model's length, damaged shards.
        seconds: wall-clock time.
        audio_seconds: length of the audio encoded now.
    """

    modality: str
    done: int = 0
    skipped: int = 0
    absent: int = 0
    quarantined: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    audio_seconds: float = 0.0


def encode_manifest(
    manifest: Manifest,
    modality: Modality,
    spec: EncoderSpec,
    store: FeatureStore,
    progress: Progress = silent,
    *,
    strict: bool = False,
    device: str = "cpu",
) -> EncodeReport:
    """Encode what the store does not hold yet.

    Items are taken in windows of like length; files are read by threads ahead of the encoder;
    results are written every few seconds, so the same call after a kill goes on from there. Memory
    does not grow with the manifest.

    Args:
        manifest: utterances, labelled or not.
        modality: ``audio`` or ``text``.
        spec: the encoder.
        store: where the features go.
        progress: told of the stages ``check audio`` and ``encode <modality>``.
        strict: a bad utterance ends the work instead of being quarantined.
        device: ``cpu``, ``cuda`` or ``auto``.

    Raises:
        EncoderError: the encoder cannot be loaded, or (strict) cannot encode an item.
        MediaError: (strict) an utterance cannot be read.
        WorkError: the store cannot be written.
    """
    encoder = load_encoder(modality, spec, device)
    plan = make_plan(manifest, modality, progress)
    return _run(_Task(manifest, encoder, plan, store, progress, strict))


@dataclass(frozen=True)
class _Task:
    manifest: Manifest
    encoder: Encoder
    plan: Plan
    store: FeatureStore
    progress: Progress
    strict: bool


def _run(task: _Task) -> EncodeReport:
    plan, encoder, store = task.plan, task.encoder, task.store
    if task.strict and plan.quarantined:
        name, reason = next(iter(plan.quarantined.items()))
        raise MediaError(f"{name}: {reason} ({len(plan.quarantined)} such)")
    store.refresh()
    space = encoder_space(encoder)
    todo = {w.content: w for w in plan.works if FeatureKey(space, w.content) not in store}
    session = Session(task.manifest, encoder, store, space, task.progress, task.strict)
    started = time.perf_counter()
    session.run(list(todo.values()))
    failed = _spread(plan, session.failed)
    return EncodeReport(
        modality=encoder.modality,
        done=session.done,
        skipped=len(plan.works) - session.done - len(failed),
        absent=len(plan.absent),
        quarantined={**plan.quarantined, **failed},
        warnings=(*encoder.take_warnings(), *store.damaged.values()),
        seconds=time.perf_counter() - started,
        audio_seconds=session.audio_seconds,
    )


def _spread(plan: Plan, failed: Mapping[str, str]) -> dict[str, str]:
    """Turn content -> reason into id -> reason, for every utterance that shares the content."""
    return {w.utterance.id: failed[w.content] for w in plan.works if w.content in failed}


def load_table(
    manifest: Manifest,
    specs: Mapping[Modality, EncoderSpec],
    store: FeatureStore,
    progress: Progress = silent,
    *,
    strict: bool = False,
    device: str = "cpu",
) -> FeatureTable:
    """Give the features of a manifest in memory, encoding first what the store lacks.

    Args:
        manifest: the utterances, one row each.
        specs: modality -> encoder, or ``imported:NAME``.
        store: the feature store.
        progress: see `encode_manifest`.
        strict: a bad utterance is an error, not a row without the modality.
        device: ``cpu``, ``cuda`` or ``auto``.

    Raises:
        FeatureError: no utterance has a modality, or an imported vector is not in the store.
        EncoderError: an encoder cannot be loaded.
    """
    parts: dict[str, Ragged] = {}
    encoders: dict[str, Mapping[str, object]] = {}
    quarantined: dict[str, Mapping[str, str]] = {}
    for modality, spec in specs.items():
        if spec.name.startswith(IMPORTED):
            from emofuse.features.imported import gather_imported

            arrays, encoders[modality] = gather_imported(manifest, modality, spec, store)
            bad: Mapping[str, str] = {}
        else:
            encoder = load_encoder(modality, spec, device)
            arrays, bad = _gather(manifest, encoder, store, progress, strict)
            encoders[modality] = describe_encoder(encoder)
        dims = {array.shape[1] for array in arrays if array is not None}
        if not dims:
            raise FeatureError(
                f"no utterance of the manifest has {modality} that {spec.name} can take; "
                f"leave {modality} out, or choose another manifest"
            )
        parts[modality] = Ragged.from_arrays(arrays, max(dims))
        if bad:
            quarantined[modality] = bad
    return FeatureTable(manifest.ids, parts, encoders, quarantined)


def _gather(
    manifest: Manifest, encoder: Encoder, store: FeatureStore, progress: Progress, strict: bool
) -> tuple[list[FloatArray | None], Mapping[str, str]]:
    plan = make_plan(manifest, encoder.modality, progress)
    space = encoder_space(encoder)
    task = _Task(manifest, encoder, plan, store, progress, strict)
    report = _run(task)
    found = _read_all(plan, space, store)
    if len(found) + len(report.quarantined) < len(plan.works) + len(plan.quarantined):
        # A shard turned out damaged on reading: it is set aside now, so encode those again.
        report = _run(task)
        found = _read_all(plan, space, store)
    expected = {w.utterance.id for w in plan.works} - set(report.quarantined)
    lost = sorted(expected - set(found))
    if lost:
        raise FeatureError(f"the store lost {len(lost)} features at once, {lost[0]} among them")
    return [found.get(u.id) for u in manifest], report.quarantined


def _read_all(plan: Plan, space: FeatureSpace, store: FeatureStore) -> dict[str, FloatArray]:
    found: dict[str, FloatArray] = {}
    for work in plan.works:
        array = store.get(FeatureKey(space, work.content))
        if array is not None:
            found[work.utterance.id] = array
    return found
