"""Encode a manifest into the store, and gather what a run needs from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from emofuse.encoders.build import IMPORTED, describe_encoder, load_encoder
from emofuse.encoders.contract import Encoder, EncoderSpec, FloatArray
from emofuse.errors import FeatureError, MediaError
from emofuse.features.keys import FeatureKey, FeatureSpace, encoder_space
from emofuse.features.plan import Listing, Plan, make_plans
from emofuse.features.session import Session
from emofuse.features.store import FeatureStore
from emofuse.features.table import FeatureTable, Ragged
from emofuse.manifest import Manifest, Modality
from emofuse.progress import Progress, silent

__all__ = ["EncodeReport", "describe_encoder", "encode_manifest", "load_table", "refuse_bad"]


@dataclass(frozen=True)
class EncodeReport:
    """What became of one modality of a manifest.

    Attributes:
        modality: ``audio``, ``text`` or ``video``.
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
    manifest: Listing,
    modality: Modality,
    spec: EncoderSpec,
    store: FeatureStore,
    progress: Progress = silent,
    *,
    strict: bool = False,
    device: str = "cpu",
) -> EncodeReport:
    """Encode what the store does not hold yet.

    The manifest is taken in stretches of some thousand utterances, and within one, items of like
    length go together; files are read by threads ahead of the encoder; results are written every
    few seconds, so the same call after a kill goes on from there. Memory does not grow with the
    audio, nor with the manifest where it stays on disk (`ManifestFile`), but for 16 bytes an item
    that the store holds.

    Args:
        manifest: utterances, labelled or not: a `Manifest` or a `ManifestFile`.
        modality: ``audio``, ``text`` or ``video``.
        spec: the encoder.
        store: where the features go.
        progress: told of the stages ``check audio`` and ``encode <modality>``.
        strict: a bad utterance ends the work instead of being quarantined, as soon as its stretch
            of the manifest is looked at.
        device: ``cpu``, ``cuda`` or ``auto``.

    Raises:
        EncoderError: the encoder cannot be loaded, or (strict) cannot encode an item.
        MediaError: (strict) an utterance cannot be read.
        WorkError: the store cannot be written.
    """
    encoder = load_encoder(modality, spec, device)
    return _run(_Task(manifest, encoder, store, progress, strict))


@dataclass(frozen=True)
class _Task:
    manifest: Listing
    encoder: Encoder
    store: FeatureStore
    progress: Progress
    strict: bool


def _run(task: _Task, contents: dict[str, str] | None = None) -> EncodeReport:
    """Encode; on request note the content of each utterance (id -> content)."""
    encoder, store = task.encoder, task.store
    store.refresh()
    space = encoder_space(encoder)
    session = Session(task.manifest, encoder, store, space, task.progress, task.strict)
    tally = _Tally()
    try:
        for plan in make_plans(task.manifest, encoder.modality, task.progress):
            refuse_bad(plan, task.strict)
            session.run(session.missing(plan.works), plan.utterances)
            tally.add(plan, session.failed)
            if contents is not None:
                contents.update((work.id, work.content) for work in plan.works)
    finally:  # whatever ends it, what is finished is stored
        session.flush()
    if session.done:
        store.compact(space)
    return EncodeReport(
        modality=encoder.modality,
        done=session.done,
        skipped=tally.works - session.done - tally.failed,
        absent=tally.absent,
        quarantined=tally.quarantined,
        warnings=(*encoder.take_warnings(), *store.damaged.values()),
        seconds=session.seconds,
        audio_seconds=session.audio_seconds,
    )


@dataclass
class _Tally:
    """What became of the utterances so far."""

    works: int = 0
    absent: int = 0
    failed: int = 0
    quarantined: dict[str, str] = field(default_factory=dict)

    def add(self, plan: Plan, failed: Mapping[str, str]) -> None:
        """Count a plan that was carried out, ``failed`` by content."""
        bad = {work.id: failed[work.content] for work in plan.works if work.content in failed}
        self.works += len(plan.works)
        self.absent += plan.absent
        self.failed += len(bad)
        self.quarantined |= plan.quarantined | bad


def refuse_bad(plan: Plan, strict: bool) -> None:
    """Raise the first bad utterance of a plan, where that is wanted."""
    if strict and plan.quarantined:
        name, reason = next(iter(plan.quarantined.items()))
        raise MediaError(f"{name}: {reason} ({len(plan.quarantined)} such)")


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
    space = encoder_space(encoder)
    task = _Task(manifest, encoder, store, progress, strict)
    contents: dict[str, str] = {}
    report = _run(task, contents)
    expected = contents.keys() - report.quarantined.keys()
    found = _read_all(contents, space, store)
    if len(found) < len(expected):
        # A shard turned out damaged on reading: it is set aside now, so encode those again.
        report = _run(task, contents)
        found = _read_all(contents, space, store)
    lost = sorted(contents.keys() - report.quarantined.keys() - found.keys())
    if lost:
        raise FeatureError(f"the store lost {len(lost)} features at once, {lost[0]} among them")
    return [found.get(u.id) for u in manifest], report.quarantined


def _read_all(
    contents: Mapping[str, str], space: FeatureSpace, store: FeatureStore
) -> dict[str, FloatArray]:
    arrays = store.get_many([FeatureKey(space, content) for content in contents.values()])
    return {n: array for n, array in zip(contents, arrays, strict=True) if array is not None}
