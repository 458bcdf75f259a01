"""Views: changed copies of training items, encoded and kept in the store like any other content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor

from emofuse.augment.draw import Draw
from emofuse.augment.masks import plan_of
from emofuse.augment.policy import AugmentOptions, draw_view
from emofuse.augment.sources import Sources
from emofuse.augment.styles import MaskOptions
from emofuse.encoders.build import IMPORTED, load_encoder
from emofuse.encoders.contract import Encoder, EncoderSpec, FloatArray, Item
from emofuse.errors import EncoderError, ManifestError, MediaError, OptionError
from emofuse.features.keys import FeatureKey, encoder_space
from emofuse.features.store import FeatureStore
from emofuse.features.table import Ragged
from emofuse.manifest import Manifest, Modality, Utterance
from emofuse.media.audio import audio_key, read_audio, slice_key
from emofuse.progress import Progress, ProgressEvent, silent
from emofuse.storage import sha256_text

__all__ = ["Views", "check_augmentation", "is_spectrogram", "make_views"]

TOGETHER = 32  # views read, changed and encoded at once
THREADS = 4


@dataclass(frozen=True)
class Views:
    """Changed copies of some items, and how a training takes them.

    Attributes:
        features: modality -> the views' features, one row a view.
        rows: ``(items, views)`` long, the rows of each item's views; -1 = there is none,
            which never stands before one.
        plan: ``(rows, masks, 4)``, the masks that belong to each row (see `augment.masks`).
        p: probability that an item is replaced by one of its views in an epoch.
        masks: masks drawn anew for every batch, or None.
    """

    features: Mapping[str, Ragged]
    rows: Tensor
    plan: Tensor
    p: float
    masks: MaskOptions | None

    def take(self, index: Tensor) -> Views:
        """Select items."""
        return replace(self, rows=self.rows[index])

    def join(self, other: Views) -> Views:
        """Put the items of two selections together."""
        return replace(self, rows=torch.cat([self.rows, other.rows]))

    def to(self, device: torch.device | str) -> Views:
        """Move to a device."""
        moved = {name: part.to(device) for name, part in self.features.items()}
        return replace(self, features=moved, rows=self.rows.to(device), plan=self.plan.to(device))


def is_spectrogram(spec: EncoderSpec | None) -> bool:
    """Tell whether an encoder gives frames whose places are bands of frequency."""
    if spec is None or spec.granularity != "frames":
        return False
    return spec.name == "logmel" or spec.name.startswith(IMPORTED)


def check_augmentation(
    options: AugmentOptions, encoders: Mapping[Modality, EncoderSpec], optimiser: str
) -> None:
    """Refuse augmentation that a recipe's encoders or optimiser would pass over.

    Raises:
        OptionError: with the key to change.
    """
    audio, text = encoders.get("audio"), encoders.get("text")
    if not options.makes_views and not options.specaugment:
        return
    if optimiser == "lbfgs" and (options.specaugment or options.balanced):
        key = "specaugment" if options.specaugment else "balanced"
        raise OptionError(
            f"augment.{key} needs batches; trainer.optimiser=lbfgs takes all items at once"
        )
    if options.specaugment and not is_spectrogram(audio):
        raise OptionError(
            "augment.specaugment hides bands of a spectrogram; take encoders.audio=logmel:"
            "granularity=frames"
        )
    if options.policy != "off" and (audio is None or audio.name.startswith(IMPORTED)):
        raise OptionError(
            f"augment.policy={options.policy} changes waveforms; give encoders.audio an encoder"
        )
    if options.word_dropout and (text is None or text.name.startswith(IMPORTED)):
        raise OptionError("augment.word_dropout changes texts; give encoders.text an encoder")


def make_views(
    manifest: Manifest,
    training: Iterable[str],
    options: AugmentOptions,
    encoders: Mapping[Modality, EncoderSpec],
    store: FeatureStore,
    *,
    progress: Progress = silent,
    device: str = "cpu",
) -> tuple[Views, tuple[Draw, ...], dict[str, str]]:
    """Draw, make and encode the views of training items.

    Args:
        manifest: all items of the run, labelled; the views' rows follow its order.
        training: ids of the items that some fold learns from or chooses by.
        options: the policy.
        encoders: modality -> encoder.
        store: where the encoded views are kept, under content, draw and version.
        progress: told of the stages ``augment audio`` and ``augment text``.
        device: of the encoders.

    Returns:
        The views (rows for every item of the manifest), the draws, and id -> why a view could not
        be made: that item stays as it is.

    Raises:
        EncoderError: an encoder cannot be loaded.
        MissingExtraError: the extra ``augment`` is not installed.
    """
    sources = options.sources()
    jobs = _jobs(manifest, set(training), options, sources)
    changes: dict[Modality, _Change] = {}
    if options.policy != "off":
        changes["audio"] = partial(_change_audio, manifest, sources)
    if options.word_dropout > 0:
        changes["text"] = _change_text
    features: dict[str, Ragged] = {}
    failed: dict[str, str] = {}
    for modality, change in changes.items():
        if jobs and modality in encoders:
            encoder = load_encoder(modality, encoders[modality], device)
            arrays, bad = _encode(jobs, change, encoder, store, progress)
            features[modality] = Ragged.from_arrays(arrays, encoder.dim)
            failed |= bad
    rows = _rows(manifest, jobs)
    draws = tuple(job.draw for job in jobs)
    hidden = [draw.masks if is_spectrogram(encoders.get("audio")) else () for draw in draws]
    masks = options.masks if options.specaugment else None
    return Views(features, rows, plan_of(hidden), options.p, masks), draws, failed


@dataclass(frozen=True)
class _Job:
    utterance: Utterance
    draw: Draw


def _jobs(
    manifest: Manifest, training: set[str], options: AugmentOptions, sources: Sources
) -> list[_Job]:
    chosen = [u for u in manifest if u.id in training] if options.makes_views else []
    counts = Counter(u.emotion for u in chosen)
    most = max(counts.values(), default=0)
    return [
        _Job(u, draw_view(options, u.id, view, u.emotion, text=u.text, sources=sources))
        for u in chosen
        for view in range(options.views_of(counts[u.emotion], most))
    ]


def _rows(manifest: Manifest, jobs: Sequence[_Job]) -> Tensor:
    """Item and view -> row of the view's features, -1 where there is none."""
    places = {name: row for row, name in enumerate(manifest.ids)}
    width = max((job.draw.view + 1 for job in jobs), default=0)
    rows = torch.full((len(manifest), width), -1, dtype=torch.long)
    for row, job in enumerate(jobs):
        rows[places[job.utterance.id], job.draw.view] = row
    return rows


