"""Put into a bundle where the voices of its training lie, so that it can be adapted to speakers.

python voices.py RUN BUNDLE: for a bundle that an older emofuse made of RUN; a newer one has it. The
weights of the bundle must be those of the run's best model.
"""

from __future__ import annotations

import sys
from pathlib import Path

from emofuse.errors import WorkError
from emofuse.models.bundle_config import CONFIG_NAME, WEIGHTS_NAME, read_config
from emofuse.storage import read_json, write_json
from emofuse.training.again.examine import open_run
from emofuse.training.voices import voices_note


def main(run: Path, folder: Path) -> None:
    """Write the configuration again."""
    config = read_config(folder)
    shipped = config.hashes.get(WEIGHTS_NAME) if config.onnx is None else config.onnx.source
    if read_config(run / "bundle").hashes[WEIGHTS_NAME] != shipped:
        raise WorkError(f"{folder} was not made of {run}: other weights")
    opened = open_run(run)
    train, dev = opened.data.parts(opened.best.fold)
    refit = opened.recipe_of(opened.best).trainer.refit
    learnt = train if dev is None or not refit else train.join(dev)
    note = voices_note(opened.data.table, learnt, opened.scheme)
    if note is None:
        raise WorkError(f"{run} has no pooled audio features of several speakers")
    record = read_json(folder / CONFIG_NAME)
    write_json(folder / CONFIG_NAME, {**record, "voices": note.model_dump(mode="json")})
    print(f"half {note.half:.3f}, {note.utterances} utterances, {note.speakers} speakers")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
