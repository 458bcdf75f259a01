#!/usr/bin/env bash
# Frozen features against fine-tuning, the same folds: the section of that name in docs/results.md.
#   EMOFUSE_ASSETS=/folder/with/data/and/models benchmarks/finetuning.sh [FOLDER] [CORPUS...]
set -euo pipefail
assets="${EMOFUSE_ASSETS:?names no folder with data/ and models/}"
data="$assets/data"
cd "$(mkdir -p "${1:-finetuning}" && cd "${1:-finetuning}" && pwd)"
corpora=("${@:2}")
declare -A scheme=([emodb]=emodb7 [ravdess]=ravdess8)
declare -A protocol=(
  [emodb]='{name: group-kfold, by: speaker, k: 5}'
  [ravdess]="{name: given, path: $data/folds/ravdess.json}"
)
declare -A epochs=([emodb]=4 [ravdess]=2)
head='{name: head, epochs: 60}'
[ ${#corpora[@]} -gt 0 ] || corpora=(emodb ravdess)
for corpus in "${corpora[@]}"; do
  [ -f "$corpus.jsonl" ] || emofuse prepare "$corpus" "$data/$corpus" -o "$corpus.jsonl"
  common=("data.manifest=$corpus.jsonl" "data.scheme=${scheme[$corpus]}" "protocol=${protocol[$corpus]}"
    "encoders.audio.name=$assets/models/whisper-tiny.en" trainer.device=cpu)
  # On a processor that is slow at bf16: precision: "no".
  tune="name: tune, kind: finetune, epochs: ${epochs[$corpus]}, batch_size: 16, learning_rate: 2.0e-4, freeze_layers: 2, precision: bf16"
  emofuse train whisper-finetune "${common[@]}" name=whisper-frozen "trainer.stages=[$head]" -o "runs/$corpus-frozen"
  emofuse train whisper-finetune "${common[@]}" \
    "trainer.stages=[$head, {$tune, encoder_learning_rate: 1.0e-4, layer_decay: 0.8}]" -o "runs/$corpus-tuned"
  emofuse compare "runs/$corpus-frozen" "runs/$corpus-tuned"
  if [ -n "${LORA:-}" ]; then # LORA=1: low-rank updates too
    emofuse train whisper-finetune "${common[@]}" name=whisper-lora \
      "trainer.stages=[$head, {$tune, encoder_learning_rate: 1.0e-3, lora: {rank: 8}}]" -o "runs/$corpus-lora"
    emofuse compare "runs/$corpus-frozen" "runs/$corpus-lora"
  fi
done
