"""What every protocol gives: folds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from emofuse.errors import ProtocolError
from emofuse.manifest import Manifest
from emofuse.options import Options

__all__ = ["Aspect", "Fold", "Protocol", "ProtocolOptions"]

Aspect = Literal["speaker", "session", "dialogue", "text", "audio"]
"""What two parts of a fold may share."""


@dataclass(frozen=True)
class Fold:
    """Ids to learn from, to choose by, and to be judged on.

    Attributes:
        name: unique in its protocol (``"session 1"``).
        train, dev, test: utterance ids, disjoint; ``dev`` is cut from train by group.
        dev_by: what dev was cut by (``"speaker"`` ... ``"none"``), ``"given"`` where the corpus or
            a list names it, ``"paper"`` where a published split does, empty where there is no dev.
    """

    name: str
    train: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...]
    dev_by: str = ""

    def __post_init__(self) -> None:
        everything = (*self.train, *self.dev, *self.test)
        if len(set(everything)) < len(everything):
            raise ProtocolError(f"fold {self.name!r}: an utterance is in two of train, dev, test")
        for part in ("train", "test"):
            if not getattr(self, part):
                raise ProtocolError(f"fold {self.name!r} has an empty {part} part")


class ProtocolOptions(Options):
    """Options that every protocol has.

    Attributes:
        name: name of the protocol.
        dev: share of the training part that becomes dev, cut by group.
        dev_by: the group that never straddles train and dev; ``auto`` = speaker where known, else
            session, dialogue, none.
        seed: of every draw.
        allow: overlaps between train+dev and test that the user declares as known; each is stamped
            on every result. An overlap neither allowed here nor by the protocol stops the run.
    """

    name: str
    dev: float = Field(default=0.15, ge=0.0, lt=1.0)
    dev_by: Literal["auto", "speaker", "session", "dialogue", "text", "none"] = "auto"
    seed: int = Field(default=0, ge=0)
    allow: tuple[Aspect, ...] = ()


class Protocol(ABC):
    """Turns a labelled manifest into folds.

    Attributes:
        options_type: the options of the protocol's recipe entry.
        allows: overlaps that this protocol declares by its nature.
        published_on_test: whether the published system chose its epoch on the part that it
            reports; emofuse does not, and the audit says so beside the published figure.
    """

    options_type: ClassVar[type[ProtocolOptions]] = ProtocolOptions
    allows: ClassVar[frozenset[Aspect]] = frozenset()
    published_on_test: ClassVar[bool] = False

    def __init__(self, options: ProtocolOptions) -> None:
        self.options = options

    @property
    def declared(self) -> frozenset[Aspect]:
        """Overlaps between train+dev and test that do not stop a run: by nature, or by the user."""
        return self.allows | frozenset(self.options.allow)

    @abstractmethod
    def folds(self, manifest: Manifest) -> Sequence[Fold]:
        """Cut the manifest.

        Raises:
            ProtocolError: the manifest lacks what the protocol cuts by.
        """
