"""Encode a manifest by many workers into one store.

Workers hash stretches of the manifest, this process puts together what the store lacks, and workers
encode it in the very windows that one process would make: the features are the same. Every worker
writes shards of its own, which the store allows. The folders of manifest, media and store are those
of the caller: workers on other machines need to see them under the same paths.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from emofuse.cluster.crew import Crew, open_crew
from emofuse.cluster.engine import Engine
from emofuse.encoders.build import load_encoder
from emofuse.encoders.contract import Encoder, EncoderSpec
from emofuse.features.encode import EncodeReport, encode_manifest, refuse_bad
from emofuse.features.keys import FeatureKey, FeatureSpace, encoder_space
from emofuse.features.plan import WINDOW_UTTERANCES, Plan, Work, make_plans
from emofuse.features.session import Session, make_windows
from emofuse.features.store import FeatureStore
from emofuse.manifest import Manifest, ManifestFile, Modality, Utterance
from emofuse.progress import Progress, ProgressEvent, silent

__all__ = ["encode_spread"]

CHUNK = 250
"""Utterances that a worker hashes at once."""
ROUND = 64
"""Stretches of the manifest that are held in memory at once."""
TASKS_A_WORKER = 4
"""Tasks that a worker gets of a round, so that all end at about the same time."""
MOST_WINDOWS = 60
"""Windows of a task: about an hour of audio, which a killed worker may cost at most in part."""


def encode_spread(
    manifest: ManifestFile | Manifest,
    modality: Modality,
    spec: EncoderSpec,
    store: FeatureStore,
    progress: Progress = silent,
    *,
    engine: Engine,
    strict: bool = False,
    device: str = "cpu",
) -> EncodeReport:
    """Encode what the store does not hold yet, by the workers of an engine.

    Args:
        manifest: utterances; the workers see its folder.
        modality: ``audio``, ``text`` or ``video``.
        spec: the encoder.
        store: where the features go; the workers see its folder.
        progress: told of the stages ``check <modality>`` and ``encode <modality>``.
        engine: who encodes.
        strict: a bad utterance ends the work.
        device: of each worker.

    Raises:
        EncoderError: the encoder cannot be loaded, or (strict) cannot encode an item.
        MediaError: (strict) an utterance cannot be read.
        WorkError: the store cannot be written, or the workers fail.
    """
    if engine.alone:
        return encode_manifest(
            manifest, modality, spec, store, progress, strict=strict, device=device
        )
    encoder = load_encoder(modality, spec, "cpu" if engine.address else device)
    head = _Head(manifest, encoder, store, progress, strict)
    setup = partial(
        _Hand, modality, spec, device, str(store.folder), str(manifest.root), strict=strict
    )
    with open_crew(engine, setup) as crew:
        head.run(crew)
    return head.report()


@dataclass
class _Head:
    """The process that knows what is to be done."""

    manifest: ManifestFile | Manifest
    encoder: Encoder
    store: FeatureStore
    progress: Progress
    strict: bool
    works: int = 0
    absent: int = 0
    done: int = 0
    failed_works: int = 0
    audio_seconds: float = 0.0
    seconds: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)
    quarantined: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)
    _passed: int = 0

    @cached_property
    def space(self) -> FeatureSpace:
        """Where the features go."""
        return encoder_space(self.encoder)

    def run(self, crew: Crew) -> None:
        started = time.perf_counter()
        self.store.refresh()
        utterances = iter(self.manifest)
        while listed := list(islice(utterances, ROUND * WINDOW_UTTERANCES)):
            plans = self._plan(crew, listed)
            for plan in plans:
                refuse_bad(plan, self.strict)
                self._count(plan)
            self._encode(crew, plans)
            for plan in plans:
                bad = {w.id: self.failed[w.content] for w in plan.works if w.content in self.failed}
                self.failed_works += len(bad)
                self.quarantined |= plan.quarantined | bad
            self._passed += len(listed)
        if self.done:
            self.store.compact(self.space)
        self.seconds = time.perf_counter() - started

    def _plan(self, crew: Crew, listed: Sequence[Utterance]) -> list[Plan]:
        """Let workers hash the files, and put the stretches together as one process has them."""
        modality, total = self.encoder.modality, len(self.manifest)

        def told(done: int, _: int) -> None:
            checked = self._passed + min(done * CHUNK, len(listed))
            self.progress(ProgressEvent(f"check {modality}", checked, total, "utterances"))

        chunks = crew.map(_check, _pieces(listed, CHUNK), told)
        return [_joined(part) for part in _pieces(chunks, WINDOW_UTTERANCES // CHUNK)]

    def _count(self, plan: Plan) -> None:
        self.works += len(plan.works)
        self.absent += plan.absent

    def _encode(self, crew: Crew, plans: Sequence[Plan]) -> None:
        windows: list[list[Work]] = []
        seen = set(self.failed)
        for plan in plans:
            works = self._missing(plan.works, seen)
            windows += make_windows(works, self.encoder.modality)
        size = min(MOST_WINDOWS, -(-len(windows) // (TASKS_A_WORKER * crew.size)) or 1)
        tasks = _pieces(windows, size)
        passed = self._passed

        def told(done: int, count: int) -> None:
            share = passed + sum(plan.utterances for plan in plans) * done // count
            stage = f"encode {self.encoder.modality}"
            self.progress(ProgressEvent(stage, share, len(self.manifest), "utterances"))

        for gave in crew.map(_encode, tasks, told):
            self.done += gave.done
            self.audio_seconds += gave.audio_seconds
            self.failed |= gave.failed
            self.warnings |= dict.fromkeys(gave.warnings)
        self.store.refresh()

    def _missing(self, works: Sequence[Work], seen: set[str]) -> list[Work]:
        """Give one work for each content that is neither stored nor under way."""
        fresh = {work.content: work for work in works if work.content not in seen}
        lacking = [w for w in fresh.values() if FeatureKey(self.space, w.content) not in self.store]
        seen.update(work.content for work in lacking)
        return lacking

    def report(self) -> EncodeReport:
        return EncodeReport(
            modality=self.encoder.modality,
            done=self.done,
            skipped=self.works - self.done - self.failed_works,
            absent=self.absent,
            quarantined=self.quarantined,
            warnings=(*self.warnings, *self.store.damaged.values()),
            seconds=self.seconds,
            audio_seconds=self.audio_seconds,
        )


Piece = TypeVar("Piece")


def _pieces(whole: Sequence[Piece], size: int) -> list[Sequence[Piece]]:
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def _joined(chunks: Sequence[Plan]) -> Plan:
    plan = Plan()
    for chunk in chunks:
        plan.utterances += chunk.utterances
        plan.works += chunk.works
        plan.absent += chunk.absent
        plan.quarantined |= chunk.quarantined
    return plan


@dataclass
class _Hand:
    """What a worker keeps from task to task."""

    modality: Modality
    spec: EncoderSpec
    device: str
    store_folder: str
    root: str
    strict: bool

    @cached_property
    def encoder(self) -> Encoder:
        """Loaded once a worker."""
        return load_encoder(self.modality, self.spec, self.device)

    @cached_property
    def store(self) -> FeatureStore:
        """Opened once a worker."""
        return FeatureStore(Path(self.store_folder))

    def listing(self, utterances: Sequence[Utterance] = ()) -> Manifest:
        """Give utterances with the root of the manifest."""
        return Manifest(list(utterances), Path(self.root))


@dataclass(frozen=True)
class _Gave:
    """What came of some windows."""

    done: int
    audio_seconds: float
    failed: dict[str, str]
    warnings: tuple[str, ...]


def _check(hand: _Hand, utterances: Sequence[Utterance]) -> Plan:
    """Hash and measure a chunk of the manifest."""
    plans: Iterator[Plan] = make_plans(hand.listing(utterances), hand.modality)
    return _joined(list(plans))


def _encode(hand: _Hand, windows: Sequence[Sequence[Work]]) -> _Gave:
    """Encode windows and store them."""
    encoder = hand.encoder
    session = Session(
        hand.listing(), encoder, hand.store, encoder_space(encoder), silent, hand.strict
    )
    try:
        session.run_windows(windows)
    finally:
        session.flush()
    return _Gave(session.done, session.audio_seconds, session.failed, encoder.take_warnings())
