"""Where the course of a training goes beside ``history.csv``: one file a tracker."""

from emofuse.registry import Registry

__all__ = ["TRACKERS"]

TRACKERS = Registry(
    "tracker",
    {
        "csv": "emofuse.training.trackers.csv_files:CsvTracker",
        "mlflow": "emofuse.training.trackers.mlflow_store:MlflowTracker",
        "tensorboard": "emofuse.training.trackers.tensorboard_events:TensorboardTracker",
        "wandb": "emofuse.training.trackers.wandb_run:WandbTracker",
    },
)
"""Trackers by name, open to plug-ins (``emofuse.trackers``)."""
