"""What well-known encoders were trained on: a ledger of published facts.

Corpora go by the names of the readers (``iemocap``, ``cremad`` ...), so that a score on a corpus
that an encoder saw with emotion labels can be marked. What is not listed here is unknown, which
`Provenance.known` says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from emofuse.encoders.contract import Provenance

__all__ = ["LEDGER", "look_up"]

APACHE, MIT, BY_SA = "Apache-2.0", "MIT", "CC BY-SA 3.0"
NONE_STATED = "none stated"
LIBRISPEECH, LIBRI_LIGHT = "librispeech", "libri-light"
_EMOBOX = ("casia", "cremad", "emodb", "esd", "iemocap", "meld", "ravdess", "savee", "tess")
_EMOTION2VEC = ("cmu-mosei", "iemocap", "mead", "meld", "msp-podcast")


def _entry(
    licence: str, source: str, *pretrained: str, labelled: tuple[str, ...] = ()
) -> Provenance:
    return Provenance(licence, pretrained, labelled, known=True, source=source)


LEDGER: Mapping[str, Provenance] = {
    r"wav2vec2-(base|large)(-960h)?": _entry(APACHE, "arXiv:2006.11477", LIBRISPEECH),
    r"wav2vec2-large-robust": _entry(
        APACHE, "arXiv:2104.01027", LIBRI_LIGHT, "common-voice", "switchboard", "fisher"
    ),
    r"wav2vec2-xls-r-(300m|1b|2b)": _entry(
        APACHE, "arXiv:2111.09296", "voxpopuli", "mls", "common-voice", "babel", "voxlingua107"
    ),
    r"hubert-base-ls960": _entry(APACHE, "arXiv:2106.07447", LIBRISPEECH),
    r"hubert-x?large-ll60k": _entry(APACHE, "arXiv:2106.07447", LIBRI_LIGHT),
    r"wavlm-base": _entry(BY_SA, "arXiv:2110.13900", LIBRISPEECH),
    r"wavlm-(base-plus|large)": _entry(
        BY_SA, "arXiv:2110.13900", LIBRI_LIGHT, "gigaspeech", "voxpopuli"
    ),
    r"data2vec-audio-base(-960h)?": _entry(APACHE, "arXiv:2202.03555", LIBRISPEECH),
    r"whisper-(tiny|base|small|medium|large)(\.en|-v[23]|-v3-turbo)?": _entry(
        MIT, "arXiv:2212.04356", "transcribed web audio (not published)"
    ),
    r"emotion2vec_base": _entry(NONE_STATED, "arXiv:2312.15185", *_EMOTION2VEC),
    r"emotion2vec_plus_(seed|base|large)": _entry(
        NONE_STATED,
        "github.com/ddlBoJack/emotion2vec (seed is fine-tuned on EmoBox; the others start from it)",
        *_EMOTION2VEC,
        labelled=_EMOBOX,
    ),
    r"(wav2vec2|hubert)-(base|large)-superb-er": _entry(
        APACHE, "arXiv:2105.01051", LIBRISPEECH, LIBRI_LIGHT, labelled=("iemocap",)
    ),
    r"emotion-recognition-wav2vec2-iemocap": _entry(
        APACHE, "arXiv:2106.04624", LIBRISPEECH, labelled=("iemocap",)
    ),
    r"wav2vec2-large-robust-12-ft-emotion-msp-dim": _entry(
        "CC BY-NC-SA 4.0",
        "arXiv:2203.07378",
        *(LIBRI_LIGHT, "common-voice", "switchboard", "fisher"),
        labelled=("msp-podcast",),
    ),
    r"bert-(base|large)-(un)?cased": _entry(
        APACHE, "arXiv:1810.04805", "bookcorpus", "english-wikipedia"
    ),
    r"distilbert-base-(un)?cased": _entry(
        APACHE, "arXiv:1910.01108", "bookcorpus", "english-wikipedia"
    ),
    r"roberta-(base|large)": _entry(
        MIT,
        "arXiv:1907.11692",
        *("bookcorpus", "english-wikipedia", "cc-news", "openwebtext", "stories"),
    ),
    r"all-minilm-l(6|12)-v2": _entry(
        APACHE, "its model card on the hub", "a billion sentence pairs (its model card lists them)"
    ),
    r"emotion-english-distilroberta-base": _entry(
        NONE_STATED,
        "its model card on the hub",
        "openwebtext",
        labelled=("goemotions", "isear", "meld"),
    ),
}
"""Pattern of a model's own name (the hub's organisation left out) -> what is published about it."""


def look_up(name: str) -> Provenance:
    """Give what is known about an encoder; `Provenance.known` is False where nothing is.

    Args:
        name: hub name, or the name of a local folder.

    >>> look_up("facebook/hubert-base-ls960").pretrained_on
    ('librispeech',)
    >>> look_up("somebody/something").known
    False
    """
    own = name.rpartition("/")[2]
    for pattern, entry in LEDGER.items():
        if re.fullmatch(pattern, own, re.IGNORECASE):
            return entry
    return Provenance()
