"""Fine-tuning throughput: emofuse's trainer against the same network in a bare PyTorch loop.

Both take the same Whisper encoder (the shape of tiny, random weights, no 30-s padding), perceptron,
clips, batch size, optimiser and clipping, one thread, turn and turn about in one run. The bare loop
has its batches cut and its spectrograms computed beforehand; the trainer draws, sorts by length and
computes them as it goes. Time is the process's own processor time, so that a busy machine does not
count.

    python benchmarks/finetuning.py [--clips N] [--rounds N] [--lora] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from emofuse.encoders.contract import EncoderSpec
from emofuse.features.encode import load_table
from emofuse.features.store import FeatureStore
from emofuse.losses.contract import Targets
from emofuse.manifest import Manifest, Utterance
from emofuse.training.finetuning.data import RawItems
from emofuse.training.fit import Blueprint
from emofuse.training.options import TrainerOptions
from emofuse.training.parts import Part
from emofuse.training.trainer import Trainer

CLASSES = ("anger", "happiness", "sadness", "neutral")
BATCH = 16


def save_encoder(folder: Path) -> Path:
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    torch.manual_seed(0)
    shape = {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6}
    config = WhisperConfig(
        **shape, encoder_ffn_dim=1536, decoder_layers=1, decoder_ffn_dim=64, vocab_size=64,
        decoder_attention_heads=6, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    WhisperModel(config).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


def make_clips(folder: Path, count: int) -> tuple[Manifest, float]:
    random = np.random.default_rng(0)
    seconds = random.uniform(1.5, 4.5, count)
    utterances = []
    for number, length in enumerate(seconds):
        name = f"u{number:03d}.wav"
        soundfile.write(folder / name, 0.1 * random.standard_normal(int(16_000 * length)), 16_000)
        utterances.append(Utterance(id=name, audio=name, emotion=CLASSES[number % 4]))
    return Manifest(utterances, folder), float(seconds.sum())


def make_fit(folder: Path, manifest: Manifest, lora: bool):
    spec = EncoderSpec(name=str(folder / "whisper"), layer="mean", pooling="mean+std")
    table = load_table(manifest, {"audio": spec}, FeatureStore(folder / "store"))
    raw = RawItems.of(manifest, table, {"audio": spec})
    stage = {"name": "tune", "kind": "finetune", "epochs": 1000, "lora": {} if lora else None}
    options = TrainerOptions.parse(
        {"device": "cpu", "batch_size": BATCH, "learning_rate": 1e-4, "stages": [stage]}
    )
    trainer = Trainer(Blueprint("mlp", {}, ({"name": "cross-entropy"},), CLASSES, raw=raw), options)
    rows = torch.arange(len(manifest))
    part = Part(rows, Targets(rows % 4), rows)
    one = options.fitted[0]
    return trainer._fit(table, part, None, options.for_stage(one), seed=0, stage=one)


def bare_epoch(fit, batches, labels, optimiser) -> None:
    """What a script would write: no accelerator, no schedule, no history, nothing checked."""
    fit.model.train()
    for batch, target in zip(batches, labels, strict=True):
        loss = torch.nn.functional.cross_entropy(fit.model(batch).logits, target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(fit.model.parameters(), 5.0)
        optimiser.step()


def measure(clips: int, rounds: int, lora: bool) -> dict[str, float]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save_encoder(folder / "whisper")
        manifest, seconds = make_clips(folder, clips)
        fit, twin = make_fit(folder, manifest, lora), make_fit(folder, manifest, lora)
        cut = twin.stepper.work.feeder.shuffled(BATCH, torch.Generator().manual_seed(0))
        batches = [twin.stepper.work.feeder.batch(items) for items in cut]
        labels = [twin.stepper.work.targets.labels[items] for items in cut]
        learning = [one for one in twin.model.parameters() if one.requires_grad]
        optimiser = torch.optim.AdamW(learning, lr=1e-4, weight_decay=0.01, fused=True)
        ours: list[float] = []
        bare: list[float] = []
        for number in range(rounds + 1):  # the first of each warms up and reads the waveforms
            started = time.process_time()
            fit.stepper.epoch(number)
            middle = time.process_time()
            bare_epoch(twin, batches, labels, optimiser)
            ours.append(middle - started)
            bare.append(time.process_time() - middle)
    ratios = [b / o for o, b in zip(ours[1:], bare[1:], strict=True)]
    return {
        "clips": clips,
        "audio_seconds": round(seconds, 1),
        "emofuse_x_real_time": round(statistics.median(ours[1:]) / seconds, 4),
        "bare_x_real_time": round(statistics.median(bare[1:]) / seconds, 4),
        "throughput_ratio": round(statistics.median(ratios), 3),
        "ratio_low": round(min(ratios), 3),
        "ratio_high": round(max(ratios), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.clips, given.rounds, given.lora)
    if given.json:
        print(json.dumps(found))
        return
    print(
        f"{found['clips']} clips, {found['audio_seconds']} s of audio an epoch, one thread: "
        f"emofuse {found['emofuse_x_real_time']} x real time, "
        f"bare loop {found['bare_x_real_time']}; "
        f"throughput {found['throughput_ratio']} of the bare loop's "
        f"({found['ratio_low']} to {found['ratio_high']} over {given.rounds} rounds)"
    )


if __name__ == "__main__":
    main()
