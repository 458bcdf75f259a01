"""nEMO: nine Polish actors, six emotions, 90 sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import ClassVar

from emofuse.corpora.contract import Corpus, NoOptions, Place
from emofuse.corpora.files import Tree, read_rows, whole_number
from emofuse.corpora.findings import Findings
from emofuse.errors import CorpusError
from emofuse.manifest import Utterance

__all__ = ["CORPUS", "Nemo"]

COLUMNS = (
    "file_id",
    "emotion",
    "raw_text",
    "normalized_text",
    "speaker_id",
    "gender",
    "age",
)


class Nemo(Corpus[NoOptions]):
    """Reads ``data.tsv`` and ``samples/``; the extension in the table need not be the file's."""

    name = "nemo"
    about = "nEMO: Polish, 9 actors, 6 acted emotions, 90 sentences (4,481)"
    licence = "CC BY-NC-SA 4.0; cite Christop, nEMO: Dataset of Emotional Speech in Polish, 2024"
    languages = ("pl",)
    scheme = "nemo6"
    scripted = True
    labels: ClassVar[Mapping[str, str]] = {
        "anger": "anger",
        "fear": "fear",
        "happiness": "happiness",
        "neutral": "neutral",
        "sadness": "sadness",
        "surprised": "surprise",
    }
    expected: ClassVar[Mapping[str, int]] = {
        "anger": 749,
        "fear": 736,
        "happiness": 749,
        "neutral": 809,
        "sadness": 769,
        "surprised": 669,
    }
    speakers = tuple(
        f"nemo-{code}" for code in ("EB0", "IC0", "KD0", "KS0", "MK0", "MP0", "SM0", "TP0", "WR0")
    )
    layout = "data.tsv, and files named like samples/EB0_anger_1.wav"
    options_type = NoOptions

    def read(
        self, place: Place, options: NoOptions, findings: Findings
    ) -> Iterator[Utterance | None]:
        """Give an utterance a row of the table whose file is there."""
        tree = Tree(place.root, findings)
        tables = tree.named("data.tsv")
        if not tables:
            raise CorpusError(f"no data.tsv under {place.root}: {self.name} expects {self.layout}")
        audio = {path.stem: path for path in tree.having()}
        for number, row in read_rows(tables[0], "\t", findings, COLUMNS):
            stem = PurePosixPath(row["file_id"]).stem
            path = audio.pop(stem, None)
            if path is None:
                findings.add("missing-audio", "listed in data.tsv; left out", row["file_id"])
                continue
            yield findings.utterance(
                f"data.tsv:{number}",
                id=stem,
                corpus=self.name,
                audio=path.as_posix(),
                text=row["raw_text"] or None,
                emotion=findings.word(row["emotion"], self.labels),
                speaker=f"nemo-{row['speaker_id']}",
                gender=row["gender"] or None,
                language="pl",
                extra={
                    "native_emotion": row["emotion"],
                    "sentence": stem.rpartition("_")[2],
                    "normalized_text": row["normalized_text"],
                    "age": whole_number(row["age"]),
                },
            )
        for path in audio.values():
            findings.add("unlisted", "not in data.tsv; left out", str(path))


CORPUS = Nemo()
