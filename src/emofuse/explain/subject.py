"""A run opened for explanation: each utterance with the model that never saw it in training."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from emofuse.encoders.build import IMPORTED, load_encoder
from emofuse.encoders.contract import Encoder, EncoderSpec
from emofuse.errors import FeatureError, OptionError, WorkError, nearest_hint, shorten
from emofuse.evaluation.predictions import PROBABILITY
from emofuse.explain.panel import NotApplicable
from emofuse.features.encode import load_table
from emofuse.features.store import FeatureStore
from emofuse.features.table import FeatureTable
from emofuse.manifest import Manifest, Modality, Utterance
from emofuse.models.build import build_model
from emofuse.models.contract import Batch, EmotionOutput, FusionModel, ModelSpec
from emofuse.progress import Progress, silent
from emofuse.protocols.contract import Fold
from emofuse.training.jobs import Job, make_jobs
from emofuse.training.learned import fold_specs
from emofuse.training.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Case", "Subject"]

AGREES = 1e-3
"""Largest difference to a stored probability that rounding explains."""


@dataclass(frozen=True, eq=False)
class Case:
    """One utterance and the model of the fold in which it was test.

    Attributes:
        subject: the run.
        utterance: what it is, from the manifest.
        fold: where it was test.
        model: of that fold and the subject's seed, in evaluation mode.
        batch: its features, a batch of one.
        output: what the model says of it, alone.
        gold, predicted: class names, from the run's predictions.
        probabilities: class -> what the model says now.
        target: place of the class that is explained.
        drift: largest difference between ``probabilities`` and the run's predictions.
    """

    subject: Subject
    utterance: Utterance
    fold: Fold
    model: FusionModel
    batch: Batch
    output: EmotionOutput
    gold: str
    predicted: str
    probabilities: Mapping[str, float]
    target: int
    drift: float

    @property
    def id(self) -> str:
        """Its id."""
        return self.utterance.id

    @property
    def target_name(self) -> str:
        """The class that is explained."""
        return self.subject.classes[self.target]

    def description(self, modality: str) -> Mapping[str, Any]:
        """Describe the encoder of a modality, as in a bundle."""
        return self.subject.table_of(self.fold).encoders.get(modality, {})

    def spec(self, modality: Modality) -> EncoderSpec:
        """Give the spec of the encoder of a modality."""
        return self.subject.specs(self.fold)[modality]

    def encoder(self, modality: Modality) -> Encoder:
        """Give the encoder of a modality (see `Subject.encoder`)."""
        return self.subject.encoder(modality, self.fold)


@dataclass(eq=False)
class Subject:
    """A finished run, one seed of it.

    Attributes:
        folder: of the run.
        recipe, manifest, folds: what it was made of.
        seed: which of its trainings.
        classes: class names in order.
        predictions: its rows of that seed.
        table: features of the utterances to explain.
        progress: told of encoding.
    """

    folder: Path
    recipe: Recipe
    manifest: Manifest
    folds: tuple[Fold, ...]
    seed: int
    classes: tuple[str, ...]
    predictions: pd.DataFrame
    table: FeatureTable
    progress: Progress = silent
    _encoders: dict[str, Encoder] = field(default_factory=dict)
    _specs: dict[str, dict[Modality, EncoderSpec]] = field(default_factory=dict)
    _tables: dict[str, FeatureTable] = field(default_factory=dict)
    _models: dict[str, FusionModel] = field(default_factory=dict)
    _means: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    @cached_property
    def _jobs(self) -> dict[str, Job]:
        jobs = make_jobs(self.folds, self.recipe.seeds, self.folder / "jobs")
        return {job.fold.name: job for job in jobs if job.seed == self.seed}

    def fold(self, name: str) -> Fold:
        """Give a fold by name.

        Raises:
            OptionError: the run has none of that name.
        """
        for fold in self.folds:
            if fold.name == name:
                return fold
        legal = nearest_hint(name, [fold.name for fold in self.folds])
        raise OptionError(f"{self.folder} has no fold {name!r}; {legal}")

    def fold_of(self, name: str, wanted: str | None = None) -> Fold:
        """Give the fold in which an utterance was test: the first, unless one is named.

        Raises:
            WorkError: in none, or not in the one that is named.
        """
        if wanted is not None:
            fold = self.fold(wanted)
            if name not in fold.test:
                raise WorkError(
                    f"{name!r} was not test in fold {wanted!r}: its model may have learnt from it"
                )
            return fold
        for fold in self.folds:
            if name in fold.test:
                return fold
        learnt = any(name in (*fold.train, *fold.dev) for fold in self.folds)
        if learnt:
            raise WorkError(
                f"{name!r} was test in no fold of {self.folder}: every model learnt from it; "
                "choose a test utterance (--errors N picks some)"
            )
        known = sorted({one for fold in self.folds for one in fold.test})
        near = nearest_hint(name, known, limit=4)
        raise WorkError(f"{self.folder} knows no test utterance {shorten(name)}; {near}")

    def model(self, fold: Fold) -> FusionModel:
        """Give the model of a fold, in evaluation mode.

        Raises:
            WorkError: its weights are not there.
        """
        if fold.name not in self._models:
            self._models[fold.name] = self._load(fold)
        return self._models[fold.name]

    def _load(self, fold: Fold) -> FusionModel:
        job = self._jobs[fold.name]
        weights = dict(job.weights())
        if not weights:
            raise WorkError(f"{job.folder} holds no weights; train the run again")
        spec = ModelSpec(self.table.dims, len(self.classes))
        model = build_model(self.recipe.model["name"], self.recipe.model_options, spec, self.seed)
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise FeatureError(
                f"the weights in {job.folder} do not fit features of sizes {self.table.dims}; the "
                "encoders changed"
            ) from error
        return model.eval()

    def training_mean(self, fold: Fold) -> dict[str, Tensor]:
        """Average the frames of a fold's training part: modality -> ``(dim,)``."""
        if fold.name not in self._means:
            table = self.features(fold.train, fold)
            self._means[fold.name] = {
                name: part.values.double().mean(dim=0).float()
                if len(part.values)
                else torch.zeros(part.dim)
                for name, part in table.modalities.items()
            }
        return self._means[fold.name]

    def class_shares(self, fold: Fold) -> Tensor:
        """Give the shares of the classes in a fold's training part, ``(classes,)`` float64."""
        counts = torch.zeros(len(self.classes), dtype=torch.float64)
        for name in fold.train:
            counts[self.classes.index(str(self.manifest[name].emotion))] += 1
        return counts / counts.sum()

    def features(self, ids: Sequence[str], fold: Fold | None = None) -> FeatureTable:
        """Read the features of some utterances from the store, or encode them.

        Args:
            ids: utterances.
            fold: whose encoders; the recipe's unless told.
        """
        specs = self.recipe.encoders if fold is None else self.specs(fold)
        return _features(self.recipe, self.manifest.select(ids), specs, self.progress)

    def specs(self, fold: Fold) -> dict[Modality, EncoderSpec]:
        """Give the encoders of a fold; the recipe's, unless they learned on it."""
        if fold.name not in self._specs:
            job = self._jobs[fold.name]
            if not self.learned:
                return self.recipe.encoders
            self._specs[fold.name] = fold_specs(
                self.recipe, job, self.folder, self.classes, self._place
            )
        return self._specs[fold.name]

    @cached_property
    def _place(self) -> Path:
        """A folder for encoders that were fine-tuned, as long as this subject lives."""
        path = tempfile.mkdtemp(prefix="emofuse-explain-")
        weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)
        return Path(path)

    @cached_property
    def learned(self) -> bool:
        """Whether encoders learned along, so that each fold has its own."""
        return bool(self.recipe.trainer.adapted) or any(job.learnt() for job in self._jobs.values())

    def table_of(self, fold: Fold) -> FeatureTable:
        """Give the features that a fold's model reads of the utterances to explain."""
        if not self.learned:
            return self.table
        if fold.name not in self._tables:
            ids = [name for name in fold.test if name in set(self.table.ids)]
            specs = self.specs(fold)
            self._tables[fold.name] = _features(
                self.recipe, self.manifest.select(ids), specs, self.progress
            )
        return self._tables[fold.name]

    def encoder(self, modality: Modality, fold: Fold) -> Encoder:
        """Give the encoder that made the features of a modality in a fold.

        Raises:
            NotApplicable: the features were imported, or the encoder here is another one.
        """
        spec = self.specs(fold)[modality]
        if spec.name not in self._encoders:
            if spec.name.startswith(IMPORTED):
                raise NotApplicable(
                    f"{modality} features were imported ({spec.name}): there is no encoder to ask"
                )
            encoder = load_encoder(modality, spec)
            promised = self.table_of(fold).encoders.get(modality, {}).get("revision")
            if encoder.revision != promised:
                raise NotApplicable(
                    f"the {modality} encoder {spec.name} here is not the one that made the features"
                )
            self._encoders[spec.name] = encoder
        return self._encoders[spec.name]

    def case(self, name: str, fold: str | None = None, target: str | None = None) -> Case:
        """Give an utterance to explain.

        Args:
            name: its id.
            fold: where an utterance was test in several.
            target: class to explain; the predicted one unless told.

        Raises:
            WorkError: it was test in no fold, or has no features.
            OptionError: no such fold or class.
        """
        place = self.fold_of(name, fold)
        model = self.model(place)
        table = self.table_of(place)
        batch = table.batch(table.rows([name]))
        if not batch.modalities:
            raise WorkError(f"{name!r} has no features")
        with torch.no_grad():
            output: EmotionOutput = model(batch)
        shares = torch.softmax(output.logits[0].double(), dim=0)
        row = self._row(name, place)
        stored = torch.tensor([float(row[PROBABILITY + one]) for one in self.classes])
        return Case(
            self,
            self.manifest[name],
            place,
            model,
            batch,
            output,
            str(row["gold"]),
            str(row["predicted"]),
            dict(zip(self.classes, shares.tolist(), strict=True)),
            self._target(target, str(row["predicted"])),
            float((shares - stored).abs().max()),
        )

    def _row(self, name: str, fold: Fold) -> Any:
        rows = self.predictions
        found = rows[(rows["id"] == name) & (rows["fold"] == fold.name)]
        if not len(found):
            raise WorkError(f"{self.folder} holds no prediction of {name!r} in fold {fold.name!r}")
        return found.iloc[0]

    def _target(self, wanted: str | None, predicted: str) -> int:
        name = predicted if wanted is None else wanted
        if name not in self.classes:
            raise OptionError(f"no class is called {name!r}; {nearest_hint(name, self.classes)}")
        return self.classes.index(name)


def _features(
    recipe: Recipe,
    manifest: Manifest,
    specs: Mapping[Modality, EncoderSpec],
    progress: Progress,
) -> FeatureTable:
    device = recipe.trainer.device if recipe.trainer.device != "mps" else "cpu"
    store = FeatureStore(Path(recipe.data.store))
    return load_table(manifest, specs, store, progress, device=device)
