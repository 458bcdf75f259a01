#!/usr/bin/env bash
# The commands behind "Transfer between corpora" in docs/results.md. EMOFUSE_ASSETS names a folder with data/ and models/.
#   benchmarks/transfer.sh [FOLDER]    FOLDER receives manifests, features and matrices (default: transfer)
set -euo pipefail
assets="${EMOFUSE_ASSETS:?names no folder with data/ and models/}"
whisper="encoders.audio.name=$assets/models/whisper-tiny.en"
mkdir -p "${1:-transfer}"
cd "${1:-transfer}"

for corpus in emodb ravdess nemo; do
  emofuse prepare "$corpus" "$assets/data/$corpus" -o "$corpus.jsonl"
  emofuse encode "$corpus.jsonl" --audio "$assets/models/whisper-tiny.en:layer=mean,pooling=mean+std"
done

# Every method, 0 / 10 / 20 / 100 % shots, three seeds; the model's statistics come from the source.
emofuse transfer open-corpora "$whisper" -o matrix

# Each corpus standardised by its own train items, without a label of the target.
emofuse transfer open-corpora "$whisper" standardise=corpus shots=0 \
  'methods=[none, prototypes, dann, mmd, coral]' -o matrix-corpus

# Logistic regression on the same features, its strength chosen within the source.
for standardise in source corpus; do
  emofuse transfer open-corpora "$whisper" "standardise=$standardise" shots=0 'methods=[none]' 'seeds=[0]' \
    'model={name: linear}' 'objective=[{name: cross-entropy, weights: balanced}]' \
    'trainer={optimiser: lbfgs, epochs: 300, select: {weight_decay: [0.1, 0.03, 0.01, 0.003, 0.001], folds: 5}}' \
    -o "linear-$standardise"
done
