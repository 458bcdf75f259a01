"""MLflow: one experiment a run, one MLflow run a job; a local folder unless told where."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import numpy as np

from emofuse.errors import MissingExtraError
from emofuse.evaluation.plots import confusion_png
from emofuse.storage import read_json, write_json
from emofuse.training.trackers.contract import Place, Seen, environment_with, need

__all__ = ["MlflowTracker"]

NOTE = "mlflow.json"
LONGEST = 500  # characters of a value that every store of MLflow takes
PHASES = ("fit", "refit", "best")


class MlflowTracker:
    """Metrics by epoch; the settings as parameters; confusion and histograms as artefacts.

    The store is ``MLFLOW_TRACKING_URI`` where the user has set it, else the folder ``RUN/mlflow``.
    MLflow's usage reports stay off.

    Args:
        client: of MLflow.
        run_id: the MLflow run of the job.
    """

    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self._run_id = client, run_id

    @classmethod
    def prepare(cls, root: Path, run: str) -> None:
        """Make the experiment before jobs run side by side."""
        with _quiet():
            _experiment(_client(root), run)

    @classmethod
    def open(cls, place: Place) -> Self:
        """Begin; a job that was killed goes on in its MLflow run."""
        note = place.folder / NOTE
        with _quiet():
            client = _client(place.root)
            if note.exists():
                return cls(client, str(read_json(note)["run_id"]))
            run = client.create_run(_experiment(client, place.run), run_name=place.job)
            run_id = str(run.info.run_id)
            write_json(note, {"run_id": run_id})
            for name, value in place.settings.items():
                client.log_param(run_id, name, str(value)[:LONGEST])
        return cls(client, run_id)

    def show(self, phase: str, epoch: int, seen: Seen) -> None:
        """Write an epoch."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        found = [
            Metric(f"{phase}/{name}".replace(":", "_"), value, now, epoch)
            for name, value in seen.scalars.items()
        ]
        with _quiet():
            self._client.log_batch(self._run_id, metrics=found)
            if seen.confusion is not None:
                self._artefacts(f"{phase}-{epoch:05d}", seen)

    def close(self) -> None:
        """Mark the MLflow run as finished."""
        with _quiet():
            self._client.set_terminated(self._run_id)

    def _artefacts(self, name: str, seen: Seen) -> None:
        import io

        from PIL import Image

        if seen.confusion is None:
            return
        table = {"classes": list(seen.classes), "counts": seen.confusion.tolist()}
        picture = Image.open(io.BytesIO(confusion_png(seen.confusion, seen.classes)))
        self._client.log_dict(self._run_id, table, f"confusion/{name}.json")
        self._client.log_image(self._run_id, picture, f"confusion/{name}.png")
        bars = {key: np.histogram(values, bins=20) for key, values in seen.histograms.items()}
        if bars:
            drawn = {
                key: {"counts": counts.tolist(), "edges": edges.tolist()}
                for key, (counts, edges) in bars.items()
            }
            self._client.log_dict(self._run_id, drawn, f"histograms/{name}.json")


def _quiet() -> AbstractContextManager[None]:
    return environment_with(
        MLFLOW_DISABLE_TELEMETRY="true",
        MLFLOW_ALLOW_FILE_STORE="true",
        MLFLOW_LOGGING_LEVEL="ERROR",
    )


def _client(root: Path) -> Any:
    need("mlflow")
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise MissingExtraError("mlflow", "tracking") from error
    local = (root / "mlflow").resolve().as_uri()
    return MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", local))


def _experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if found is None else found.experiment_id)
