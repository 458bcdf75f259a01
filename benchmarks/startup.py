"""Start-up: what ``import emofuse`` and ``emofuse --help`` cost, beside ``import torch``.

python benchmarks/startup.py [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

WAYS = {
    "python alone": ["-c", "pass"],
    "import emofuse": ["-c", "import emofuse"],
    "emofuse --help": ["-m", "emofuse", "--help"],
    "emofuse encode --help": ["-m", "emofuse", "encode", "--help"],
    "import torch": ["-c", "import torch"],
    "import torch, transformers": ["-c", "import torch; from transformers import AutoModel"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(arguments.rounds):  # in turn, so that a busy machine is busy for all of them
        for way, command in WAYS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
            times[way].append(time.perf_counter() - started)
    medians = {way: statistics.median(spent) for way, spent in times.items()}
    if arguments.json:
        print(json.dumps(medians))
        return 0
    print("| what | seconds (median) | against import torch |")
    print("|---|--:|--:|")
    for way, seconds in medians.items():
        print(f"| `{way}` | {seconds:.2f} | {seconds / medians['import torch']:.2f} x |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
