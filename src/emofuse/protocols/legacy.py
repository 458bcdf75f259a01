"""The splits of the published systems, leaks included: to compare with, not to report by.

Each follows what the released code or lists do, as far as it can be known. Where the original
walks a folder in the order of the file system, ids are sorted here, so that the split is the same
on every machine. None is the very list of the paper unless its page says so.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from emofuse.errors import MediaError, ProtocolError
from emofuse.manifest import Manifest, Utterance
from emofuse.protocols.contract import Aspect, Fold, Protocol, ProtocolOptions
from emofuse.protocols.dev import make_fold
from emofuse.protocols.group_out import LeaveOneSessionOut
from emofuse.protocols.groups import group_utterances
from emofuse.protocols.official import official_fold
from emofuse.protocols.stratified import ANYTHING

__all__ = [
    "Legacy4MSER",
    "LegacyCopenhagen",
    "LegacyFleSER",
    "LegacyFoalNet",
    "LegacyVGAFusion",
]

MELD_BROKEN = {("train", "dia125_utt3"), ("dev", "dia110_utt7")}
"""Clips whose media are known to be broken, left out by FleSER."""

BASIC4 = ("anger", "happiness", "neutral", "sadness")


class FleSEROptions(ProtocolOptions):
    """Options of `LegacyFleSER`.

    Attributes:
        corpus: which of the paper's splits; ``auto`` goes by the manifest.
        min_seconds: shorter IEMOCAP utterances stay out (one VGGish window, which the published
            lists inherit); an utterance whose length cannot be told stays in.
    """

    corpus: Literal["auto", "iemocap", "esd", "meld"] = "auto"
    min_seconds: float = Field(default=0.975, ge=0.0)


class LegacyFleSER(Protocol):
    """FleSER: random 80/10/10 by utterance (ESD by class), MELD official less two clips."""

    options_type: ClassVar[type[ProtocolOptions]] = FleSEROptions
    allows: ClassVar[frozenset[Aspect]] = ANYTHING

    def __init__(self, options: FleSEROptions) -> None:
        super().__init__(options)
        self._corpus, self._min_seconds = options.corpus, options.min_seconds

    def folds(self, manifest: Manifest) -> Sequence[Fold]:
        """Make the one fold; the paper's seed is unknown, ``seed`` stands in for it.

        Raises:
            ProtocolError: too few utterances, or MELD without its split.
        """
        corpus = _corpus(manifest, self._corpus)
        if corpus == "meld":
            return [official_fold(self, manifest.filter(lambda u: not _is_broken(u)))]
        kept = sorted(manifest, key=lambda u: u.id)
        if corpus == "iemocap":
            kept = [u for u in kept if _seconds(manifest, u) >= self._min_seconds]
        by_class = corpus == "esd"
        train, held = _split(kept, 0.2, self.options.seed, by_class)
        dev, test = _split(held, 0.5, self.options.seed, by_class)
        return [_paper_fold("random 80/10/10", train, dev, test)]


class FourMSEROptions(ProtocolOptions):
    """Options of `Legacy4MSER`.

    Attributes:
        test: test share; 0.1 for IEMOCAP and 0.2 for ESD unless told.
    """

    test: float | None = Field(default=None, gt=0.0, lt=1.0)


class Legacy4MSER(Protocol):
    """4M-SER: shuffled by ``Random(0)``, test 10 % (ESD 20 %), dev 10 % of the rest."""

    options_type: ClassVar[type[ProtocolOptions]] = FourMSEROptions
    allows: ClassVar[frozenset[Aspect]] = ANYTHING

    def __init__(self, options: FourMSEROptions) -> None:
        super().__init__(options)
        self._test = options.test

    def folds(self, manifest: Manifest) -> Sequence[Fold]:
        """Make the one fold.

        Raises:
            ProtocolError: too few utterances.
        """
        seed = self.options.seed
        default = 0.2 if _corpus(manifest, "auto") == "esd" else 0.1
        shuffled = sorted(manifest, key=lambda u: u.id)
        random.Random(seed).shuffle(shuffled)  # noqa: S311 (the paper's generator)
        learn, test = _split(shuffled, self._test or default, seed, by_class=False)
        train, dev = _split(learn, 0.1, seed, by_class=False)
        return [_paper_fold("random 80/10/10", train, dev, test)]


class VGAFusionOptions(ProtocolOptions):
    """Options of `LegacyVGAFusion`.

    Attributes:
        corpus: which of the paper's splits; ``auto`` goes by the manifest.
        seed: of CREMA-D's shuffle; the paper's is 42.
    """

    corpus: Literal["auto", "iemocap", "cremad", "meld"] = "auto"
    seed: int = Field(default=42, ge=0)


class LegacyVGAFusion(Protocol):
    """VGA-Fusion: IEMOCAP sessions 1-3/4/5, CREMA-D random 80/10/10, MELD official."""

    options_type: ClassVar[type[ProtocolOptions]] = VGAFusionOptions
    allows: ClassVar[frozenset[Aspect]] = ANYTHING

    def __init__(self, options: VGAFusionOptions) -> None:
        super().__init__(options)
        self._corpus = options.corpus

    def folds(self, manifest: Manifest) -> Sequence[Fold]:
        """Make the one fold.

        Raises:
            ProtocolError: IEMOCAP without its five sessions, MELD without its split.
        """
        corpus = _corpus(manifest, self._corpus)
        if corpus == "meld":
            return [official_fold(self, manifest)]
        if corpus == "iemocap":
            return [_by_session(manifest, self.options.name)]
        return [_cremad(manifest, self.options.seed)]


class LegacyCopenhagen(Protocol):
    """Copenhagen: one random 80/20 split by utterance; its validation part is what it reports."""

    allows: ClassVar[frozenset[Aspect]] = ANYTHING
    published_on_test: ClassVar[bool] = True

    def folds(self, manifest: Manifest) -> Sequence[Fold]:
        """Make the one fold; dev is cut from the 80 %, which the paper does not do.

        Raises:
            ProtocolError: too few utterances.
        """
        ordered = sorted(manifest, key=lambda u: u.id)
        _enough(ordered, 5)
        order = np.random.default_rng(self.options.seed).permutation(len(ordered))
        held = {ordered[int(place)].id for place in order[: int(len(ordered) * 0.2)]}
        return [
            make_fold(
                "random 80/20",
                (u for u in ordered if u.id not in held),
                (u for u in ordered if u.id in held),
                self.options,
            )
        ]


class LegacyFoalNet(LeaveOneSessionOut):
    """Foal-Net: leave one session out; the paper's best epoch was chosen on the session held out.

    That choice cannot be made here: dev is cut from the other sessions, by speaker.
    """

    published_on_test: ClassVar[bool] = True


def _corpus(manifest: Manifest, wanted: str) -> str:
    names = {(u.corpus or "").lower() for u in manifest}
    return wanted if wanted != "auto" else names.pop() if len(names) == 1 else ""


def _is_broken(utterance: Utterance) -> bool:
    found = re.search(r"dia\d+_utt\d+", f"{utterance.audio or utterance.video} {utterance.id}")
    return found is not None and (utterance.split, found[0]) in MELD_BROKEN


def _seconds(manifest: Manifest, utterance: Utterance) -> float:
    """Length of an utterance; endless where it cannot be told."""
    if utterance.end is not None:
        return utterance.end - (utterance.start or 0.0)
    if utterance.audio is None:
        return float("inf")
    from emofuse.media.audio import probe

    try:
        return probe(manifest.path(utterance.audio)).seconds - (utterance.start or 0.0)
    except MediaError:
        return float("inf")


def _enough(utterances: Sequence[Utterance], least: int) -> None:
    if len(utterances) < least:
        raise ProtocolError(f"{len(utterances)} utterances are too few for this split")


def _split(
    utterances: Sequence[Utterance], share: float, seed: int, by_class: bool
) -> tuple[list[Utterance], list[Utterance]]:
    from sklearn.model_selection import train_test_split

    _enough(utterances, 10)
    labels = [u.emotion for u in utterances] if by_class else None
    try:
        rest, held = train_test_split(
            list(utterances), test_size=share, random_state=seed, stratify=labels
        )
    except ValueError as error:
        raise ProtocolError(f"cannot split {len(utterances)} utterances: {error}") from error
    return rest, held


def _paper_fold(
    name: str, train: Iterable[Utterance], dev: Iterable[Utterance], test: Iterable[Utterance]
) -> Fold:
    ids = [tuple(sorted(u.id for u in part)) for part in (train, dev, test)]
    return Fold(name, ids[0], ids[1], ids[2], "paper")


def _by_session(manifest: Manifest, name: str) -> Fold:
    groups = list(group_utterances(manifest, "session", name).values())
    if len(groups) != 5:
        raise ProtocolError(
            f"{name}: IEMOCAP has 5 sessions, the manifest {len(groups)}; prepare the whole corpus "
            "or take leave-one-session-out"
        )
    train = [u for group in groups[:3] for u in group]
    return _paper_fold("sessions 1-3 / 4 / 5", train, groups[3], groups[4])


def _cremad(manifest: Manifest, seed: int) -> Fold:
    """Cut as the paper's script does: the rows of four classes are shuffled before the rest are."""
    ordered = sorted(manifest, key=lambda u: u.id)
    _enough(ordered, 10)
    generator = random.Random(seed)  # noqa: S311 (the paper's generator)
    basic = [u for u in ordered if u.emotion in BASIC4]
    if len(basic) < len(ordered):
        generator.shuffle(basic)
    generator.shuffle(ordered)
    first, second = int(len(ordered) * 0.8), int(len(ordered) * 0.9)
    return _paper_fold("random 80/10/10", ordered[:first], ordered[first:second], ordered[second:])
