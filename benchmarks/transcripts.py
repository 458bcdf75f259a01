"""What a recogniser of speech makes of a corpus whose words are known: language, errors, speed.

Takes the same clips every time (drawn from the seed 0) of each manifest::

    python benchmarks/transcripts.py MODEL ravdess.jsonl emodb.jsonl --clips 60
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np


def measure(model: str, manifest: Path, clips: int, language: str | None) -> str:
    """Hear ``clips`` utterances; give a row of a Markdown table."""
    from emofuse.manifest import Manifest
    from emofuse.media.audio import read_audio
    from emofuse.media.text import normalise_text, word_errors
    from emofuse.recognition.transcribe import HEARING_RATE, load_transcriber

    hears = load_transcriber(model, language=language)
    listed = Manifest.load(manifest)
    usable = [one for one in listed if one.text and one.audio is not None]
    order = np.random.default_rng(0).permutation(len(usable))[:clips]
    found: Counter[str | None] = Counter()
    wrong = said = 0
    sure, seconds, taken = [], 0.0, 0.0
    for place in order:
        one = usable[place]
        wave = read_audio(listed.path(one.audio), HEARING_RATE, one.start, one.end)
        before = time.perf_counter()
        heard = hears.transcribe(wave, HEARING_RATE)
        taken += time.perf_counter() - before
        seconds += len(wave) / HEARING_RATE
        words = normalise_text(one.text).split()
        wrong += word_errors(words, normalise_text(heard.text).split())
        said += len(words)
        found[heard.language] += 1
        sure.append(heard.confidence)
    names = ", ".join(f"{name} {count}" for name, count in found.most_common())
    return (
        f"| {manifest.stem} | {len(order)} | {names} | {100 * wrong / max(said, 1):.1f} "
        f"| {100 * float(np.mean(sure)):.0f} | {taken / max(seconds, 1e-9):.2f} |"
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", help="folder or hub name of a Whisper model")
    parser.add_argument("manifests", nargs="*", type=Path)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--language")
    args = parser.parse_args()
    if args.model is None:
        print("skipped: name a model and manifests")
        return
    print(
        "| corpus | clips | languages found | word error % | mean confidence % | real-time factor |"
    )
    print("|---|--:|---|--:|--:|--:|")
    for manifest in args.manifests:
        print(measure(args.model, manifest, args.clips, args.language), flush=True)


if __name__ == "__main__":
    main()
