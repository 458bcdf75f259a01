"""Ten hours through ``Recognizer.timeline``: peak memory, real-time factor, and what whisper costs.

Writes a FLAC of real speech (utterances of RAVDESS in random order, pauses of 0.5 to 12 s, a little
noise) and measures each case in a process of its own; ``onnx-...`` is an ONNX bundle::

    EMOFUSE_ASSETS=... python benchmarks/timeline.py --hours 10
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from peak import peak_kib

RATE = 16_000
WHISPER = "{assets}/models/whisper-tiny.en:layer=mean,pooling=mean+std"
ENCODERS = {
    "logmel": "logmel:pooling=mean+std",
    "whisper": WHISPER,
    "onnx-fp16": WHISPER,
    "onnx-int8": WHISPER,
}


def write_recording(path: Path, corpus: Path, hours: float) -> float:
    """Write the recording; give the seconds of utterances in it."""
    from emofuse.media.audio import read_audio

    draw = np.random.default_rng(0)
    files = sorted(corpus.rglob("*.flac"))[:200]
    clips = [read_audio(path) for path in files]
    spoken = length = 0
    with soundfile.SoundFile(str(path), "w", RATE, 1, format="FLAC", subtype="PCM_16") as file:
        while length < hours * 3600 * RATE:
            clip = clips[int(draw.integers(len(clips)))]
            pause = np.zeros(int(draw.uniform(0.5, 12.0) * RATE), np.float32)
            wave = np.concatenate([pause, clip])
            wave = wave + 2e-4 * draw.standard_normal(len(wave)).astype(np.float32)
            file.write(wave)
            spoken += len(clip)
            length += len(wave)
    return spoken / RATE


def write_model(folder: Path, encoder: str) -> None:
    """Write a linear model whose weights are drawn: speed and memory are those of a trained one."""
    import torch

    from emofuse.encoders.build import describe_encoder, load_encoder
    from emofuse.encoders.contract import EncoderSpec
    from emofuse.labels import get_scheme
    from emofuse.models.build import build_model, parse_model_options
    from emofuse.models.bundle import BundleConfig, ModelNote, write_bundle
    from emofuse.models.contract import ModelSpec

    torch.manual_seed(0)
    scheme = get_scheme("basic4")
    found = load_encoder("audio", EncoderSpec.from_text(encoder), "cpu")
    model = build_model("linear", {}, ModelSpec({"audio": found.dim}, len(scheme.classes)))
    config = BundleConfig(
        model=ModelNote(
            name="linear", options=parse_model_options("linear", {}).model_dump(mode="json")
        ),
        dims={"audio": found.dim},
        scheme=scheme,
        encoders={"audio": describe_encoder(found)},
    )
    write_bundle(folder, model, config)


def write_case(folder: Path, name: str, assets: Path) -> Path:
    """Write the bundle of a case; give where it lies."""
    write_model(folder / "bundle", ENCODERS[name].format(assets=assets))
    if not name.startswith("onnx-"):
        return folder / "bundle"
    from emofuse.recognition.exporting.export import ExportOptions, export_onnx

    options = ExportOptions.parse({"precision": name.removeprefix("onnx-"), "utterances": 4})
    return export_onnx(folder / "bundle", folder / "onnx", options).folder


def measure(bundle: str, recording: str, adapt: str) -> None:
    """Measure one case, in this process."""
    from emofuse.recognition.recognizer import Recognizer
    from emofuse.recognition.timeline import TimelineOptions

    begun = time.perf_counter()
    recognizer = Recognizer.load(bundle)
    loaded = time.perf_counter()
    options = TimelineOptions.parse({"delay": 30.0, "adapt": adapt}, "--adapt")
    found = recognizer.timeline(Path(recording), options)
    took = time.perf_counter() - loaded
    peak = peak_kib() / 1024
    print(
        json.dumps(
            {
                "hours": round(found.seconds / 3600, 3),
                "segments": len(found.segments),
                "speech_seconds": round(found.speech_seconds),
                "load_seconds": round(loaded - begun, 2),
                "seconds": round(took, 1),
                "real_time_factor": round(took / found.seconds, 5),
                "processor_seconds": round(time.process_time(), 1),
                "peak_mib": round(peak),
            }
        ),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--encoders", nargs="*", default=list(ENCODERS), choices=ENCODERS)
    parser.add_argument("--adapt", default="off", help="of --measure: off, causal or recording")
    parser.add_argument("--measure", nargs=2, metavar=("BUNDLE", "RECORDING"))
    args = parser.parse_args()
    if args.measure:
        measure(*args.measure, args.adapt)
        return
    assets = Path(os.environ["EMOFUSE_ASSETS"]).resolve()
    with tempfile.TemporaryDirectory() as home:
        recording = Path(home) / "long.flac"
        spoken = write_recording(recording, assets / "data" / "ravdess", args.hours)
        size = recording.stat().st_size / 1e6
        print(f"{args.hours:g} h of FLAC, {size:.0f} MB, {spoken:.0f} s of utterances", flush=True)
        for name in args.encoders:
            bundle = write_case(Path(home) / name, name, assets)
            print(name, flush=True)
            words = [sys.executable, __file__, "--measure", str(bundle), str(recording)]
            subprocess.run(words, check=True)


if __name__ == "__main__":
    main()
