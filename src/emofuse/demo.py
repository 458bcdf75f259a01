"""The embedded default: every step of the work in a row, on a corpus that needs no licence.

A demo is a list of ordinary ``emofuse`` commands. Nothing in it is special: each can be typed by
hand, and running the demo again goes on where it was stopped.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from emofuse.corpora import CORPORA
from emofuse.labels import get_scheme
from emofuse.manifest import Manifest, Utterance
from emofuse.options import Options
from emofuse.storage import read_json, write_text

__all__ = ["Demo", "DemoRow", "Step"]

ENCODERS: Mapping[str, str] = {"audio": "logmel:pooling=stats", "text": "ngrams"}
FEW_SPEAKERS = 12  # up to here every speaker is a fold of their own
FOLDS = 5
ENOUGH_TEXT = 0.5  # share of utterances with words from which text is worth a model


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        title: what it does, in a few words.
        words: the command line without ``emofuse``.
        may_find: exit status 1 means findings, not the end of the demo.
    """

    title: str
    words: tuple[str, ...]
    may_find: bool = False

    @property
    def command(self) -> str:
        """The command, as it is typed."""
        return shlex.join(["emofuse", *self.words])


class DemoRow(Options):
    """One model of the final table.

    Attributes:
        model: ``audio``, ``text`` or ``fusion``.
        ua, low, high: unweighted average recall and its 95 % interval (None where there are too
            few speakers), in [0, 1].
        interval_by: what the interval was drawn over.
        chance: UA of a blind guess.
        protocol: name of the protocol.
        speaker_independent: ``yes``, ``no`` or ``unknown``.
        stamp: the audit in one line.
        run: run directory.
    """

    model: str
    ua: float
    low: float | None
    high: float | None
    interval_by: str
    chance: float
    protocol: str
    speaker_independent: str
    stamp: str
    run: str


