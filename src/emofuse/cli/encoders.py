"""Where the encoders of a bundle lie now: an option of several verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emofuse.errors import OptionError

if TYPE_CHECKING:
    from emofuse.manifest import Modality

__all__ = ["encoder_places"]


def encoder_places(pairs: list[str]) -> dict[Modality, str]:
    """Read ``MODALITY=PATH`` pairs.

    Raises:
        OptionError: one of another form.
    """
    found: dict[Modality, str] = {}
    names: dict[str, Modality] = {"audio": "audio", "text": "text", "video": "video"}
    for pair in pairs:
        modality, _, path = pair.partition("=")
        if modality not in names or not path:
            raise OptionError(f"--encoder {pair!r} is not audio=PATH, text=PATH or video=PATH")
        found[names[modality]] = path
    return found
