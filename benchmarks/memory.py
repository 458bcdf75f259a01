"""Peak memory of ``emofuse encode`` on N files and on ten times as many: it must stay flat.

Neither the audio, the features nor the list of utterances is held in memory. Each size
runs in a process of its own, on one thread; the files are all different (what is alike is encoded
once). The base is a process that loads the same encoder and encodes one file. The median of the
repeats is given.

    python benchmarks/memory.py [--files N] [--audio SPEC] [--repeats N] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import soundfile

from emofuse.manifest import Manifest, Utterance

PEAK = Path(__file__).with_name("peak.py")
SECONDS = 4.0


def make(folder: Path, count: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(count)
    wave = rng.normal(size=int(16_000 * SECONDS)) * 0.1
    utterances = []
    for place in range(count):
        wave[0] = (place + 1) / (count + 1)  # so that no two files are alike
        soundfile.write(folder / f"{place}.wav", wave, 16_000)
        utterances.append(Utterance(id=str(place), audio=f"{place}.wav"))
    Manifest(utterances, folder).save(folder / "m.jsonl")
    return folder / "m.jsonl"


def peak_megabytes(manifest: Path, audio: str) -> float:
    store = manifest.parent / "store"
    command = [sys.executable, str(PEAK), "encode", str(manifest), "--audio", audio, "--store",
               str(store), "--device", "cpu", "--json"]  # fmt: skip
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=alone)
    shutil.rmtree(store, ignore_errors=True)
    line = [text for text in done.stderr.splitlines() if text.startswith("peak ")]
    if done.returncode or not line:
        raise SystemExit(f"encode failed: {done.stderr}")
    return int(line[-1].split()[1]) * 1024 / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--audio", default="logmel:granularity=frames")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    peaks: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for count in (1, arguments.files, 10 * arguments.files):
            manifest = make(Path(scratch) / str(count), count)
            rounds = range(arguments.repeats)
            peaks[count] = median(peak_megabytes(manifest, arguments.audio) for _ in rounds)
    if arguments.json:
        print(json.dumps({str(count): peak for count, peak in peaks.items()}))
        return 0
    print("| files | hours of audio | peak memory | against the line above |")
    print("|--:|--:|--:|--:|")
    before = peaks[1]
    for count, peak in peaks.items():
        hours = count * SECONDS / 3600
        print(f"| {count:,} | {hours:.2f} | {peak:.0f} MB | {peak / before - 1:+.1%} |")
        before = peak
    return 0


if __name__ == "__main__":
    sys.exit(main())
