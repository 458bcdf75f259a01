"""Reading a run directory: predictions are needed, all else is shown where it can be read."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from emofuse.errors import EmofuseError, WorkError, shorten
from emofuse.evaluation.contamination import contaminated_by, unknown_encoders
from emofuse.evaluation.predictions import read_predictions
from emofuse.options import load_yaml
from emofuse.storage import read_json

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["History", "RunFolder", "Stamp", "read_run"]

Independence = Literal["yes", "no", "unknown"]
MAX_HISTORY_ROWS = 100_000


@dataclass(frozen=True)
class Stamp:
    """How far a run's numbers can be believed.

    Attributes:
        protocol: name of the protocol.
        independent: whether test speakers are unseen in training.
        line: the audit's stamp, one line.
        contaminated: encoders that saw a test corpus with labels, one line each.
        unknown: encoders of which nobody wrote down what they saw, one line each.
    """

    protocol: str
    independent: Independence
    line: str
    contaminated: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What every table says of the run.

        >>> Stamp("random", "no", "").text
        'SPEAKER-DEPENDENT'
        """
        words = {
            "yes": "speaker-independent",
            "no": "SPEAKER-DEPENDENT",
            "unknown": "SPEAKERS UNKNOWN",
        }
        marks = ", CONTAMINATED" if self.contaminated else ""
        return words[self.independent] + marks + (", PROVENANCE UNKNOWN" if self.unknown else "")

    @property
    def sound(self) -> bool:
        """Whether nothing speaks against the numbers: new speakers, no encoder that knew them."""
        return self.independent == "yes" and not self.contaminated


@dataclass(frozen=True)
class History:
    """How one training went.

    Attributes:
        name: of the job, ``<fold>-<seed>``.
        columns: name -> one value an epoch (NaN where none was written), ``epoch`` among them.
    """

    name: str
    columns: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, eq=False)
class RunFolder:
    """A run directory, as far as it can be read.

    Attributes:
        path: the directory.
        name: a short name for tables.
        predictions: checked predictions.
        classes: class names in order.
        recipe, environment, audit, metrics, bundle: what the files hold (``bundle`` its
            config); empty where they cannot be read.
        folds: fold name -> part (train, dev, test) -> ids.
        histories: one a job.
        stamp: protocol and speaker independence, from the audit, checked against the folds.
        problems: one line for everything that is missing or cannot be read.
    """

    path: Path
    name: str
    predictions: pd.DataFrame
    classes: tuple[str, ...]
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    audit: Mapping[str, Any]
    metrics: Mapping[str, Any]
    bundle: Mapping[str, Any]
    folds: Mapping[str, Mapping[str, tuple[str, ...]]]
    histories: tuple[History, ...]
    stamp: Stamp
    problems: tuple[str, ...]


def read_run(path: Path) -> RunFolder:
    """Read a run directory.

    Raises:
        WorkError: there is no such directory, or its predictions cannot be read.
    """
    if not path.is_dir():
        raise WorkError(f"no run directory {path}; give the folder that 'emofuse train' wrote")
    file = path / "predictions.parquet"
    if not file.exists():
        raise WorkError(f"{path} holds no predictions.parquet; finish the run with 'emofuse train'")
    predictions, classes = read_predictions(file)
    problems: list[str] = []
    recipe = _mapping(path / "recipe.yaml", problems)
    audit = _mapping(path / "audit.json", problems)
    folds = _folds(path / "folds.json", problems)
    config = path / "bundle" / "config.json"
    bundle = _mapping(config, problems) if config.exists() else {}
    stamp = replace(
        _stamp(audit, recipe, predictions, folds, problems),
        contaminated=_contaminated(bundle, predictions, audit),
        unknown=unknown_encoders(bundle.get("encoders")),
    )
    _check_complete(predictions, folds, problems)
    name = recipe.get("name")
    return RunFolder(
        path=path,
        name=name if isinstance(name, str) and name else path.resolve().name,
        predictions=predictions,
        classes=classes,
        recipe=recipe,
        environment=_mapping(path / "environment.json", problems),
        audit=audit,
        metrics=_mapping(path / "metrics.json", problems),
        bundle=bundle,
        folds=folds,
        histories=_histories(path / "jobs", problems),
        stamp=stamp,
        problems=tuple(problems),
    )


