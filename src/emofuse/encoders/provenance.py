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
FUNASR = "model-license (FunASR)"
LIBRISPEECH, LIBRI_LIGHT = "librispeech", "libri-light"
CARD = "its model card on the hub"
CHECKED = "2026-11-27"
CORPORA_ALONE = f"{CHECKED}, licence unverified"
_EMOBOX = (
    *("aesdd", "ased", "asvp-esd", "cafe", "casia", "cremad", "emns", "emodb", "emov-db", "emovo"),
    *("emozionalmente", "enterface", "esd", "iemocap", "jl-corpus", "m3ed", "mead", "meld"),
    *("mer2023", "mesd", "msp-podcast", "oreau", "pavoque", "polish", "ravdess", "resd", "savee"),
    *("shemo", "subesco", "tess", "turev-db", "urdu"),
)
"""The 32 corpora of EmoBox (its README)."""
_BERT = ("bookcorpus", "english-wikipedia")
_ROBERTA = (*_BERT, "cc-news", "openwebtext", "stories")
_EMOTION2VEC = ("cmu-mosei", "iemocap", "mead", "meld", "msp-podcast")


def _entry(
    licence: str,
    source: str,
    *pretrained: str,
    labelled: tuple[str, ...] = (),
    checked: str = CHECKED,
) -> Provenance:
    return Provenance(licence, pretrained, labelled, known=True, source=source, checked=checked)


