"""What an encoder is adapted on: the utterances, and the views drawn of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emofuse.encoders.contract import FloatArray
from emofuse.errors import ProtocolError, TrainingError, shorten
from emofuse.features.plan import Work, make_plans
from emofuse.labels import LabelScheme, get_scheme
from emofuse.manifest import Manifest, Utterance
from emofuse.media.audio import read_audio
from emofuse.media.text import normalise_text
from emofuse.progress import Progress
from emofuse.protocols.audit import audit
from emofuse.protocols.build import make_folds
from emofuse.protocols.contract import Fold
from emofuse.storage import sha256_text
from emofuse.training.adaptation.options import AdaptOptions

__all__ = ["Corpus", "Material", "crop", "drop_words", "gather_material"]


@dataclass(frozen=True)
class Material:
    """Utterances of one part.

    Attributes:
        works: what each consists of.
        keys: content of each; equal keys are copies.
        labels: ``(utterances,)`` long, or None where no labels are shown.
    """

    works: tuple[Work, ...]
    keys: tuple[str, ...]
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.works)


@dataclass(frozen=True)
class Corpus:
    """All that an adaptation rests on.

    Attributes:
        manifest: for the paths.
        train, dev: what to learn from, and what to stop by (may be empty).
        fold: ids as the protocol gave them.
        corpora: names of the corpora seen.
        classes: of the scheme, or empty.
        quarantined: id -> why it is left out.
        absent: how many lack the modality.
    """

    manifest: Manifest
    train: Material
    dev: Material
    fold: Fold | None
    corpora: tuple[str, ...]
    classes: tuple[str, ...]
    quarantined: Mapping[str, str]
    absent: int

    def wave(self, work: Work, rate: int) -> FloatArray:
        """Read the recording of an utterance, ``(samples,)`` at ``rate`` hertz.

        Raises:
            MediaError: it cannot be read.
        """
        return read_audio(self.manifest.path(work.source), rate, work.start, work.end)

    @property
    def note(self) -> dict[str, object]:
        """Ids and their hash, in JSON."""
        train, dev = ([work.id for work in part.works] for part in (self.train, self.dev))
        return {"sha256": sha256_text("\n".join([*train, "", *dev])), "train": train, "dev": dev}


def gather_material(
    manifest: Manifest,
    options: AdaptOptions,
    progress: Progress,
    fold: Fold | None = None,
    scheme: LabelScheme | None = None,
) -> Corpus:
    """Choose the train and dev utterances of a fold, and look at their media.

    Args:
        manifest: unlabelled by any scheme.
        options: which fold, which modality, whether labels count.
        progress: told of what is looked at.
        fold: taken as it is, in the place of the one that the options name.
        scheme: the label scheme, in the place of the one that the options name.

    Raises:
        ProtocolError: no such fold, no utterance with split train, or a fold that leaks.
        TrainingError: fewer than two utterances can be used.
        LabelError: a label outside the scheme.
    """
    if options.scheme is None:
        scheme = None
    elif scheme is None:
        scheme = get_scheme(options.scheme)
    listed = manifest if scheme is None else manifest.label(scheme)
    if fold is None and options.protocol is not None:
        fold = _fold(listed, options, progress)
    parts = _own_split(listed) if fold is None else {"train": fold.train, "dev": fold.dev}
    if options.objective == "supervised":
        parts = {
            part: tuple(name for name in ids if listed[name].emotion is not None)
            for part, ids in parts.items()
        }
    used = listed.select([*parts["train"], *parts["dev"]])
    found: dict[str, Work] = {}
    quarantined: dict[str, str] = {}
    absent = 0
    for plan in make_plans(used, options.modality, progress):
        found |= {work.id: work for work in plan.works}
        quarantined |= plan.quarantined
        absent += plan.absent
    classes = () if scheme is None or options.objective == "contrastive" else scheme.classes
    train, dev = (_material(listed, parts[part], found, classes) for part in ("train", "dev"))
    if len(train) < 2:
        why = f" (first: {next(iter(quarantined.values()))})" if quarantined else ""
        raise TrainingError(
            f"{len(train)} of {len(parts['train'])} training utterances have {options.modality} "
            f"that can be used{why}; adaptation needs two and more"
        )
    corpora = sorted({u.corpus for u in used if u.corpus})
    return Corpus(manifest, train, dev, fold, tuple(corpora), tuple(classes), quarantined, absent)


def _fold(manifest: Manifest, options: AdaptOptions, progress: Progress) -> Fold:
    protocol, folds = make_folds(manifest, options.protocol or {})
    names = [fold.name for fold in folds]
    if options.fold is None and len(folds) > 1:
        raise ProtocolError(
            f"{protocol.options.name} makes {len(folds)} folds: name one with --fold "
            f"({', '.join(names[:12])})"
        )
    chosen = [fold for fold in folds if options.fold in (None, fold.name)]
    if not chosen:
        raise ProtocolError(
            f"{protocol.options.name} has no fold {shorten(options.fold)}; it has "
            f"{', '.join(names[:12])}"
        )
    audit(manifest, protocol, chosen, progress=progress).enforce()
    return chosen[0]


def _own_split(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    parts = {part: tuple(u.id for u in manifest if u.split == part) for part in ("train", "dev")}
    if not parts["train"]:
        raise ProtocolError(
            "no utterance of the manifest has split train: name a protocol and a fold, so that "
            "the test part stays unseen (--protocol leave-one-session-out --fold NAME)"
        )
    return parts


def _material(
    manifest: Manifest, ids: Sequence[str], found: Mapping[str, Work], classes: Sequence[str]
) -> Material:
    kept = [found[name] for name in ids if name in found]
    utterances: list[Utterance] = [manifest[work.id] for work in kept]
    keys = tuple(
        work.content if u.audio == work.source else normalise_text(work.source) or work.source
        for work, u in zip(kept, utterances, strict=True)
    )
    labels = None
    if classes:
        labels = torch.tensor([classes.index(str(u.emotion)) for u in utterances])
    return Material(tuple(kept), keys, labels)


def crop(wave: FloatArray, samples: int, generator: torch.Generator) -> FloatArray:
    """Draw a stretch of at most ``samples`` of a recording; a shorter one is given whole."""
    spare = len(wave) - samples
    if spare <= 0:
        return wave
    start = int(torch.randint(spare + 1, (), generator=generator))
    return np.ascontiguousarray(wave[start : start + samples])


def drop_words(text: str, rate: float, generator: torch.Generator) -> str:
    """Drop each word with probability ``rate``; where all would go, one drawn word stays.

    >>> drop_words("one two three", 0.0, torch.Generator())
    'one two three'
    """
    words = text.split()
    if len(words) < 2:
        return text
    draws = torch.rand(len(words), generator=generator)
    kept = [word for word, draw in zip(words, draws.tolist(), strict=True) if draw >= rate]
    return " ".join(kept) if kept else words[int(draws.argmax())]
