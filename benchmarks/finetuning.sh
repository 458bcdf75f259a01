#!/usr/bin/env bash
# Frozen features against fine-tuning on the same folds: the section of that name in docs/results.md.
#   EMOFUSE_ASSETS=/folder/with/data/and/models benchmarks/finetuning.sh [FOLDER] [CORPUS...]
# LORA=1 adds low-rank updates (extra lora). PRECISION=no where the processor is slow at bf16.
# SEEDS='[0,1,2]' trains with those seeds.
set -euo pipefail
assets="${EMOFUSE_ASSETS:?names no folder with data/ and models/}"
data="$assets/data"
mkdir -p "${1:-finetuning}"
cd "${1:-finetuning}"
corpora=("${@:2}")
[ ${#corpora[@]} -gt 0 ] || corpora=(emodb ravdess)
declare -A scheme=([emodb]=emodb7 [ravdess]=ravdess8)
declare -A protocol=(
  [emodb]='{name: group-kfold, by: speaker, k: 5}'
  [ravdess]="{name: given, path: $data/folds/ravdess.json}"
)
declare -A epochs=([emodb]=4 [ravdess]=2) # what two shared cores had time for
for corpus in "${corpora[@]}"; do
  [ -f "$corpus.jsonl" ] || emofuse prepare "$corpus" "$data/$corpus" -o "$corpus.jsonl"
  common=("data.manifest=$corpus.jsonl" "data.scheme=${scheme[$corpus]}" "protocol=${protocol[$corpus]}"
    "encoders.audio.name=$assets/models/whisper-tiny.en" trainer.device=cpu "seeds=${SEEDS:-[0]}")
  tuned=("trainer.stages.1.precision=${PRECISION:-bf16}" "trainer.stages.1.epochs=${epochs[$corpus]}")
  emofuse train whisper-finetune "${common[@]}" name=whisper-frozen \
    'trainer.stages=[{name: head, epochs: 60}]' -o "runs/$corpus-frozen"
  emofuse train whisper-finetune "${common[@]}" "${tuned[@]}" -o "runs/$corpus-tuned"
  emofuse compare "runs/$corpus-frozen" "runs/$corpus-tuned"
  if [ -n "${LORA:-}" ]; then
    emofuse train whisper-lora "${common[@]}" "${tuned[@]}" -o "runs/$corpus-lora"
    emofuse compare "runs/$corpus-frozen" "runs/$corpus-tuned" "runs/$corpus-lora"
  fi
done
