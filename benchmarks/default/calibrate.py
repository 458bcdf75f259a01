"""Fit a bundle's calibration, sets and silence on corpora that were left out in training.

python calibrate.py BUNDLE RUN ...: each RUN judged leave-one-corpus-out (audio alone), BUNDLE is
changed.
Calibrated on speakers of corpora that it knows, a model is far too sure of itself on a new one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from emofuse.evaluation.rules import HeldOutItems, ScoreOptions, fit_rules
from emofuse.models.bundle import read_bundle, write_bundle

OPTIONS = ScoreOptions(scaling="temperature", sets_by="speaker", risk=0.3)
NOTE = "fitted leave-one-corpus-out: every utterance is of a corpus that its model never heard"


def main(folder: Path, runs: list[Path]) -> None:
    """Write the bundle again, with the rules fitted on the runs' predictions."""
    model, config = read_bundle(folder)
    table = pd.concat([pd.read_parquet(run / "predictions.parquet") for run in runs])
    classes = list(config.scheme.classes)
    rules = fit_rules(HeldOutItems.of_predictions(table, classes), classes, OPTIONS)
    rules = rules.model_copy(update={"notes": (*rules.notes, NOTE)})
    change = {"calibration": rules.model_dump(mode="json")}
    write_bundle(folder, model, config.model_copy(update=change))
    print(f"{rules.items} utterances of {rules.speakers} speakers: {rules.pooled}")
    print(f"answers from a confidence of {rules.answer_above:.3f}: {rules.answered:.1%} of them")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(run) for run in sys.argv[2:]])
