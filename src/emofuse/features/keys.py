"""What a stored feature is filed under: its content and everything that shaped it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emofuse.encoders.contract import Encoder, EncoderSpec

__all__ = ["FeatureKey", "FeatureSpace", "encoder_space"]

FORMAT = 1


@dataclass(frozen=True)
class FeatureSpace:
    """All features made in one way: an encoder, its revision and its options.

    Attributes:
        text: canonical JSON of what shaped the features (see `of`).
    """

    text: str

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> FeatureSpace:
        """Name a space by a JSON-able description; equal descriptions are one space."""
        return cls(json.dumps(dict(description), sort_keys=True, separators=(",", ":")))

    @property
    def description(self) -> dict[str, Any]:
        """What shaped the features."""
        return dict(json.loads(self.text))

    @property
    def folder(self) -> str:
        """Name of the folder that holds the space: readable, then a hash.

        >>> FeatureSpace.of({"encoder": "logmel", "modality": "audio"}).folder
        'audio-logmel-3f7e91f9cb84'
        """
        about = self.description
        label = f"{about.get('modality', '')}-{about.get('encoder', '')}"
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", label)[:60].strip("-.")
        return f"{slug}-{hashlib.sha256(self.text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class FeatureKey:
    """One feature array.

    Attributes:
        space: how it was made.
        content: what it was made of: hash of the audio bytes and slice, or of the text.
    """

    space: FeatureSpace
    content: str

    @property
    def digest(self) -> bytes:
        """32 bytes that stand for the content within its space."""
        return hashlib.sha256(self.content.encode("utf-8", "surrogatepass")).digest()


LATER = ("trim", "level", "stride", "strip_events", "crop", "every", "fps", "max_frames")
"""Options that came after the first stores: they are named only where they are not the default."""


def _default(key: str) -> object:
    return EncoderSpec.model_fields[key].default


def encoder_space(encoder: Encoder) -> FeatureSpace:
    """Give the space that an encoder's features belong to.

    A local folder goes by its own name and its fingerprint, not by where it lies.
    """
    spec = encoder.spec
    return FeatureSpace.of(
        {
            "format": FORMAT,
            "modality": encoder.modality,
            "encoder": spec.name if "/" not in spec.name else Path(spec.name).name,
            "revision": encoder.revision,
            "layer": spec.layer,
            "granularity": spec.granularity,
            "pooling": spec.pooling if spec.granularity == "pooled" else None,
            "precision": encoder.precision,
            "dim": encoder.dim,
            **{key: getattr(spec, key) for key in LATER if getattr(spec, key) != _default(key)},
        }
    )
