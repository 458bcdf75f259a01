"""Berlin EmoDB: ten German sentences, ten actors, seven emotions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar

from emofuse.corpora.contract import Corpus, NoOptions, Place
from emofuse.corpora.files import Tree, read_text
from emofuse.corpora.findings import Findings
from emofuse.manifest import Utterance

__all__ = ["CORPUS", "EmoDB"]

NAME = re.compile(r"(\d\d)([abc]\d\d)([A-Z])([a-z]?)")
SPEAKERS: Mapping[str, tuple[str, int]] = {
    "03": ("male", 31),
    "08": ("female", 34),
    "09": ("female", 21),
    "10": ("male", 32),
    "11": ("male", 26),
    "12": ("male", 30),
    "13": ("female", 32),
    "14": ("female", 35),
    "15": ("male", 25),
    "16": ("female", 31),
}
SENTENCES: Mapping[str, str] = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}


class EmoDB(Corpus[NoOptions]):
    """Reads ``wav/03a01Fa.wav``: speaker, sentence, emotion, version."""

    name = "emodb"
    about = "Berlin EmoDB: German, 10 actors, 7 acted emotions, 10 fixed sentences (535)"
    licence = "free; cite Burkhardt et al., A database of German emotional speech, 2005"
    languages = ("de",)
    scheme = "emodb7"
    scripted = True
    labels: ClassVar[Mapping[str, str]] = {
        "W": "anger",
        "L": "boredom",
        "E": "disgust",
        "A": "fear",
        "F": "happiness",
        "T": "sadness",
        "N": "neutral",
    }
    expected: ClassVar[Mapping[str, int]] = {
        "W": 127,
        "L": 81,
        "E": 46,
        "A": 69,
        "F": 71,
        "T": 62,
        "N": 79,
    }
    speakers = tuple(f"emodb-{code}" for code in SPEAKERS)
    layout = "audio files named like wav/03a01Fa.wav"
    options_type = NoOptions

    def read(
        self, place: Place, options: NoOptions, findings: Findings
    ) -> Iterator[Utterance | None]:
        """Give an utterance a file; listeners' rates come from ``erkennung.txt``."""
        tree = Tree(place.root, findings)
        rates = _rates(tree, findings)
        for path in tree.having():
            match = NAME.fullmatch(path.stem)
            if match is None:
                findings.add("unknown-name", "not named like 03a01Fa", str(path))
                continue
            speaker, sentence, code, version = match.groups()
            emotion = findings.word(code, self.labels)
            if sentence not in SENTENCES:
                findings.add("missing-text", "no sentence of this code is known", str(path))
            if rates and path.stem not in rates:
                findings.add("missing-table", "not in erkennung.txt", str(path), serious=False)
            gender, age = SPEAKERS.get(speaker, (None, None))
            yield findings.utterance(
                str(path),
                id=path.stem,
                corpus=self.name,
                audio=path.as_posix(),
                text=SENTENCES.get(sentence),
                emotion=emotion,
                speaker=f"emodb-{speaker}",
                gender=gender,
                language="de",
                extra={
                    "native_emotion": code,
                    "sentence": sentence,
                    "version": version,
                    "age": age,
                    **rates.get(path.stem, {}),
                },
            )


def _rates(tree: Tree, findings: Findings) -> dict[str, dict[str, float]]:
    """Read the share of listeners who heard the emotion, and who found it natural (0 to 1)."""
    tables = tree.named("erkennung.txt")
    if not tables:
        findings.add("missing-table", "no erkennung.txt: listeners' rates unknown", serious=False)
        return {}
    rates: dict[str, dict[str, float]] = {}
    for number, line in enumerate(read_text(tables[0]).splitlines()[1:], start=2):
        cells = [cell.strip() for cell in line.split("\t")]
        if cells == [""]:
            continue
        try:
            recognised, natural = (float(cell.replace(",", ".")) / 100 for cell in cells[2:4])
        except ValueError:
            findings.add("bad-line", "no two rates; left out", f"{tables[0].name}:{number}")
            continue
        rates[cells[1].rpartition(".")[0]] = {"recognised": recognised, "natural": natural}
    return rates


CORPUS = EmoDB()
