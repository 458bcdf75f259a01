"""Start-up: what ``import emofuse`` and ``emofuse --help`` cost, beside ``import torch``.

With ``EMOFUSE_ASSETS`` also ``emofuse predict`` of one utterance from a cold start, by a bundle of
PyTorch and by the same one exported to ONNX (Whisper tiny.en, a linear model). Seconds are wall
clock and, of the child alone, processor time.

    python benchmarks/startup.py [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WAYS = {
    "python alone": ["-c", "pass"],
    "import emofuse": ["-c", "import emofuse"],
    "emofuse --help": ["-m", "emofuse", "--help"],
    "emofuse encode --help": ["-m", "emofuse", "encode", "--help"],
    "import torch": ["-c", "import torch"],
    "import torch, transformers": ["-c", "import torch; from transformers import AutoModel"],
}


def answering(home: Path) -> dict[str, list[str]]:
    """Write the bundles and an utterance; give the commands that answer for it."""
    assets = os.environ.get("EMOFUSE_ASSETS")
    if not assets:
        return {}
    from timeline import write_case

    clip = sorted(Path(assets, "data", "emodb").rglob("*.wav"))[0]
    ways = {"whisper": "PyTorch", "onnx-fp16": "ONNX fp16", "onnx-int8": "ONNX int8"}
    bundles = {shown: write_case(home / name, name, Path(assets)) for name, shown in ways.items()}
    return {
        f"emofuse predict FILE ({shown})": ["-m", "emofuse", "predict", str(clip), "-m", str(place)]
        for shown, place in bundles.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        ways = {**WAYS, **answering(Path(home))}
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(arguments.rounds):  # in turn, so that a busy machine is busy for all of them
            for way, command in ways.items():
                times[way].append(timed([sys.executable, *command]))
    medians = {
        way: [statistics.median(kind) for kind in zip(*spent, strict=True)]
        for way, spent in times.items()
    }
    if arguments.json:
        print(json.dumps(medians))
        return 0
    print("| what | seconds | processor seconds | against import torch |")
    print("|---|--:|--:|--:|")
    for way, (wall, cpu) in medians.items():
        ratio = cpu / medians["import torch"][1]
        print(f"| `{way}` | {wall:.2f} | {cpu:.2f} | {ratio:.2f} x |")
    return 0


def timed(command: list[str]) -> tuple[float, float]:
    """Run a command; give seconds on the clock and of processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
