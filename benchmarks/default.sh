#!/bin/sh
# The bundle that comes along, made from nothing.
#   sh benchmarks/default.sh DATA WHISPER: folders of the corpora and of openai/whisper-tiny.en.
# In the folder it is called from: manifests, runs, and ship/, which belongs into
# src/emofuse/default_bundle. Needs the extra opensmile for the comparison.
set -eu
data="$1"; whisper="encoders.audio.name=$2"; here="$(dirname "$0")/default"
for corpus in emodb ravdess nemo ased meld; do
  emofuse prepare "$corpus" "$data/$corpus" -o "$corpus.jsonl"
done
voices="emodb.jsonl,ravdess.jsonl,nemo.jsonl,ased.jsonl"
emofuse train default/cross-corpus "$whisper" "data.manifest=[$voices]" -o cross
emofuse train default/egemaps "data.manifest=[$voices]" -o egemaps
python "$here/meld_part.py" meld.jsonl meld4.jsonl 683
emofuse train default/bundle "$whisper" "data.manifest=[$voices,meld4.jsonl]" -o final
for pair in emodb:emodb7 ravdess:ravdess8; do
  corpus="${pair%%:*}"
  emofuse train default/in-corpus "$whisper" "data.manifest=$corpus.jsonl" \
    "data.scheme=${pair##*:}" -o "emobox-$corpus" \
    "protocol={name: given, path: $data/folds/$corpus.json, allow: [speaker, text], dev: 0.0}"
done
emofuse report cross egemaps final
python "$here/words.py" final meld.jsonl
python "$here/calibrate.py" cross final/bundle
emofuse export final --precision fp16 -o ship
python "$here/finish.py" ship cross egemaps "all folds=final"
