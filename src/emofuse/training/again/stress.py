"""``evaluate --stress``: each fold's own models on their test part, disturbed as asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from emofuse.augment.sources import Sources
from emofuse.augment.stress import Condition, StressOptions, conditions_of
from emofuse.augment.stress_draw import StressDraw, Surroundings, draw_stress
from emofuse.cluster.engine import Engine
from emofuse.encoders.build import IMPORTED, load_encoder
from emofuse.encoders.contract import Encoder, EncoderSpec
from emofuse.errors import OptionError
from emofuse.evaluation.predictions import read_predictions, write_predictions
from emofuse.evaluation.stress_plot import stress_png, stress_svg
from emofuse.evaluation.stress_summary import StressSummary, stress_summary
from emofuse.features.store import FeatureStore
from emofuse.features.table import FeatureTable
from emofuse.manifest import Modality, Utterance
from emofuse.media.text import word_errors
from emofuse.models.build import build_model
from emofuse.models.contract import ModelSpec
from emofuse.progress import Progress, ProgressEvent, silent
from emofuse.storage import read_json, sha256_file, sha256_text, write_bytes, write_json, write_text
from emofuse.training.again.examine import (
    Exam,
    OpenedRun,
    answer,
    answers_frame,
    load_model,
    open_run,
)
from emofuse.training.again.stress_features import Place, Stressed, stress_features, stressed_table
from emofuse.training.folder import locked

__all__ = ["Stress", "families", "stress_run"]


def stress_run(
    folder: Path,
    options: StressOptions,
    progress: Progress = silent,
    engine: Engine | None = None,
) -> tuple[dict[str, Any], Path]:
    """Judge a run's models under stress, each on the test part of its own fold.

    Everything goes to ``RUN/stress``: the predictions and the draws of every condition,
    ``summary.json``, and the plot. A condition that is finished is not done again; a call after a
    kill goes on from there and ends with the same numbers.

    Args:
        folder: of a finished run.
        options: what to put it through.
        progress: told of ``stress <kind>`` while encoding, and of ``judge``.
        engine: who does the work; this process unless told.

    Returns:
        What ``summary.json`` holds, and the folder.

    Raises:
        OptionError: no condition applies to the run, or a folder lacks what a condition names.
        WorkError: no finished run.
    """
    with locked(folder):
        run = open_run(folder, progress)
        stress = Stress(run, options, progress)
        if engine is not None and not engine.alone:
            from emofuse.training.again.workers import stress_together

            stress.open_labels()
            stress_together(stress, folder, options, engine, progress)
        return stress.run()


class Stress:
    """A run under stress: its conditions, each finished on disk by itself.

    Args:
        run: the finished run.
        options: what to put it through.
        progress: see `stress_run`.
    """

    def __init__(self, run: OpenedRun, options: StressOptions, progress: Progress) -> None:
        self.run_, self.options, self.progress = run, options, progress
        self.folder = run.folder / "stress"
        self.exams = run.exams()
        self.sources = Sources(options.noise.folder, options.responses, run.data.manifest.root)
        self.around = {exam.job.fold.name: self._surroundings(exam) for exam in self.exams}
        self.store = FeatureStore(Path(run.recipe.data.store))
        manifest, table = run.data.manifest, run.data.table
        self.tables = {
            exam.job.folder.name: run.table_of(exam, manifest, table, progress)
            for exam in self.exams
        }
        hashes = [sha256_file(exam.job.folder / "model.safetensors") for exam in self.exams]
        if run.learned:
            hashes += [
                str(one["revision"])
                for own in self.tables.values()
                for one in own.encoders.values()
                if "revision" in one
            ]
        self.models = sha256_text(" ".join(hashes))
        self.encoders: dict[Modality, Encoder] = {}
        self.notes: list[str] = []
        self._known: dict[str, Utterance] | None = None

    def _surroundings(self, exam: Exam) -> Surroundings:
        manifest, fold = self.run_.data.manifest, exam.job.fold
        return Surroundings(
            self.options,
            self.sources,
            fold.name,
            [manifest[name] for name in fold.train],
            [manifest[name] for name in exam.ids],
        )

    def open_labels(self) -> dict[str, Utterance]:
        """Write down, once, that test labels are looked at, and give the utterances by id."""
        if self._known is None:
            why = f"evaluate --stress: {len(self.applicable()[0])} conditions"
            self._known = self.run_.opened(self.exams, why)
        return self._known

    def carry_out(self, kind: str) -> None:
        """Finish the conditions of a kind, for a caller who has written down that it looks."""
        manifest = self.run_.data.manifest
        known = {name: manifest[name] for exam in self.exams for name in exam.ids}
        family = dict(families(self.applicable()[0]))[kind]
        drawn = {one.label: self._draw(one, known) for one in family}
        self._finish(family, known, drawn)

    def run(self) -> tuple[dict[str, Any], Path]:
        """Carry out what is not finished; give what ``summary.json`` holds, and the folder."""
        wanted, skipped = self.applicable()
        known = self.open_labels()
        clean = self._ask(known, None, {})
        classes = self.run_.scheme.classes
        write_predictions(self.folder / "predictions-clean.parquet", clean, classes)
        stressed: list[tuple[Condition, pd.DataFrame, str]] = []
        for _, family in families(wanted):
            stressed += self._family(family, known, clean, len(stressed), len(wanted))
        found = stress_summary(clean, stressed, classes, skipped=skipped, notes=self.notes)
        return self._write(found), self.folder

    def applicable(self) -> tuple[list[Condition], dict[str, str]]:
        """Part the conditions into those that can be tried, and why the others cannot."""
        have = self.run_.recipe.encoders
        spec = ModelSpec(self.run_.data.table.dims, len(self.run_.scheme.classes))
        model = build_model(self.run_.recipe.model["name"], self.run_.recipe.model_options, spec)
        needs, wanted, skipped = model.needs(), [], {}
        for one in conditions_of(self.options):
            encoder = have.get(one.modality)
            if encoder is None:
                reason = f"the run has no {one.modality}: it is unmoved"
            elif one.group != "missing":
                imported = encoder.name.startswith(IMPORTED)
                reason = f"its {one.modality} vectors are imported" if imported else ""
            elif one.modality in needs:
                reason = f"the model cannot do without {one.modality}"
            else:
                reason = "" if len(have) > 1 else "nothing would be left"
            if reason:
                skipped[one.label] = reason
            else:
                wanted.append(one)
        if not wanted:
            told = next(iter(skipped.values()), "none is asked for")
            raise OptionError(f"no stress condition applies to {self.run_.folder}: {told}")
        return wanted, skipped

    def _family(
        self,
        family: Sequence[Condition],
        known: Mapping[str, Utterance],
        clean: pd.DataFrame,
        done: int,
        total: int,
    ) -> list[tuple[Condition, pd.DataFrame, str]]:
        """Carry out the conditions of one kind: those on disk are read, the others encoded."""
        drawn = {one.label: self._draw(one, known) for one in family}
        self._finish(family, known, drawn)
        found = []
        for place, one in enumerate(family):
            frame, _ = read_predictions(self._file(one))
            note = read_json(self._file(one).with_suffix(".json"))
            found.append((one, _in_order(frame, clean), str(note["note"])))
            values: dict[str, float | str] = {"condition": one.label}
            self.progress(ProgressEvent("judge", done + place + 1, total, "conditions", values))
        return found

    def _finish(
        self,
        family: Sequence[Condition],
        known: Mapping[str, Utterance],
        drawn: Mapping[str, Mapping[Place, StressDraw]],
    ) -> None:
        digests = {one.label: self._digest(drawn[one.label]) for one in family}
        open_still = [one for one in family if not self._finished(one, digests[one.label])]
        stressed = self._encode(family, open_still, drawn)
        for one in open_still:
            self._judge(one, known, drawn[one.label], stressed, digests[one.label])

    def _draw(
        self, condition: Condition, known: Mapping[str, Utterance]
    ) -> dict[Place, StressDraw]:
        found: dict[Place, StressDraw] = {}
        for exam in self.exams:
            fold = exam.job.fold.name
            for name in exam.ids:
                place = (fold, name, condition.label)
                if place not in found:
                    found[place] = draw_stress(condition, known[name], self.around[fold])
        return found

    def _digest(self, drawn: Mapping[Place, StressDraw]) -> str:
        """Name everything that the numbers of a condition rest on."""
        lines = [draw.model_dump_json() for draw in drawn.values()]
        return sha256_text("\n".join([self.models, str(self.run_.note["features_sha256"]), *lines]))

    def _file(self, condition: Condition) -> Path:
        return self.folder / f"predictions-{condition.slug}.parquet"

    def _finished(self, condition: Condition, digest: str) -> bool:
        path = self._file(condition)
        note = path.with_suffix(".json")
        return path.is_file() and note.is_file() and read_json(note).get("digest") == digest

    def _encode(
        self,
        family: Sequence[Condition],
        open_still: Sequence[Condition],
        drawn: Mapping[str, Mapping[Place, StressDraw]],
    ) -> dict[str, Stressed]:
        """Encode a family, always whole: its levels are one batch. Job's folder -> features."""
        modality = family[0].modality
        if not open_still or family[0].group == "missing":
            return {}
        found: dict[str, Stressed] = {}
        for exams in self._sharing(modality):
            folds = {exam.job.fold.name for exam in exams}
            pairs = [pair for one in family for pair in drawn[one.label].items()]
            with self.run_.encoders(exams[0].job) as specs:
                stressed = stress_features(
                    [(place, draw) for place, draw in pairs if place[0] in folds],
                    self.run_.data.manifest,
                    self._encoder(modality, specs[modality]),
                    self.store,
                    sources=self.sources,
                    progress=self.progress,
                    stage=f"stress {family[0].family}",
                )
            found |= dict.fromkeys((exam.job.folder.name for exam in exams), stressed)
        return found

    def _sharing(self, modality: Modality) -> list[list[Exam]]:
        """Group exams by the encoder of a modality: all of a run, those of a fold, or each."""
        groups: dict[str, list[Exam]] = {}
        for exam in self.exams:
            described = self.tables[exam.job.folder.name].encoders.get(modality, {})
            groups.setdefault(str(described.get("revision")), []).append(exam)
        return list(groups.values())

    def _encoder(self, modality: Modality, spec: EncoderSpec) -> Encoder:
        if spec != self.run_.recipe.encoders[modality]:  # a fold's own: none is kept in memory
            return load_encoder(modality, spec, self.run_.device)
        if modality not in self.encoders:
            self.encoders[modality] = load_encoder(modality, spec, self.run_.device)
        return self.encoders[modality]

    def _judge(
        self,
        condition: Condition,
        known: Mapping[str, Utterance],
        drawn: Mapping[Place, StressDraw],
        stressed: Mapping[str, Stressed],
        digest: str,
    ) -> None:
        frame = self._ask(known, condition, stressed)
        bad = {place: why for one in stressed.values() for place, why in one.failed.items()}
        failed = {name: why for (_, name, label), why in bad.items() if label == condition.label}
        write_text(
            self.folder / "draws" / f"{condition.slug}.jsonl",
            "".join(draw.model_dump_json(exclude_none=True) + "\n" for draw in drawn.values()),
        )
        write_predictions(self._file(condition), frame, self.run_.scheme.classes)
        note = _measured(condition, drawn, known)
        write_json(
            self._file(condition).with_suffix(".json"),
            {"condition": asdict(condition), "digest": digest, "note": note, "failed": failed},
        )

    def _ask(
        self,
        known: Mapping[str, Utterance],
        condition: Condition | None,
        features: Mapping[str, Stressed],
    ) -> pd.DataFrame:
        """Ask every model about its test part, undisturbed or under a condition."""
        label = "" if condition is None else condition.label
        missing = condition is not None and condition.group == "missing"
        hidden = condition.modality if condition is not None and missing else None
        frames = []
        for exam in self.exams:
            stressed = features.get(exam.job.folder.name)
            failed = {} if stressed is None else stressed.failed
            places = [(exam.job.fold.name, name, label) for name in exam.ids]
            places = [place for place in places if place not in failed]
            if not places:
                continue
            table = stressed_table(self.tables[exam.job.folder.name], places, stressed, hidden)
            table, places = _with_features(table, places)
            seen = answer(load_model(self.run_, exam.job), table, self.run_.device)
            people = [known[name] for _, name, _ in places]
            frames.append(answers_frame(self.run_, exam, people, seen))
        return pd.concat(frames, ignore_index=True)

    def _write(self, found: StressSummary) -> dict[str, Any]:
        plain = asdict(found)
        plain["conditions"] = plain.pop("rows")
        plain = {"options": self.options.model_dump(mode="json"), **plain}
        write_json(self.folder / "summary.json", plain)
        write_bytes(self.folder / "stress.png", stress_png(plain))
        write_bytes(self.folder / "stress.svg", stress_svg(plain))
        stored: dict[str, Any] = json.loads(json.dumps(plain))
        return stored


