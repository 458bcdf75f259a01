"""TESS: two Canadian women, 200 words in one carrier sentence, seven emotions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar

from emofuse.corpora.contract import Corpus, NoOptions, Place
from emofuse.corpora.files import Tree
from emofuse.corpora.findings import Findings
from emofuse.manifest import Utterance

__all__ = ["CORPUS", "Tess"]

NAME = re.compile(r"(OAF|OA|YAF)_([a-z]+)_([a-z]+)", re.IGNORECASE)
AGES = {"OAF": 64, "YAF": 26}


class Tess(Corpus[NoOptions]):
    """Reads ``OAF_angry/OAF_back_angry.wav``; one published name lacks a letter (``OA_bite_…``)."""

    name = "tess"
    about = "TESS: Canadian English, 2 women, 7 acted emotions, 200 words in one sentence (2,800)"
    licence = "CC BY-NC-ND 4.0; cite Pichora-Fuller and Dupuis, TESS, 2020"
    languages = ("en",)
    scheme = "ekman7"
    scripted = True
    labels: ClassVar[Mapping[str, str]] = {
        "angry": "anger",
        "disgust": "disgust",
        "fear": "fear",
        "happy": "happiness",
        "neutral": "neutral",
        "ps": "surprise",
        "sad": "sadness",
    }
    expected: ClassVar[Mapping[str, int]] = dict.fromkeys(
        ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad"), 400
    )
    speakers = ("tess-OAF", "tess-YAF")
    layout = "files named like OAF_angry/OAF_back_angry.wav"
    options_type = NoOptions

    def read(
        self, place: Place, options: NoOptions, findings: Findings
    ) -> Iterator[Utterance | None]:
        """Give an utterance a file; ``ps`` is pleasant surprise."""
        for path in Tree(place.root, findings).having():
            match = NAME.fullmatch(path.stem)
            if match is None:
                findings.add("unknown-name", "not named like OAF_back_angry", str(path))
                continue
            speaker, word, code = match[1].upper(), match[2].lower(), match[3].lower()
            if speaker == "OA":
                findings.add("note", "speaker OA read as OAF", str(path), serious=False)
                speaker = "OAF"
            yield findings.utterance(
                str(path),
                id=f"{speaker}_{word}_{code}",
                corpus=self.name,
                audio=path.as_posix(),
                text=f"Say the word {word}.",
                emotion=findings.word(code, self.labels),
                speaker=f"tess-{speaker}",
                gender="female",
                language="en",
                extra={"native_emotion": code, "sentence": word, "age": AGES[speaker]},
            )


CORPUS = Tess()
