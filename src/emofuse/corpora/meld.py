"""MELD: dialogues of a television series, seven emotions, official split."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import ClassVar

from emofuse.corpora.contract import Corpus, NoOptions, Place
from emofuse.corpora.files import MEDIA_EXTENSIONS, VIDEO_EXTENSIONS, Tree, read_rows
from emofuse.corpora.findings import Findings
from emofuse.errors import CorpusError
from emofuse.manifest import Utterance
from emofuse.media.text import repair_cp1252

__all__ = ["CORPUS", "Meld"]

CLIP = re.compile(r"dia(\d+)_utt(\d+)")
PART = re.compile(r"(?:^|[/_])(train|dev|val|valid|test)(?=[/_]|$)", re.IGNORECASE)
COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
TIME = re.compile(r"(\d{1,3}):(\d\d):(\d\d)[,.](\d{1,3})")
TOTALS = {"train": 9989, "dev": 1109, "test": 2610}

Media = dict[str, dict[str, str]]


class Meld(Corpus[NoOptions]):
    """Reads ``train_sent_emo.csv`` and its ``dev`` and ``test`` sisters, and clips where there are.

    Clips are ``dia0_utt0.mp4`` (or any audio) in a folder named after the part, such as
    ``train_splits``, ``dev_splits_complete`` and ``output_repeated_splits_test``.
    """

    name = "meld"
    about = "MELD: English, natural dialogue of a TV series, 7 emotions, official split (13,708)"
    licence = "GPL-3.0 repository, media for research; cite Poria et al., MELD, ACL 2019"
    languages = ("en",)
    scheme = "ekman7"
    labels: ClassVar[Mapping[str, str]] = {
        "anger": "anger",
        "disgust": "disgust",
        "fear": "fear",
        "joy": "happiness",
        "neutral": "neutral",
        "sadness": "sadness",
        "surprise": "surprise",
    }
    expected: ClassVar[Mapping[str, int]] = {
        "anger": 1607,
        "disgust": 361,
        "fear": 358,
        "joy": 2308,
        "neutral": 6436,
        "sadness": 1002,
        "surprise": 1636,
    }
    known_bad: ClassVar[Mapping[str, str]] = {
        "train-dia125_utt3": "the clip is broken",
        "dev-dia110_utt7": "the clip is broken",
    }
    layout = "train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv, and clips dia0_utt0.mp4"
    options_type = NoOptions

    def read(
        self, place: Place, options: NoOptions, findings: Findings
    ) -> Iterator[Utterance | None]:
        """Give an utterance a row; without clips the manifest is text alone."""
        tree = Tree(place.root, findings)
        media = _clips(tree, findings)
        tables = {split: tree.named(f"{split}_sent_emo.csv") for split in TOTALS}
        if not any(tables.values()):
            raise CorpusError(
                f"no *_sent_emo.csv under {place.root}: {self.name} expects {self.layout}"
            )
        if not media:
            findings.add("note", "no clips in this copy: text alone", serious=False)
        for split, paths in tables.items():
            if not paths:
                findings.add("missing-table", f"no {split}_sent_emo.csv", count=TOTALS[split])
            for path in paths[1:]:
                findings.add("duplicate", "table of this name again, not read", str(path))
            for number, row in read_rows(paths[0], ",", findings, COLUMNS) if paths else ():
                where = f"{paths[0].name}:{number}"
                yield self._utterance(where, split, row, media, findings)

    def _utterance(
        self, where: str, split: str, row: Mapping[str, str], media: Media, findings: Findings
    ) -> Utterance | None:
        dialogue = f"{split}-dia{row['Dialogue_ID'].strip()}"
        name = f"{dialogue}_utt{row['Utterance_ID'].strip()}"
        clips = media.get(name, {})
        if clips and name in self.known_bad:
            findings.add("known-bad", "the clip is broken, text kept", name, serious=False)
            clips = {}
        elif media and not clips:
            findings.add("missing-audio", "row without a clip, text kept", name)
        text = repair_cp1252(row["Utterance"])
        if text != row["Utterance"]:
            findings.add("note", "Windows-1252 punctuation repaired", name, serious=False)
        start, end = _seconds(row.get("StartTime", "")), _seconds(row.get("EndTime", ""))
        if start is None or end is None:
            findings.add("note", "no time stamps", where, serious=False)
        native = row["Emotion"].strip().lower()
        return findings.utterance(
            where,
            id=name,
            corpus=self.name,
            audio=clips.get("audio"),
            video=clips.get("video"),
            text=text,
            emotion=findings.word(native, self.labels),
            speaker=f"meld-{repair_cp1252(row['Speaker']).strip()}",
            dialogue=f"meld-{dialogue}",
            language="en",
            split=split,
            extra={
                "native_emotion": native,
                "sentiment": row.get("Sentiment") or None,
                "season": row.get("Season") or None,
                "episode": row.get("Episode") or None,
                "start_time": start,
                "end_time": end,
            },
        )


def _seconds(stamp: str) -> float | None:
    """Read a time stamp within the episode.

    >>> _seconds("0:20:57,256")
    1257.256
    """
    match = TIME.fullmatch(stamp.strip())
    if match is None:
        return None
    hours, minutes, seconds = (int(part) for part in match.groups()[:3])
    return round(hours * 3600 + minutes * 60 + seconds + int(match[4].ljust(3, "0")) / 1000, 3)


def _clips(tree: Tree, findings: Findings) -> Media:
    """Find the clips: ``train-dia0_utt0`` -> modality -> relative path."""
    media: Media = {}
    for path in tree.having(MEDIA_EXTENSIONS):
        match = CLIP.fullmatch(path.stem)
        split = _part(path)
        if match is None or split is None:
            message = "clip not named like train_splits/dia0_utt0.mp4"
            findings.add("unknown-name", message, str(path), serious=match is not None)
            continue
        kind = "video" if path.suffix.lower() in VIDEO_EXTENSIONS else "audio"
        clips = media.setdefault(f"{split}-dia{match[1]}_utt{match[2]}", {})
        if kind in clips:
            findings.add("duplicate", "clip seen before, first one kept", str(path))
        clips.setdefault(kind, path.as_posix())
    return media


def _part(path: PurePosixPath) -> str | None:
    """Tell the part from the folders: the nearest that names one decides."""
    found = PART.findall(path.parent.as_posix())
    if not found:
        return None
    word = str(found[-1]).lower()
    return "dev" if word.startswith("val") else word


CORPUS = Meld()
