"""What adaptation needs to know of a model: where the voices lie that it learned from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from emofuse.errors import OptionError
from emofuse.models.bundle_config import BundleConfig
from emofuse.models.voices_note import unpack
from emofuse.recognition.answer import Moods

__all__ = ["Reference", "check_moods", "hearing", "read_reference"]

NAMELESS = ("name", "revision", "precision")
"""Parts of an encoder's description that say where it lies, not what it hears."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Where the voices of training lie.

    Attributes:
        mean: ``(dim,)`` float64.
        moods: ``(classes, dim)``, how far each class lies from its speakers' means.
        half: utterances that move a voice half of the way.
        hearing: fingerprint of the encoder, see `hearing`.
    """

    mean: NDArray[np.float64]
    moods: NDArray[np.float64]
    half: float
    hearing: str


def read_reference(config: BundleConfig) -> Reference:
    """Read what a bundle says of the voices of its training.

    Raises:
        OptionError: the model cannot be adapted to a speaker: it does not hear, it reads frames,
            or the bundle says nothing of its voices.
    """
    if "audio" not in config.dims:
        raise OptionError("the model does not hear: there is no voice to adapt to; leave --adapt")
    spec = config.encoders["audio"].get("spec") or {}
    if spec.get("granularity", "pooled") != "pooled":
        raise OptionError(
            f"model {config.model.name!r} reads sound frame by frame; a voice is adapted to where "
            "it is one vector an utterance: leave --adapt out, or train on pooled audio features"
        )
    note = config.voices
    if note is None and "learnt" in config.encoders["audio"]:
        raise OptionError(
            "the model's audio encoder learned along with it, and where the voices of training lie "
            "behind it is not kept: leave --adapt out, or train on the encoder's fixed features"
        )
    if note is None:
        raise OptionError(
            f"the bundle (emofuse {config.emofuse}) does not say where the voices of its training "
            "lie; train it again with this emofuse, or leave --adapt out"
        )
    if note.dim != config.dims["audio"]:
        raise OptionError(
            f"the bundle's voices have size {note.dim}, its audio features {config.dims['audio']}: "
            "it was altered; copy it again"
        )
    if set(note.moods) != set(config.scheme.classes):
        raise OptionError(
            f"the bundle's voices know {', '.join(note.moods)}, its scheme "
            f"{', '.join(config.scheme.classes)}: it was altered; copy it again"
        )
    moods = np.stack([unpack(note.moods[name], note.dim) for name in config.scheme.classes])
    return Reference(unpack(note.mean, note.dim), moods, note.half, hearing(config))


def check_moods(config: BundleConfig, needs: Collection[str], moods: str) -> None:
    """See that a voice can be told with this taken for granted.

    Args:
        config: of the bundle.
        needs: modalities that the model cannot do without.
        moods: see `meter.shift`.

    Raises:
        OptionError: it is not legal, or the model hears no mood in the sound alone.
    """
    if moods not in get_args(Moods):
        raise OptionError(f"moods {moods!r} is not legal; legal: {', '.join(get_args(Moods))}")
    if moods == "any" and set(needs) - {"audio"}:
        raise OptionError(
            f"model {config.model.name!r} hears no mood in the sound alone: say that all moods are "
            "heard in like measure, if they are (moods = mixed, --moods mixed)"
        )


def hearing(config: BundleConfig) -> str:
    """Give the fingerprint of how a model hears: equal where pooled features can be compared.

    The weights of the encoder, layers, pooling, trimming and level are in it; where the encoder
    lies, and whether PyTorch or ONNX computes it, are not.
    """
    about = config.encoders["audio"]
    spec = {key: value for key, value in (about.get("spec") or {}).items() if key not in NAMELESS}
    record = [about.get("revision"), config.dims["audio"], spec]
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