def families(conditions: Sequence[Condition]) -> list[tuple[str, list[Condition]]]:
    """Group conditions, in their order, by what they disturb; each group is encoded together."""
    grouped = groupby(conditions, key=lambda one: one.family)
    return [(name, list(family)) for name, family in grouped]


def _with_features(table: FeatureTable, places: list[Place]) -> tuple[FeatureTable, list[Place]]:
    """Leave out utterances of which a condition leaves nothing."""
    lengths = torch.stack([part.lengths for part in table.modalities.values()])
    there = (lengths > 0).any(dim=0)
    if bool(there.all()):
        return table, places
    kept = [place for place, ok in zip(places, there.tolist(), strict=True) if ok]
    rows = there.nonzero().flatten()
    parts = {name: part.take(rows) for name, part in table.modalities.items()}
    return FeatureTable(tuple(name for _, name, _ in kept), parts, table.encoders), kept


def _in_order(frame: pd.DataFrame, clean: pd.DataFrame) -> pd.DataFrame:
    """Put rows in the order of the undisturbed predictions."""
    keys = ["id", "fold", "seed"]
    ordered = clean[keys].merge(frame, on=keys, how="inner", validate="one_to_one")
    return ordered[list(frame.columns)]


def _measured(
    condition: Condition, drawn: Mapping[Place, StressDraw], known: Mapping[str, Utterance]
) -> str:
    """Say what came of a condition on transcripts: the word error rate over all of them."""
    if condition.group not in ("transcript", "swap"):
        return ""
    errors = words = 0
    for (_, name, _), draw in drawn.items():
        reference = (known[name].text or "").split()
        errors += word_errors(reference, (draw.read(known[name].text) or "").split())
        words += len(reference)
    return f"word error rate {100 * errors / max(words, 1):.1f} %"
