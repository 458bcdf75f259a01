"""How large the features of a recipe are, found without reading weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emofuse.encoders import ENCODERS
from emofuse.encoders.build import IMPORTED, load_encoder
from emofuse.encoders.contract import EncoderSpec
from emofuse.encoders.pooling import pooled_dim
from emofuse.errors import OptionError, shorten
from emofuse.manifest import Modality
from emofuse.probes.drawn import LENGTHS

__all__ = ["Found", "find_size", "parse_numbers"]

BASE, LARGE = 768, 1024
_WIDTH_KEYS = ("d_model", "hidden_size", "projection_dim")


@dataclass(frozen=True)
class Found:
    """The size of one modality.

    Attributes:
        dim: feature size.
        length: frames of the longest utterance; 1 = pooled.
        assumed: whether the size is a guess, for want of the encoder's configuration.
    """

    dim: int
    length: int
    assumed: bool = False


def find_size(modality: Modality, spec: EncoderSpec) -> Found:
    """Find out what an encoder gives; one that is not on this machine is guessed by its name.

    Args:
        modality: of the encoder.
        spec: as in the recipe.

    Raises:
        OptionError: an option that the encoder does not have.
        MissingExtraError: the encoder needs an extra that is not installed.
    """
    length = LENGTHS[modality] if spec.granularity == "frames" else 1
    if spec.name in ENCODERS:
        return Found(load_encoder(modality, spec).dim, length)
    if spec.name.startswith(IMPORTED):
        return Found(BASE, length, assumed=True)
    width = _configured_width(spec)
    assumed = width is None
    if width is None:
        width = LARGE if "large" in spec.name.lower() else BASE
    return Found(width if length > 1 else pooled_dim(spec.pooling, width), length, assumed)


def _configured_width(spec: EncoderSpec) -> int | None:
    """Read the width from the configuration of a local folder, or of the hub's cache."""
    path = Path(spec.name).expanduser() / "config.json"
    if not path.is_file():
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            cached = try_to_load_from_cache(spec.name, "config.json", revision=spec.revision)
        except HFValidationError:
            return None
        if not isinstance(cached, str):
            return None
        path = Path(cached)
    try:
        config: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    widths = [config[key] for key in _WIDTH_KEYS if isinstance(config, dict) and key in config]
    return int(widths[0]) if widths and isinstance(widths[0], int) else None


def parse_numbers(text: str, option: str) -> dict[str, int]:
    """Read ``audio=768,text=768``.

    >>> parse_numbers("audio=50,text=12", "--lengths")
    {'audio': 50, 'text': 12}

    Raises:
        OptionError: not of this form, or not above 0.
    """
    found: dict[str, int] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, size = part.partition("=")
        if name not in LENGTHS or not size.isdecimal() or not 0 < int(size) <= 1 << 20:
            legal = ", ".join(LENGTHS)
            raise OptionError(
                f"{option} {shorten(text)}: {part!r} is not MODALITY=NUMBER (of {legal}; above 0)"
            )
        found[name] = int(size)
    return found
