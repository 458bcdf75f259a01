#!/bin/sh
# The bundle that comes along, made from nothing.
#   sh benchmarks/default.sh DATA WHISPER: folders of the corpora and of openai/whisper-tiny.en.
# In the folder it is called from: manifests, runs, and ship/, which belongs into
# src/emofuse/default_bundle. Needs the extra opensmile for the comparison, and recorded noises and
# rooms in DATA/noise to be tested with. The same command again goes on where it was stopped.
set -eu
data="$1"; whisper="encoders.audio.name=$2"; here="$(dirname "$0")/default"
for corpus in emodb ravdess nemo ased meld; do
  emofuse prepare "$corpus" "$data/$corpus" -o "$corpus.jsonl"
done
python "$here/meld_part.py" meld.jsonl meld4.jsonl meld4-official.jsonl 683
voices="emodb.jsonl,ravdess.jsonl,nemo.jsonl,ased.jsonl"

# The voice judged on corpora it never heard, the same without changed copies, and on ASED, the fourth,
# that nothing was chosen by.
judge() {
  run="$1"; corpora="$2"; shift 2
  emofuse train default/cross-corpus "$whisper" "data.manifest=[$voices]" \
    "protocol.judged=[$corpora]" "$@" -o "$run"
}
judge cross "emodb, ravdess, nemo"
judge cross-clean "emodb, ravdess, nemo" "augment={}"
judge cross-ased ased

# The bundle itself, and what its words are worth.
emofuse train default/bundle "$whisper" "data.manifest=[$voices,meld4.jsonl]" -o final
emofuse train default/words data.manifest=meld4-official.jsonl -o words4
emofuse train default/words data.manifest=meld.jsonl data.scheme=ekman7 -o words7

# Noise, rooms, telephone, codec; eGeMAPS.
for run in cross cross-clean; do
  emofuse evaluate "$run" --stress noise,reverb,telephone,codec \
    "noise={types: [files], snr: [10], folder: $data/noise/esc10}" \
    "rt60=[]" "responses=$data/noise/rir" "telephone=[mu]" "opus=[6]" "mp3=[]"
done
emofuse train default/egemaps "data.manifest=[$voices]" -o egemaps

# The same way of hearing within one corpus.
for pair in emodb:emodb7 ravdess:ravdess8; do
  corpus="${pair%%:*}"
  emofuse train default/in-corpus "$whisper" "data.manifest=$corpus.jsonl" \
    "data.scheme=${pair##*:}" -o "emobox-$corpus" \
    "protocol={name: given, path: $data/folds/$corpus.json, allow: [speaker, text], dev: 0.0}"
done

emofuse report cross cross-ased cross-clean egemaps final --by corpus,gender,speaker
emofuse report words4 words7 emobox-emodb emobox-ravdess
python "$here/words.py" final meld.jsonl
python "$here/calibrate.py" final/bundle cross cross-ased
emofuse export final --precision fp16 -o ship
python "$here/finish.py" ship