_Change = Callable[[_Job, Encoder], tuple[str, Callable[[], Item]] | None]
"""From a job to its content key and a function that makes the item; None = nothing to encode."""


def _change_audio(
    manifest: Manifest, sources: Sources, job: _Job, encoder: Encoder
) -> tuple[str, Callable[[], Item]] | None:
    utterance, draw = job.utterance, job.draw
    if utterance.audio is None:
        return None
    path = manifest.path(utterance.audio)
    content = slice_key(_file_hash(path), utterance.start, utterance.end)
    if draw.steps:
        content = f"{content}+augment:{draw.audio_digest()}"

    def make() -> Item:
        from emofuse.augment.replay import replay  # it loads SciPy, which few trainings need

        wave = read_audio(path, encoder.sample_rate, utterance.start, utterance.end)
        changed = replay(draw, wave, sources, encoder.sample_rate)
        return Item(f"{utterance.id} (view {draw.view})", waveform=changed)

    return content, make


def _change_text(job: _Job, encoder: Encoder) -> tuple[str, Callable[[], Item]] | None:
    del encoder
    text = job.utterance.text
    if text is None or not text.strip():
        return None
    from emofuse.augment.replay import drop_words

    changed = drop_words(job.draw, text) if job.draw.words else text
    return sha256_text(changed), lambda: Item(job.utterance.id, text=changed)


@lru_cache(maxsize=1 << 16)
def _file_hash(path: Path) -> str:
    return audio_key(path)


def _encode(
    jobs: Sequence[_Job],
    change: _Change,
    encoder: Encoder,
    store: FeatureStore,
    progress: Progress,
) -> tuple[list[FloatArray | None], dict[str, str]]:
    """Give the array of each job, from the store where it is there, and id -> why it has none."""
    failed: dict[str, str] = {}
    space = encoder_space(encoder)
    keys: list[FeatureKey | None] = []
    todo: dict[FeatureKey, Callable[[], Item]] = {}
    for job in jobs:
        try:
            found = change(job, encoder)
        except (MediaError, ManifestError) as error:
            failed[job.utterance.id], found = str(error), None
        key = None if found is None else FeatureKey(space, found[0])
        keys.append(key)
        if key is not None and found is not None and key not in store:
            todo[key] = found[1]
    bad = _fill(todo, encoder, store, progress)
    if todo:
        store.compact(space)
    for job, key in zip(jobs, keys, strict=True):
        if key in bad:
            failed[job.utterance.id] = bad[key]
    good = [key for key in keys if key is not None and key not in bad]
    arrays = dict(zip(good, store.get_many(good), strict=True))
    return [None if key is None else arrays.get(key) for key in keys], failed


def _fill(
    todo: Mapping[FeatureKey, Callable[[], Item]],
    encoder: Encoder,
    store: FeatureStore,
    progress: Progress,
) -> dict[FeatureKey, str]:
    """Make, encode and store what is missing; what is finished is kept whatever happens."""
    bad: dict[FeatureKey, str] = {}
    keys = list(todo)
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(keys), TOGETHER):
            window = keys[start : start + TOGETHER]
            entries: list[tuple[FeatureKey, FloatArray]] = []
            items = pool.map(_attempt, [todo[key] for key in window])
            for key, item in zip(window, items, strict=True):
                found = item if isinstance(item, str) else _encode_one(item, encoder)
                if isinstance(found, str):
                    bad[key] = found
                else:
                    entries.append((key, found))
            store.put_many(entries)
            done = min(start + TOGETHER, len(keys))
            progress(ProgressEvent(f"augment {encoder.modality}", done, len(keys), "views"))
    return bad


def _attempt(make: Callable[[], Item]) -> Item | str:
    try:
        return make()
    except (MediaError, ManifestError) as error:
        return str(error)


def _encode_one(item: Item, encoder: Encoder) -> FloatArray | str:
    try:
        return encoder.encode([item])[0]
    except EncoderError as error:
        return str(error)
