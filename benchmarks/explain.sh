#!/usr/bin/env bash
# What two models look at (docs/results.md): a ResNet-18 on EmoDB, FleSER over Whisper and MiniLM on RAVDESS.
# Usage: EMOFUSE_ASSETS=/folder/with/data/and/models MINILM=/folder/of/minilm benchmarks/explain.sh DIR
set -euo pipefail
mkdir -p "$1" && cd "$1"
for corpus in emodb ravdess; do
  emofuse prepare "$corpus" "$EMOFUSE_ASSETS/data/$corpus" -o "$corpus.jsonl"
done

emofuse train fleser/iemocap data.manifest=ravdess.jsonl data.scheme=ravdess8 data.store=store \
  encoders.audio="{name: $EMOFUSE_ASSETS/models/whisper-tiny.en, granularity: frames, stride: 5, layer: mean}" \
  encoders.text="{name: $MINILM, granularity: frames}" model.fusion=cross_attention \
  protocol='{name: group-kfold, by: speaker, k: 4, dev: 0.2}' \
  trainer.epochs=20 trainer.device=cpu trainer.modality_dropout=0.2 -o fleser
emofuse explain fleser --errors 3 --set

emofuse train copenhagen/resnet18 data.manifest=emodb.jsonl data.scheme=emodb7 data.store=store \
  protocol='{name: group-kfold, by: speaker, k: 2, dev: 0.2}' \
  trainer.epochs=14 trainer.learning_rate=3e-4 trainer.device=cpu -o resnet
emofuse explain resnet --errors 1 --no-set --most-steps 64 --draws 2

# Six utterances a class: where the heat of two layers lies, and what redrawn weights make of it.
ids=$(python - <<'P'
import pandas as pd

frame = pd.read_parquet("resnet/predictions.parquet")
print(*(i for _, part in frame.groupby("gold") for i in part.sample(6, random_state=0)["id"]))
P
)
for layer in stages.3.1 stages.1.1; do
  # shellcheck disable=SC2086
  emofuse explain resnet $ids --only grad-cam --layer "network.trunk.resnet.$layer" --draws 2 \
    -o "maps-$layer" --json > "$layer.json"
  python - "$layer" <<'P'
import json
import sys

import numpy as np

maps = [u["numbers"]["grad-cam"] for u in json.load(open(f"{sys.argv[1]}.json"))["utterances"]]
for band in maps[0]["bands_hertz"]:
    print(sys.argv[1], band, round(float(np.mean([m["bands_hertz"][band] for m in maps])), 3))
drawn = [r for m in maps for r in m["redrawn"] if r is not None]
print(sys.argv[1], "redrawn: mean", np.mean(drawn), "from", min(drawn), "to", max(drawn))
P
done