def _mapping(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        value = load_yaml(path) if path.suffix == ".yaml" else read_json(path)
    except EmofuseError as error:
        problems.append(str(error))
        return {}
    if not isinstance(value, dict):
        problems.append(f"{path} holds {shorten(value, 40)} where keys and values belong")
        return {}
    return {str(key): inner for key, inner in value.items()}


def _folds(path: Path, problems: list[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    listed = _mapping(path, problems).get("folds", [])
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for fold in listed if isinstance(listed, list) else []:
        if isinstance(fold, dict) and isinstance(fold.get("name"), str):
            found[fold["name"]] = {part: _ids(fold.get(part)) for part in ("train", "dev", "test")}
    if not found and path.exists():
        problems.append(f"{path} lists no folds; overlap and completeness are not checked")
    return found


def _ids(value: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in value) if isinstance(value, list) else ()


def _stamp(
    audit: Mapping[str, Any],
    recipe: Mapping[str, Any],
    predictions: pd.DataFrame,
    folds: Mapping[str, Mapping[str, tuple[str, ...]]],
    problems: list[str],
) -> Stamp:
    given = recipe.get("protocol")
    planned = given.get("name") if isinstance(given, dict) else None
    protocol = str(audit.get("protocol") or planned or "unknown")
    words: dict[str, Independence] = {"yes": "yes", "no": "no", "unknown": "unknown"}
    said = str(audit.get("speaker_independent"))
    if audit and said not in words:
        problems.append("audit.json does not say whether the run is speaker-independent")
    independent = words.get(said, "unknown")
    shared = _shared_speakers(predictions, folds)
    if shared and independent != "no":
        problems.append(
            f"audit.json says speaker-independent: {independent}, but {len(shared)} speakers are "
            f"in train and test of one fold, {shorten(shared[0])} for one"
        )
        independent = "no"
    line = str(audit.get("stamp") or "no audit can be read")
    return Stamp(protocol, independent, line)


def _contaminated(
    bundle: Mapping[str, Any], predictions: pd.DataFrame, audit: Mapping[str, Any]
) -> tuple[str, ...]:
    """Encoders of the bundle that saw a corpus under test together with its labels.

    An adaptation counts by its utterances, which training checked: it refuses those of test, or
    has the audit say so.
    """
    warnings = audit.get("warnings")
    lines = warnings if isinstance(warnings, list) else []
    start = "CONTAMINATED: "
    found = [line.removeprefix(start) for line in map(str, lines) if line.startswith(start)]
    tested = predictions["corpus"].dropna().unique()
    return (*found, *contaminated_by(bundle.get("encoders"), tested))


def _shared_speakers(
    predictions: pd.DataFrame, folds: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> list[str]:
    """Speakers both in training and in test of a fold, as far as predictions name them."""
    known = predictions.dropna(subset=["speaker"])
    keys = zip(known["corpus"].fillna(""), known["speaker"], strict=True)
    speakers = dict(zip(known["id"], keys, strict=True))
    shared: set[str] = set()
    for parts in folds.values():
        learnt = {speakers.get(one) for one in (*parts["train"], *parts["dev"])} - {None}
        tested = {speakers.get(one) for one in parts["test"]}
        shared |= {pair[1] for pair in learnt & tested if pair is not None}
    return sorted(shared)


def _check_complete(
    predictions: pd.DataFrame,
    folds: Mapping[str, Mapping[str, tuple[str, ...]]],
    problems: list[str],
) -> None:
    if not folds:
        return
    strangers = sorted(set(predictions["fold"]) - set(folds))
    if strangers:
        problems.append(f"predictions of fold {shorten(strangers[0])}, which folds.json lacks")
    for seed, part in predictions.groupby("seed", sort=True):
        judged = {str(fold): set(rows["id"]) for fold, rows in part.groupby("fold")}
        missing = sum(len(set(p["test"]) - judged.get(f, set())) for f, p in folds.items())
        extra = sum(len(judged.get(f, set()) - set(p["test"])) for f, p in folds.items())
        if missing:
            problems.append(f"seed {seed}: {missing} test utterances have no prediction")
        if extra:
            problems.append(f"seed {seed}: {extra} predictions are of no test utterance")


def _histories(folder: Path, problems: list[str]) -> tuple[History, ...]:
    found = []
    for path in sorted(folder.glob("*/history.csv"), key=lambda p: _natural(p.parent.name)):
        try:
            found.append(History(path.parent.name, _read_history(path)))
        except WorkError as error:
            problems.append(str(error))
    return tuple(found)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", name)]


def _read_history(path: Path) -> dict[str, tuple[float, ...]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            names = [name for name in reader.fieldnames or () if name]
            rows = [row for row, _ in zip(reader, range(MAX_HISTORY_ROWS), strict=False)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WorkError(f"cannot read {path}: {error}") from error
    if "epoch" not in names or not rows:
        raise WorkError(f"{path} holds no epochs: its learning curve is left out")
    return {name: tuple(_number(row.get(name)) for row in rows) for name in names}


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan
