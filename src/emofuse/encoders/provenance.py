"""What well-known encoders were trained on: a ledger of published facts."""

from __future__ import annotations

import re
from collections.abc import Mapping

from emofuse.encoders.contract import Provenance

__all__ = ["LEDGER", "look_up"]


def _entry(
    licence: str, source: str, pretrained: str, labelled: tuple[str, ...] = ()
) -> Provenance:
    corpora = tuple(part.strip() for part in pretrained.split(";"))
    return Provenance(licence, corpora, labelled, known=True, source=source)


_EMOBOX = (
    "aesdd", "ased", "asvp-esd", "cafe", "casia", "crema-d", "emns", "emodb", "emov-db", "emovo",
    "emozionalmente", "enterface", "esd", "iemocap", "jl-corpus", "m3ed", "mead", "meld", "mer2023",
    "mesd", "msp-podcast", "oreau", "pavoque", "polish", "ravdess", "resd", "savee", "shemo",
    "subesco", "tess", "turev-db", "urdu",
)  # fmt: skip

LEDGER: Mapping[str, Provenance] = {
    r"(facebook/)?wav2vec2-(base|large)(-960h)?": _entry(
        "Apache-2.0", "Baevski et al. 2020, arXiv:2006.11477", "LibriSpeech 960 h"
    ),
}
"""Pattern of a hub name, or of a folder's own name -> what is published about it."""


def look_up(name: str) -> Provenance:
    """Give what is known about an encoder; `Provenance.known` is False where nothing is.

    Args:
        name: hub name, or the name of a local folder.
    """
    for pattern, entry in LEDGER.items():
        if re.fullmatch(pattern, name, re.IGNORECASE):
            return entry
    return Provenance()
