"""What a run's models say of their whole test parts, read once for every panel of the set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emofuse.explain.gates import Gates, read_gates
from emofuse.explain.panel import NotApplicable
from emofuse.explain.scores import company_effect
from emofuse.explain.shapley import subset_scores
from emofuse.explain.subject import Subject
from emofuse.layers import masked_mean
from emofuse.models.contract import Batch, EmotionOutput
from emofuse.progress import ProgressEvent
from emofuse.protocols.contract import Fold

__all__ = ["Gathered", "Rows", "fold_batches"]

Floats = NDArray[np.float64]
CHUNK = 64
MOVES = 1e-4


@dataclass(frozen=True)
class Rows:
    """Who is in the rows, in order.

    Attributes:
        ids, folds, speakers, golds, predictions, texts: one an utterance.
    """

    ids: tuple[str, ...]
    folds: tuple[str, ...]
    speakers: tuple[str, ...]
    golds: tuple[str, ...]
    predictions: tuple[str, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which were recognised."""
        pairs = zip(self.golds, self.predictions, strict=True)
        return np.array([gold == said for gold, said in pairs], dtype=bool)


def fold_batches(subject: Subject, fold: Fold) -> Iterator[tuple[tuple[str, ...], Batch]]:
    """Give the test part of a fold in batches of some utterances of like length."""
    table = subject.table_of(fold)
    rows = table.rows(fold.test)
    lengths = torch.stack([p.lengths[rows] for p in table.modalities.values()]).sum(dim=0)
    order = torch.argsort(lengths, stable=True)
    for chunk in torch.split(order, CHUNK):
        names = tuple(fold.test[place] for place in chunk.tolist())
        yield names, table.batch(rows[chunk])


class Gathered:
    """Outputs over all test parts of a subject.

    Args:
        subject: a run opened with the features of all its test utterances.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    @cached_property
    def _seen(self) -> list[tuple[Fold, tuple[str, ...], Batch, EmotionOutput]]:
        found = []
        for done, fold in enumerate(self.subject.folds, start=1):
            model = self.subject.model(fold)
            with torch.no_grad():
                for names, batch in fold_batches(self.subject, fold):
                    found.append((fold, names, batch, model(batch)))
            told = ProgressEvent("look at test", done, len(self.subject.folds), "folds")
            self.subject.progress(told)
        return found

    @cached_property
    def rows(self) -> Rows:
        """Who is in the rows of everything below."""
        frame = self.subject.predictions.set_index(["id", "fold"])
        pairs = [(name, fold.name) for fold, names, _, _ in self._seen for name in names]
        golds, predictions = (
            tuple(str(frame.loc[pair, column]) for pair in pairs)
            for column in ("gold", "predicted")
        )
        who = [self.subject.manifest[name] for name, _ in pairs]
        return Rows(
            tuple(name for name, _ in pairs),
            tuple(fold for _, fold in pairs),
            tuple(f"{u.corpus or ''}:{u.speaker}" if u.speaker else "" for u in who),
            golds,
            predictions,
            tuple(u.text or "" for u in who),
        )

    def gates(self) -> Gates:
        """Give every utterance's weights, gates and memberships.

        Raises:
            NotApplicable: the model has none.
        """
        return Gates.join([read_gates(output) for _, _, _, output in self._seen])

    def reads_company(self) -> bool:
        """Say whether the answer to an utterance changes with the others in its batch."""
        fold = self.subject.folds[0]
        table = self.subject.table_of(fold)
        batch = table.batch(table.rows(fold.test[:1]))
        return company_effect(self.subject.model(fold), batch) > MOVES

    def embeddings(self, fold: str) -> dict[str, Floats]:
        """Give the model's embeddings of one fold's test part, modality (or ``fused``) -> rows."""
        found: dict[str, list[Tensor]] = {}
        for one, _, _, output in self._seen:
            if one.name == fold:
                for name, values in output.embeddings.items():
                    found.setdefault(name, []).append(values.double())
        return {name: torch.cat(parts).numpy() for name, parts in found.items()}

    def features(self) -> dict[str, Floats]:
        """Give the mean over time of the encoders' features of every row, NaN where absent."""
        names = list(self.subject.table.modalities)
        found: dict[str, list[Floats]] = {name: [] for name in names}
        for _, ids, batch, _ in self._seen:
            for name in names:
                part = batch.modalities.get(name)
                if part is None:
                    dim = self.subject.table.dims[name]
                    found[name].append(np.full((len(ids), dim), np.nan))
                    continue
                mean = masked_mean(part.values, part.mask).double()
                mean[~part.present] = float("nan")
                found[name].append(mean.numpy())
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def worths(self) -> tuple[dict[str, Floats], dict[str, Floats], float, str]:
        """Give modality -> Shapley value of each row, of the probability of the predicted class.

        Returns:
            The values, the scores of the subsets, the largest miss of the efficiency axiom, and
            how absence was made.

        Raises:
            NotApplicable: there is one modality alone.
        """
        subject = self.subject
        if len(subject.table.modalities) < 2:
            raise NotApplicable("there is one modality: the whole answer is its own")
        predicted = iter(self.rows.predictions)
        shares: dict[str, list[Tensor]] = {name: [] for name in subject.table.modalities}
        scores: dict[str, list[Tensor]] = {}
        missed, words = 0.0, ""
        for fold, names, batch, _ in self._seen:
            model = subject.model(fold)
            means = subject.training_mean(fold) if model.needs() else None
            targets = torch.tensor([subject.classes.index(next(predicted)) for _ in names])
            prior = subject.class_shares(fold)
            worth = subset_scores(
                model, batch, targets, kind="probability", prior=prior, means=means
            )
            missed, words = max(missed, worth.efficiency), worth.words()
            for name, parts in shares.items():
                parts.append(worth.shares.get(name, torch.zeros(len(names), dtype=torch.double)))
            for subset, one in worth.scores.items():
                scores.setdefault("+".join(sorted(subset)) or "nothing", []).append(one)
        whole = {
            name: torch.cat(parts).numpy()
            for name, parts in scores.items()
            if sum(map(len, parts)) == len(self.rows)
        }
        each = {name: torch.cat(parts).numpy() for name, parts in shares.items()}
        return each, whole, missed, words
