#!/usr/bin/env bash
# Every command behind docs/results.md, in a row. EMOFUSE_ASSETS names a folder with data/ and models/.
#   benchmarks/results.sh [FOLDER]     FOLDER receives manifests, features and runs (default: results)
set -euo pipefail
assets="${EMOFUSE_ASSETS:?names no folder with data/ and models/}"
data="$assets/data"
whisper="$assets/models/whisper-tiny.en"
mkdir -p "${1:-results}"
cd "${1:-results}"

declare -A scheme=([emodb]=emodb7 [ravdess]=ravdess8 [nemo]=nemo6)
for corpus in emodb ravdess nemo; do
  emofuse prepare "$corpus" "$data/$corpus" -o "$corpus.jsonl"
  emofuse doctor "$corpus.jsonl" || true # findings are printed; a complete copy has few
  emofuse audit "$corpus.jsonl" --protocol leave-one-speaker-out --scheme "${scheme[$corpus]}"
  for audio in prosody acoustic "$whisper:layer=mean,pooling=mean+std"; do
    emofuse encode "$corpus.jsonl" --audio "$audio"
  done
  emofuse encode "$corpus.jsonl" --text ngrams
  common=("data.manifest=$corpus.jsonl" "data.scheme=${scheme[$corpus]}")
  emofuse train prosody-linear "${common[@]}" -o "runs/$corpus-prosody"
  emofuse train acoustic-linear "${common[@]}" -o "runs/$corpus-acoustic" # needs the extra opensmile
  if [ "$corpus" != ravdess ]; then # RAVDESS: EmoBox's folds below, which hold speakers apart too
    emofuse train whisper-linear "${common[@]}" "encoders.audio.name=$whisper" -o "runs/$corpus-whisper"
  fi
  emofuse train ngrams-linear "${common[@]}" -o "runs/$corpus-text"
done

# EmoBox's folds: EmoDB's share every speaker between train and test, so that must be declared.
emofuse train whisper-linear data.manifest=emodb.jsonl data.scheme=emodb7 "encoders.audio.name=$whisper" \
  "protocol={name: given, path: $data/folds/emodb.json, allow: [speaker], dev: 0.0}" -o runs/emodb-whisper-emobox
emofuse train whisper-linear data.manifest=ravdess.jsonl data.scheme=ravdess8 "encoders.audio.name=$whisper" \
  "protocol={name: given, path: $data/folds/ravdess.json, dev: 0.0}" -o runs/ravdess-whisper-emobox

# A perceptron on the same features.
spec="encoders={audio: {name: $whisper, layer: mean, pooling: mean+std}}"
emofuse train logmel-mlp name=whisper-mlp data.manifest=emodb.jsonl data.scheme=emodb7 "$spec" \
  "protocol={name: given, path: $data/folds/emodb.json, allow: [speaker]}" -o runs/emodb-whisper-mlp-emobox
emofuse train logmel-mlp name=whisper-mlp data.manifest=ravdess.jsonl data.scheme=ravdess8 "$spec" \
  "protocol={name: given, path: $data/folds/ravdess.json}" -o runs/ravdess-whisper-mlp-emobox

# What a leaky split would have printed.
emofuse train whisper-linear data.manifest=ravdess.jsonl data.scheme=ravdess8 "encoders.audio.name=$whisper" \
  "protocol={name: random, dev: 0.0}" -o runs/ravdess-whisper-random

# MELD's dev part as imported vectors, dialogues kept together. Both extractors were fine-tuned on
# MELD's train part, so the scores are stamped contaminated, and the six leads speak in every fold.
meld="$data/meld_features"
emofuse import "$meld/dev.csv" --features "audio=$meld/dev.audio_wav2vec2_768.npy" \
  --features "text=$meld/dev.text_roberta768.npy" --name meld-dev --corpus meld --labelled-on meld -o meld.jsonl
emofuse doctor meld.jsonl || true # short lines that recur are findings, not faults
emofuse audit meld.jsonl --protocol group-kfold by=dialogue k=5 --scheme ekman7
vector='{name: "imported:meld-dev"}'
for encoders in "audio: $vector" "text: $vector" "audio: $vector, text: $vector"; do
  name="$(sed -E 's/: \{[^}]*\}//g; s/, /-/g' <<<"$encoders")"
  emofuse train imported-linear data.manifest=meld.jsonl data.scheme=ekman7 "encoders={$encoders}" \
    "protocol.allow=[speaker, text]" -o "runs/meld-$name"
done

emofuse report runs/*
emofuse compare runs/emodb-whisper runs/emodb-prosody runs/emodb-text
emofuse compare runs/meld-audio runs/meld-text runs/meld-audio-text
emofuse predict "$data/emodb/wav" --model runs/emodb-whisper --format csv > emodb-predictions.csv
