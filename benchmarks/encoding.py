"""Utterances a second of ``emofuse encode`` against the usual script, in one run.

The usual script: one file at a time, fp32, the stock feature extractor with its stock padding
(30 s for Whisper), every hidden state, their mean, mean and std over time. Ours: the same features
by `load_table` into an empty store, with ``precision: auto``; and once more in fp32. Both read the
same files; loading the model is left out of both. The vectors are compared with those of the usual
script at the clip's real length. The ways take turns, and the median of three rounds counts.

    python benchmarks/encoding.py [--whisper FOLDER] [--clips N] [--json]

Whisper is read from ``--whisper`` or from ``$EMOFUSE_ASSETS/models/whisper-tiny.en``; without one
it has random weights in the layout of tiny.en. HuBERT has the size of the base model and random
weights, which cost the same time as trained ones.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import soundfile
import torch

from emofuse.encoders.build import load_encoder
from emofuse.encoders.contract import Encoder, EncoderSpec, Item
from emofuse.encoders.hf_folder import quiet_transformers
from emofuse.encoders.precision import fast_bf16
from emofuse.features.encode import load_table
from emofuse.features.store import FeatureStore
from emofuse.manifest import Manifest, Utterance
from emofuse.media.audio import read_audio

ROUNDS = 3


@dataclass(frozen=True)
class Row:
    """One line of the result."""

    encoder: str
    way: str
    rate: float
    real_time_factor: float
    ratio: float
    cosine: float
    deviation: float

    def markdown(self) -> str:
        """One row of the table."""
        return (
            f"| {self.encoder} | {self.way} | {self.rate:.1f} | {self.real_time_factor:.4f} | "
            f"{self.ratio:.1f} x | {self.cosine:.6f} | {self.deviation:.4f} |"
        )


def make_clips(folder: Path, count: int) -> Manifest:
    """Speech-like noise bursts of 1 to 8 seconds (median about 3), 16 kHz."""
    rng = np.random.default_rng(0)
    utterances = []
    for place in range(count):
        seconds = float(np.clip(rng.lognormal(np.log(3.0), 0.5), 1.0, 8.0))
        time_axis = np.arange(int(16_000 * seconds)) / 16_000
        pitch = 120 + 60 * np.sin(2 * np.pi * rng.uniform(0.3, 1.0) * time_axis)
        voice = np.sin(2 * np.pi * np.cumsum(pitch) / 16_000)
        wave = voice * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time_axis)) * 0.2
        wave += rng.normal(size=len(wave)) * 0.02
        soundfile.write(folder / f"{place:04d}.wav", wave, 16_000)
        utterances.append(Utterance(id=f"{place:04d}", audio=f"{place:04d}.wav"))
    return Manifest(utterances, folder)


def save_whisper(folder: Path) -> Path:
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536,
        decoder_layers=1, decoder_attention_heads=6, decoder_ffn_dim=1536,
    )  # fmt: skip
    WhisperModel(config).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


def save_hubert(folder: Path) -> Path:
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    torch.manual_seed(0)
    HubertModel(HubertConfig()).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


Encode = Callable[[Path], np.ndarray]


def usual_whisper(folder: Path, padding: Any) -> Encode:
    from transformers import WhisperFeatureExtractor, WhisperModel

    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    model = WhisperModel.from_pretrained(folder, dtype=torch.float32).eval()
    encoder = model.encoder

    def encode(path: Path) -> np.ndarray:
        wave, rate = soundfile.read(path, dtype="float32")
        mels = extractor(wave, sampling_rate=rate, return_tensors="pt", padding=padding)
        mels = mels.input_features
        # The stock encoder insists on 30 s; to have the clip's own length, tell it otherwise.
        encoder.config.max_source_positions = (mels.shape[-1] + 1) // 2
        if padding != "max_length":
            return _by_hand(encoder, mels)
        with torch.no_grad():
            return _pool(encoder(mels, output_hidden_states=True).hidden_states)

    return encode


def _by_hand(encoder: Any, mels: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        hidden = torch.nn.functional.gelu(encoder.conv1(mels))
        hidden = torch.nn.functional.gelu(encoder.conv2(hidden)).transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        states = [hidden]
        for layer in encoder.layers:
            output = layer(states[-1], None)
            states.append(output[0] if isinstance(output, tuple) else output)
        states[-1] = encoder.layer_norm(states[-1])
        return _pool(states)


def usual_hubert(folder: Path, padding: Any) -> Encode:
    from transformers import HubertModel, Wav2Vec2FeatureExtractor

    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    model = HubertModel.from_pretrained(folder).eval()

    def encode(path: Path) -> np.ndarray:
        wave, rate = soundfile.read(path, dtype="float32")
        values = extractor(wave, sampling_rate=rate, return_tensors="pt", padding=padding)
        with torch.no_grad():
            return _pool(model(values.input_values, output_hidden_states=True).hidden_states)

    return encode


def _pool(states: Any) -> np.ndarray:
    mean = torch.stack(tuple(states)).mean(dim=0)[0]
    return torch.cat([mean.mean(dim=0), mean.std(dim=0, correction=0)]).numpy()


def timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def compare(name: str, folder: Path, usual: Any, stock: str, manifest: Manifest) -> list[Row]:
    paths = [manifest.path(str(u.audio)) for u in manifest]
    length = sum(soundfile.info(str(path)).duration for path in paths)
    with quiet_transformers():
        script, exact = usual(folder, stock), usual(folder, False)
    reference = np.stack([exact(path) for path in paths])
    script(paths[0])

    encoders = {precision: _loaded(folder, precision, paths[0]) for precision in ("fp32", "auto")}

    def ours(precision: str) -> np.ndarray:
        encoder = encoders[precision]
        loader = mock.patch("emofuse.features.encode.load_encoder", return_value=encoder)
        with loader, tempfile.TemporaryDirectory() as store:
            table = load_table(manifest, {"audio": encoder.spec}, FeatureStore(store))
        return table.modalities["audio"].values.numpy()

    ways: dict[str, Callable[[], np.ndarray]] = {
        "usual script": lambda: np.stack([script(path) for path in paths]),
        "emofuse fp32": lambda: ours("fp32"),
        f"emofuse auto ({'bf16' if fast_bf16('cpu') else 'fp32'})": lambda: ours("auto"),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    vectors: dict[str, np.ndarray] = {}
    for _ in range(ROUNDS):  # in turn, so that a busy machine is busy for all of them
        for way, work in ways.items():
            seconds, vectors[way] = timed(work)
            times[way].append(seconds)
    base = statistics.median(times["usual script"])
    return [
        _row(
            (name, way),
            (len(paths), length),
            (statistics.median(spent), base),
            (vectors[way], reference),
        )
        for way, spent in times.items()
    ]


def _loaded(folder: Path, precision: str, path: Path) -> Encoder:
    """Give an encoder whose weights are in memory already."""
    spec = EncoderSpec(name=str(folder), layer="mean", pooling="mean+std", precision=precision)
    encoder = load_encoder("audio", spec)
    encoder.encode([Item("warm", waveform=read_audio(path))])
    return encoder


def _row(
    names: tuple[str, str],
    amount: tuple[int, float],
    times: tuple[float, float],
    found: tuple[np.ndarray, np.ndarray],
) -> Row:
    (count, length), (spent, base), (vectors, reference) = amount, times, found
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
    cosine = float(((vectors * reference).sum(axis=1) / norms).min())
    spread = reference.std(axis=0).mean()
    deviation = float(np.abs(vectors - reference).mean() / spread)
    return Row(*names, count / spent, spent / length, base / spent, cosine, deviation)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whisper", type=Path, help="a local Whisper folder")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    assets = os.environ.get("EMOFUSE_ASSETS")
    whisper = arguments.whisper or (Path(assets) / "models/whisper-tiny.en" if assets else None)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "clips").mkdir()
        manifest = make_clips(folder / "clips", arguments.clips)
        with quiet_transformers():
            if whisper is None or not whisper.is_dir():
                whisper = save_whisper(folder / "whisper-tiny-random")
            hubert = save_hubert(folder / "hubert-base-random")
        rows = compare(whisper.name, whisper, usual_whisper, "max_length", manifest)
        rows += compare(hubert.name, hubert, usual_hubert, "longest", manifest)
    if arguments.json:
        print(json.dumps([vars(row) for row in rows], indent=2))
        return 0
    print("| encoder | way | utterances/s | real-time factor | against the usual script | "
          "least cosine | mean deviation (in std) |")  # fmt: skip
    print("|---|---|--:|--:|--:|--:|--:|")
    for row in rows:
        print(row.markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main())