class Demo:
    """Plans the demo and reads its results; whoever runs it executes each step as it comes.

    Args:
        folder: where everything goes.
        corpus: a corpus reader.
        root: where that corpus lies; the synthetic corpus is made in ``folder/corpus``.
        quick: a smaller synthetic corpus; the figures suffer.
    """

    def __init__(
        self,
        folder: Path,
        corpus: str = "synthetic",
        root: Path | None = None,
        *,
        quick: bool = False,
    ) -> None:
        self.folder = folder
        self.corpus = corpus
        self.reader = CORPORA.load(corpus)
        self.root = folder / "corpus" if root is None else root
        self.quick = quick
        self.manifest = folder / f"{corpus}.jsonl"
        self.store = folder / "features"

    @property
    def synthetic(self) -> bool:
        """Whether the corpus is made by a program."""
        return self.corpus == "synthetic"

    def run_folder(self, model: str) -> Path:
        """Give the run directory of a model."""
        return self.folder / "runs" / f"{self.corpus}-{model}"

    def steps(self) -> Iterator[Step]:
        """Give the steps in order; each must be done before the next is asked for."""
        yield Step("read the corpus into a manifest", self._prepare())
        manifest = self.labelled()
        models = self._models(manifest)
        protocol = _protocol(manifest)
        listed = str(self.manifest)
        yield Step("open every file, look at every text", ("doctor", listed), may_find=True)
        options = [f"{key}={value}" for key, value in protocol.items() if key != "name"]
        words = ("audit", listed, *options, "--protocol", protocol["name"])
        yield Step("see what the folds share", (*words, "--scheme", self.reader.scheme))
        used = {modality for modalities in models.values() for modality in modalities}
        chosen = [part for m in ENCODERS if m in used for part in (f"--{m}", ENCODERS[m])]
        words = ("encode", listed, *chosen, "--store", str(self.store))
        yield Step("turn files and texts into features", words, may_find=True)
        for model, modalities in models.items():
            path = self._write_recipe(model, modalities, protocol)
            words = ("train", str(path), "-o", str(self.run_folder(model)))
            yield Step(f"train and judge: {model}", words)
        runs = tuple(str(self.run_folder(model)) for model in models)
        yield Step("tables and pages from the predictions", ("report", *runs))
        if len(runs) > 1:
            yield Step("do they differ? paired by speaker", ("compare", *runs))
        yield from self._predictions(manifest, models)

    def labelled(self) -> Manifest:
        """Read the manifest under the corpus's own label scheme (after the first step)."""
        return Manifest.load(self.manifest).label(get_scheme(self.reader.scheme))

    def remarks(self) -> tuple[str, ...]:
        """Say what a reader must know of this corpus (after the first step)."""
        if self.synthetic:
            line = (
                "The corpus is synthetic: a program speaks. The figures show that the machinery "
                "works and mean nothing about real speech."
            )
            return (line,)
        manifest = self.labelled()
        if self.reader.scripted:
            line = (
                f"{self.corpus}: the sentences carry no emotion by design, so text is left out; "
                "the audit checks that the words tell nothing (text cue)."
            )
            return (line,)
        if _share(manifest, "text") < ENOUGH_TEXT:
            return (f"{self.corpus}: too few utterances have words, so text is left out.",)
        return ()

    def rows(self) -> list[DemoRow]:
        """Read the final table from the runs (after the last step)."""
        models = self._models(self.labelled())
        return [_row(model, self.run_folder(model)) for model in models]

    def _prepare(self) -> tuple[str, ...]:
        words = ("prepare", self.corpus, str(self.root), "-o", str(self.manifest))
        if not (self.synthetic and self.quick):
            return words
        return (*words, "--option", "speakers=6", "--option", "per_emotion=6")

    def _models(self, manifest: Manifest) -> dict[str, tuple[str, ...]]:
        """Give model -> modalities: those that the corpus has and that can carry emotion."""
        audio = _share(manifest, "audio") > 0
        text = not self.reader.scripted and _share(manifest, "text") >= ENOUGH_TEXT
        models: dict[str, tuple[str, ...]] = {}
        if audio:
            models["audio"] = ("audio",)
        if text:
            models["text"] = ("text",)
        if audio and text:
            models["fusion"] = ("audio", "text")
        return models

    def _write_recipe(
        self, model: str, modalities: tuple[str, ...], protocol: Mapping[str, Any]
    ) -> Path:
        recipe = {
            "name": f"{self.corpus}-{model}",
            "data": {
                "manifest": str(self.manifest),
                "scheme": self.reader.scheme,
                "store": str(self.store),
            },
            "encoders": {modality: ENCODERS[modality] for modality in modalities},
            "model": {"name": "mlp", "hidden": 128, "dropout": 0.5},
            "objective": [{"name": "cross-entropy", "weights": "balanced"}],
            "protocol": dict(protocol),
            "trainer": {
                "epochs": 40,
                "batch_size": 32,
                "learning_rate": 1e-3,
                "weight_decay": 1.0,
                "patience": 40,
                "refit": True,
                "modality_dropout": 0.3,
                "device": "cpu",
            },
            "seeds": [0],
        }
        path = self.folder / "recipes" / f"{self.corpus}-{model}.yaml"
        about = f"# {' and '.join(modalities)} of {self.corpus}: written by emofuse demo.\n"
        write_text(path, about + yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
        return path

    def _predictions(
        self, manifest: Manifest, models: Mapping[str, tuple[str, ...]]
    ) -> Iterator[Step]:
        best = list(models)[-1]
        run = self.run_folder(best)
        unseen = _unseen(run, manifest)
        model = ("--model", str(run))
        modalities = models[best]
        text = ("--text", str(unseen.text))
        who = f"{unseen.id}, said as {unseen.emotion}, which this model never learnt from"
        if "audio" not in modalities:
            yield Step(f"use it: {who}", ("predict", *text, *model))
            return
        audio = (str(self._shown(manifest.path(str(unseen.audio)))),)
        if "text" not in modalities:
            yield Step(f"use it: {who}", ("predict", *audio, *model))
            return
        yield Step(f"use it: {who}", ("predict", *audio, *text, *model))
        yield Step("the same without its words", ("predict", *audio, *model))
        yield Step("its words alone", ("predict", *text, *model))

    def _shown(self, path: Path) -> Path:
        """Give a media path the way the user named the corpus."""
        root = self.root.resolve()
        found = path.resolve()
        return self.root / found.relative_to(root) if found.is_relative_to(root) else path


def _share(manifest: Manifest, modality: str) -> float:
    have = sum(modality in utterance.modalities for utterance in manifest)
    return have / max(len(manifest), 1)


def _protocol(manifest: Manifest) -> dict[str, Any]:
    """Choose the strictest protocol that the corpus allows: by speaker, else by dialogue."""
    labelled = [u for u in manifest if u.emotion is not None]
    for group in ("speaker", "dialogue"):
        names = {getattr(u, group) for u in labelled}
        if None in names or len(names) < 2:
            continue
        if group == "speaker" and len(names) <= FEW_SPEAKERS:
            return {"name": "leave-one-speaker-out"}
        return {"name": "group-kfold", "by": group, "k": min(FOLDS, len(names))}
    return {"name": "random"}


def _unseen(run: Path, manifest: Manifest) -> Utterance:
    """Give the first test utterance of the fold whose model became the bundle."""
    best = read_json(run / "metrics.json")["best"]["fold"]
    folds = read_json(run / "folds.json")["folds"]
    test = next(fold["test"] for fold in folds if fold["name"] == best)
    candidates = list(manifest.select(test))
    files = [u for u in candidates if u.start is None and u.end is None]  # not slices of a file
    found: Utterance = max(files or candidates, key=lambda u: len(u.modalities))
    return found


def _row(model: str, run: Path) -> DemoRow:
    from emofuse.evaluation.report import read_report

    report = read_report(run)
    estimate, stamp = report.summary.metrics["ua"], report.run.stamp
    return DemoRow(
        model=model,
        ua=estimate.mean,
        low=estimate.interval.low,
        high=estimate.interval.high,
        interval_by=report.summary.unit,
        chance=report.summary.chance_ua,
        protocol=stamp.protocol,
        speaker_independent=stamp.independent,
        stamp=stamp.line,
        run=str(run),
    )
