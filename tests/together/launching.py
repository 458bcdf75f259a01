"""Starting `emofuse` in several processes, and comparing what runs say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

TOLERANCE = 2e-4
"""Largest difference of a probability: sums of gradients are added up in another order."""
COMMAND = "from emofuse.cli.app import main; main()"


def launch(program, recipe, folder, processes=2, **popen):
    """Start `emofuse train` under torchrun."""
    path = folder.parent / f"{folder.name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    arguments = ["train", str(path), "-o", str(folder), "--json"]
    return run_program(program, arguments, processes, **popen)


def run_program(program, arguments, processes=2, **popen):
    """Start a program under torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    command += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    command += [str(program), *arguments]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **popen,
    )


def finish(process):
    out, errors = process.communicate(timeout=120)
    told = [line for line in errors.splitlines() if line.startswith("error")]
    assert process.returncode == 0, told or errors[-3000:]
    return out


def compare(one, two):
    """Predictions of two runs, row by row; once an utterance, fold and seed."""
    frames = [pd.read_parquet(folder / "predictions.parquet") for folder in (one, two)]
    keys = ["id", "fold", "seed"]
    assert not frames[1].duplicated(keys).any()
    assert frames[0][[*keys, "gold", "speaker"]].equals(frames[1][[*keys, "gold", "speaker"]])
    columns = [name for name in frames[0].columns if name.startswith("p:")]
    assert columns
    return float(np.abs(frames[0][columns].to_numpy() - frames[1][columns].to_numpy()).max())


def mlp(data):
    return {
        **data,
        "model": {"name": "mlp", "hidden": 16, "dropout": 0.3},
        "objective": [
            {"name": "cross-entropy", "weights": "balanced", "smoothing": 0.05},
            {"name": "supcon", "weight": 0.3, "of": "fused"},
        ],
    }


def worker_of(parent, variable):
    """The process below torchrun whose environment holds a variable."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            above = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if above == parent and variable.encode() in (path / "environ").read_bytes().split(
                b"\0"
            ):
                return int(path.name)
        except OSError:
            continue
    raise AssertionError("no such worker")
