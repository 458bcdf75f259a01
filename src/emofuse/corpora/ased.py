"""ASED: Amharic, 65 speakers, five emotions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import ClassVar

from emofuse.corpora.contract import Corpus, NoOptions, Place
from emofuse.corpora.files import Tree
from emofuse.corpora.findings import Findings
from emofuse.manifest import Utterance

__all__ = ["CORPUS", "Ased"]

NAME = re.compile(r"([a-z]\d)-(\d\d)-(\d\d)-(0[12])-(\d\d)", re.IGNORECASE)
GENDERS = {"01": "female", "02": "male"}
SHARED_SENTENCES = ("06", "07")


class Ased(Corpus[NoOptions]):
    """Reads ``01Neutral/n1-01-01-01-02.wav``: emotion, sentence, repetition, gender, speaker.

    Sentences 01 to 05 belong to one emotion each, 06 and 07 are spoken in all five: who knows the
    sentence (``extra["sentence"]``) nearly knows the label. The words themselves are not shipped.
    """

    name = "ased"
    about = "ASED: Amharic, 65 speakers, 5 acted emotions (2,474)"
    licence = "free; cite Retta et al., A New Amharic Speech Emotion Dataset, 2022"
    languages = ("am",)
    scheme = "ekman7"
    labels: ClassVar[Mapping[str, str]] = {
        "n1": "neutral",
        "f2": "fear",
        "h3": "happiness",
        "s4": "sadness",
        "a5": "anger",
    }
    expected: ClassVar[Mapping[str, int]] = {"n1": 522, "f2": 510, "h3": 486, "s4": 470, "a5": 486}
    speakers = tuple(f"ased-{number:02d}" for number in range(1, 66))
    layout = "files named like 01Neutral/n1-01-01-01-02.wav"
    options_type = NoOptions

    def read(
        self, place: Place, options: NoOptions, findings: Findings
    ) -> Iterator[Utterance | None]:
        """Give an utterance a file; a speaker's gender is what most of its names say."""
        named = list(self._named(place, findings))
        votes: dict[str, Counter[str]] = {}
        for _, match in named:
            votes.setdefault(match[5], Counter())[match[4]] += 1
        for path, match in named:
            code, sentence, repetition, gender, speaker = match.groups()
            code = code.lower()
            usual = votes[speaker].most_common(1)[0][0]
            if gender != usual:
                message = "gender in the name is not that of the speaker's other files"
                findings.add("conflict", message, str(path), serious=False)
            if path.parent.name[:2].isdigit() and path.parent.name[1] != code[1]:
                findings.add("conflict", "folder and name tell different emotions", str(path))
            yield findings.utterance(
                str(path),
                id=path.stem,
                corpus=self.name,
                audio=path.as_posix(),
                emotion=findings.word(code, self.labels),
                speaker=f"ased-{speaker}",
                gender=GENDERS[usual],
                language="am",
                extra={
                    "native_emotion": code,
                    "sentence": sentence if sentence in SHARED_SENTENCES else f"{code}-{sentence}",
                    "repetition": repetition,
                },
            )

    def _named(
        self, place: Place, findings: Findings
    ) -> Iterator[tuple[PurePosixPath, re.Match[str]]]:
        for path in Tree(place.root, findings).having():
            match = NAME.fullmatch(path.stem)
            if match is None:
                findings.add("unknown-name", "not named like n1-01-01-01-02", str(path))
            else:
                yield path, match


CORPUS = Ased()
