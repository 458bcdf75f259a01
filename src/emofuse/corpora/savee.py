"""SAVEE: four British men, seven emotions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar

from emofuse.corpora.contract import Corpus, NoOptions, Place
from emofuse.corpora.files import Tree
from emofuse.corpora.findings import Findings
from emofuse.manifest import Utterance

__all__ = ["CORPUS", "Savee"]

NAME = re.compile(r"(?:(DC|JE|JK|KL)_)?(sa|su|a|d|f|h|n)(\d\d)")
SPEAKERS = ("DC", "JE", "JK", "KL")


class Savee(Corpus[NoOptions]):
    """Reads ``ALL/DC_a01.wav`` and ``AudioData/DC/a01.wav``.

    Ten of the fifteen sentences of an emotion are spoken in that emotion alone, so text gives the
    label away; the reader ships no transcripts.
    """

    name = "savee"
    about = "SAVEE: British English, 4 men, 7 acted emotions (480)"
    licence = "free for research, on registration; cite Haq and Jackson, Multimodal emotion, 2010"
    languages = ("en",)
    scheme = "ekman7"
    labels: ClassVar[Mapping[str, str]] = {
        "a": "anger",
        "d": "disgust",
        "f": "fear",
        "h": "happiness",
        "n": "neutral",
        "sa": "sadness",
        "su": "surprise",
    }
    expected: ClassVar[Mapping[str, int]] = {
        "a": 60,
        "d": 60,
        "f": 60,
        "h": 60,
        "n": 120,
        "sa": 60,
        "su": 60,
    }
    speakers = tuple(f"savee-{code}" for code in SPEAKERS)
    layout = "files named like ALL/DC_a01.wav or AudioData/DC/a01.wav"
    options_type = NoOptions

    def read(
        self, place: Place, options: NoOptions, findings: Findings
    ) -> Iterator[Utterance | None]:
        """Give an utterance a file; the speaker is in the name, else in the folder's name."""
        for path in Tree(place.root, findings).having():
            match = NAME.fullmatch(path.stem)
            speaker = match and (match[1] or next((p for p in path.parts if p in SPEAKERS), None))
            if match is None or speaker is None:
                findings.add("unknown-name", "not named like DC_a01 or DC/a01", str(path))
                continue
            code, number = match[2], match[3]
            yield findings.utterance(
                str(path),
                id=f"{speaker}_{code}{number}",
                corpus=self.name,
                audio=path.as_posix(),
                emotion=findings.word(code, self.labels),
                speaker=f"savee-{speaker}",
                gender="male",
                language="en",
                extra={"native_emotion": code, "sentence": f"{code}{number}"},
            )


CORPUS = Savee()