_SPEECH: Mapping[str, Provenance] = {
    r"wav2vec2-(base|large)(-960h)?": _entry(
        APACHE, "fairseq, examples/wav2vec; arXiv:2006.11477", LIBRISPEECH, checked=CORPORA_ALONE
    ),
    r"wav2vec2-large-lv60": _entry(
        APACHE, "fairseq, examples/wav2vec; arXiv:2006.11477", LIBRI_LIGHT, checked=CORPORA_ALONE
    ),
    r"wav2vec2-large-960h-lv60(-self)?": _entry(
        APACHE, f"{CARD}; fairseq, examples/wav2vec", LIBRI_LIGHT, LIBRISPEECH
    ),
    r"wav2vec2-large-xlsr-53": _entry(
        APACHE,
        "fairseq, examples/wav2vec/xlsr; arXiv:2006.13979",
        *("mls", "common-voice", "babel"),
        checked=CORPORA_ALONE,
    ),
    r"wav2vec2-large-robust": _entry(
        APACHE,
        f"{CARD}; arXiv:2104.01027",
        *(LIBRI_LIGHT, "common-voice", "switchboard", "fisher"),
    ),
    r"wav2vec2-xls-r-(300m|1b|2b)": _entry(
        APACHE,
        f"{CARD}; arXiv:2111.09296",
        *("voxpopuli", "mls", "common-voice", "babel", "voxlingua107"),
    ),
    r"hubert-base-ls960": _entry(
        APACHE, "fairseq, examples/hubert; arXiv:2106.07447", LIBRISPEECH, checked=CORPORA_ALONE
    ),
    r"hubert-x?large-ll60k": _entry(
        APACHE, f"{CARD}; fairseq, examples/hubert; arXiv:2106.07447", LIBRI_LIGHT
    ),
    r"hubert-x?large-ls960-ft": _entry(
        APACHE,
        "fairseq, examples/hubert; arXiv:2106.07447",
        LIBRI_LIGHT,
        LIBRISPEECH,
        checked=CORPORA_ALONE,
    ),
    r"wavlm-base": _entry(BY_SA, f"{CARD}; arXiv:2110.13900", LIBRISPEECH),
    r"wavlm-(base-plus|large)": _entry(
        BY_SA, f"{CARD}; arXiv:2110.13900", LIBRI_LIGHT, "gigaspeech", "voxpopuli"
    ),
    r"data2vec-audio-base(-960h)?": _entry(
        APACHE, "fairseq, examples/data2vec; arXiv:2202.03555", LIBRISPEECH, checked=CORPORA_ALONE
    ),
    r"data2vec-audio-large": _entry(
        APACHE,
        "fairseq, examples/data2vec; arXiv:2202.03555 (the card's tag says LibriSpeech)",
        LIBRI_LIGHT,
    ),
    r"data2vec-audio-large-960h": _entry(
        APACHE, "fairseq, examples/data2vec; arXiv:2202.03555", LIBRI_LIGHT, LIBRISPEECH
    ),
    r"whisper-(tiny|base|small|medium|large)(\.en|-v[23]|-v3-turbo)?": _entry(
        MIT,
        "github.com/openai/whisper (cards of some sizes say Apache-2.0); arXiv:2212.04356",
        "transcribed web audio (not published)",
    ),
    r"spkrec-ecapa-voxceleb": _entry(
        APACHE,
        f"{CARD}; arXiv:2106.04624",
        *("voxceleb1", "voxceleb2 (both with speakers' names)"),
        checked=CORPORA_ALONE,
    ),
    r"vggish": _entry(
        APACHE,
        "tensorflow/models, research/audioset/vggish; arXiv:1609.09430",
        "youtube-8m (a preliminary version)",
        checked=CORPORA_ALONE,
    ),
}
_EMOTIONAL_SPEECH: Mapping[str, Provenance] = {
    r"emotion2vec_base": _entry(FUNASR, f"{CARD}; arXiv:2312.15185 (262 h)", *_EMOTION2VEC),
    r"emotion2vec_plus_seed": _entry(
        FUNASR,
        f"{CARD}: fine-tuned on labels of EmoBox (github.com/emo-box/EmoBox, 32 corpora), 201 h",
        *_EMOTION2VEC,
        labelled=_EMOBOX,
    ),
    r"emotion2vec_plus_(base|large)": _entry(
        FUNASR,
        f"{CARD}: each of seed, base and large learns from speech that its predecessor labelled "
        "(base 4,788 h, large 42,526 h), and seed from labels of EmoBox; which utterances is not "
        "published",
        *_EMOTION2VEC,
        labelled=_EMOBOX,
    ),
    r"(wav2vec2|hubert)-base-superb-er": _entry(
        APACHE, f"{CARD}; arXiv:2105.01051", LIBRISPEECH, labelled=("iemocap",)
    ),
    r"(wav2vec2|hubert)-large-superb-er": _entry(
        APACHE, f"{CARD}; arXiv:2105.01051", LIBRI_LIGHT, labelled=("iemocap",)
    ),
    r"emotion-recognition-wav2vec2-iemocap": _entry(
        APACHE, f"{CARD}; arXiv:2106.04624", LIBRISPEECH, labelled=("iemocap",)
    ),
    r"wav2vec2-lg-xlsr-en-speech-emotion-recognition": _entry(
        APACHE,
        f"{CARD}: from wav2vec2-large-xlsr-53-english",
        *("mls", "common-voice", "babel"),
        labelled=("ravdess",),
    ),
    r"wav2vec2-large-robust-12-ft-emotion-msp-dim": _entry(
        "CC BY-NC-SA 4.0",
        f"{CARD}; arXiv:2203.07378",
        *(LIBRI_LIGHT, "common-voice", "switchboard", "fisher"),
        labelled=("msp-podcast",),
    ),
}
_OTHERS: Mapping[str, Provenance] = {
    r"clip-vit-(base|large)-patch(14|16|32)(-336)?": _entry(
        "MIT (github.com/openai/CLIP; the cards state none)",
        "arXiv:2103.00020",
        "400 million pictures with text (not published)",
    ),
    r"bert-(base|large)-(un)?cased": _entry(
        APACHE, f"{CARD}; arXiv:1810.04805", *_BERT, checked=CORPORA_ALONE
    ),
    r"bert-base-multilingual-(un)?cased": _entry(
        APACHE,
        f"{CARD}; arXiv:1810.04805",
        "wikipedia of about 100 languages",
        checked=CORPORA_ALONE,
    ),
    r"distilbert-base-(un)?cased": _entry(
        APACHE, f"{CARD}; arXiv:1910.01108", *_BERT, checked=CORPORA_ALONE
    ),
    r"data2vec-text-base": _entry(
        MIT, "fairseq, examples/data2vec; arXiv:2202.03555", *_BERT, checked=CORPORA_ALONE
    ),
    r"roberta-(base|large)": _entry(MIT, f"{CARD}; arXiv:1907.11692", *_ROBERTA),
    r"xlm-roberta-(base|large)": _entry(
        MIT, f"{CARD}; arXiv:1911.02116", "cc-100", checked=CORPORA_ALONE
    ),
    r"deberta-v3-(x?small|base|large)": _entry(
        MIT, "arXiv:2111.09543: the same 160 GB as DeBERTa", *_ROBERTA
    ),
    r"all-minilm-l(6|12)-v2": _entry(APACHE, CARD, "a billion sentence pairs (its card lists 21)"),
    r"all-mpnet-base-v2": _entry(APACHE, CARD, "a billion sentence pairs (its card lists them)"),
    r"emotion-english-distilroberta-base": _entry(
        NONE_STATED,
        CARD,
        "openwebtext",
        labelled=("crowdflower", "dair-ai emotion", "goemotions", "isear", "meld", "semeval-2018"),
    ),
    r"roberta-base-go_emotions": _entry(MIT, CARD, *_ROBERTA, labelled=("goemotions",)),
    r"distilbert-base-uncased-emotion": _entry(
        APACHE, f"{CARD} and a fork of it", *_BERT, labelled=("dair-ai emotion",)
    ),
}
LEDGER: Mapping[str, Provenance] = {**_SPEECH, **_EMOTIONAL_SPEECH, **_OTHERS}
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
