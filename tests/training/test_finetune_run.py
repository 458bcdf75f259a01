"""Runs whose stages adapt and fine-tune: store, bundle, honesty, kills."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.training.speech import CLASSES, make_corpus, save_encoder, toy_recipe

from emofuse import Recognizer
from emofuse.encoders.adapted import ADAPTED, read_adapted
from emofuse.encoders.hf_audio import HFSpeech
from emofuse.encoders.hf_text import HFText
from emofuse.errors import EncoderError, OptionError, ProtocolError
from emofuse.manifest import Manifest
from emofuse.models.bundle import read_config
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train

HEAD = {"name": "head", "epochs": 2}
TUNE = {"name": "tune", "kind": "finetune", "epochs": 2, "freeze_layers": 1, "learning_rate": 1e-3}
ADAPT = {
    "name": "contrast",
    "kind": "adapt",
    "encoders": ["audio"],
    "epochs": 1,
    "batch_size": 8,
    "adapt": {"crop_seconds": 0.1, "projection": 8},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    make_corpus(folder)
    for kind in ("whisper", "hubert-group", "data2vec-audio", "bert"):
        save_encoder(kind, folder / kind)
    return folder


def recipe(root, audio="whisper", stages=(HEAD, TUNE), **changes):
    encoders = {
        "audio": {"name": str(root / audio), "layer": "mean", "pooling": "mean+std"},
        "text": {"name": str(root / "bert")},
    }
    trainer = {"stages": list(stages), **changes.pop("trainer", {})}
    return parse_recipe(toy_recipe(root, encoders, trainer=trainer, **changes))


@pytest.fixture(scope="module")
def tuned(root, tmp_path_factory):
    return train(recipe(root, seeds=[0, 1]), tmp_path_factory.mktemp("runs") / "tuned")


@pytest.fixture
def encodings(monkeypatch):
    """Count what encoders encode for the store."""
    seen: Counter[str] = Counter()
    for kind in (HFSpeech, HFText):
        real = kind.encode

        def count(self, items, real=real):
            seen[Path(self.spec.name).name] += len(items)
            return real(self, items)

        monkeypatch.setattr(kind, "encode", count)
    return seen


def rows_of_best(run):
    frame = pd.read_parquet(run.predictions)
    best = run.metrics["best"]
    return frame[(frame["fold"] == best["fold"]) & (frame["seed"] == best["seed"])]


def check_answers(run, manifest):
    """The bundle answers what the run predicted for the same files, before calibration."""
    recognizer = Recognizer.load(run.folder, raw=True)
    rows = rows_of_best(run)
    assert len(rows) > 10
    for _, row in rows.iterrows():
        utterance = manifest[row["id"]]
        audio = None if utterance.audio is None else manifest.path(utterance.audio)
        found = recognizer.recognise(audio, utterance.text)
        assert found.emotion == row["predicted"]
        own = [found.probabilities[name] for name in CLASSES]
        np.testing.assert_allclose(own, [row[f"p:{name}"] for name in CLASSES], atol=1e-4)


def test_the_bundle_gives_the_predictions_of_the_run(tuned, root):
    check_answers(tuned, Manifest.load(root / "toy.jsonl"))


def test_the_encoders_travel_with_the_bundle(tuned, root):
    config = read_config(tuned.bundle)
    assert config.encoders_local == {"audio": "encoders/audio", "text": "encoders/text"}
    assert config.encoders["audio"]["spec"]["name"] == str(root / "whisper")
    job = next(
        entry
        for entry in json.loads((tuned.folder / "folds.json").read_text())["folds"]
        if entry["name"] == tuned.metrics["best"]["fold"]
    )
    for modality in ("audio", "text"):
        folder = tuned.bundle / "encoders" / modality
        adapted = read_adapted(folder)
        assert adapted is not None
        assert adapted.labels
        assert adapted.ids == {*job["train"], *job["dev"]}
        assert not adapted.ids & set(job["test"])
        assert adapted.corpora == ("toy",)
        assert not any("lora" in name or "decoder" in name for name in names_in(folder))
        assert config.encoders[modality]["provenance"]["adapted_on"] == ["toy"]
    card = (tuned.bundle / "README.md").read_text()
    assert "**fine-tuned together with the model**" in card
    assert f"on {len(adapted.ids)} utterances of toy, with their emotion labels" in card
    assert "not part of the bundle" not in card


def names_in(folder):
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="pt") as stream:
        return list(stream.keys())


def test_another_encoder_in_its_place_is_refused(tuned, root):
    from emofuse.errors import BundleError

    recognizer = Recognizer.load(tuned.folder, encoders={"audio": str(root / "whisper")})
    with pytest.raises(BundleError, match="is not the one that the bundle was trained with"):
        recognizer.recognise(root / "u00.wav", "so")


def test_a_tuned_encoder_may_not_be_tested_on_what_it_saw(tuned, root, tmp_path):
    folder = tuned.bundle / "encoders" / "audio"
    plain = recipe(root, stages=(HEAD,)).model_dump(mode="json")
    plain["encoders"]["audio"]["name"] = str(folder)
    with pytest.raises(ProtocolError, match="was adapted on .* test utterances"):
        train(parse_recipe(plain), tmp_path / "run")


def test_low_rank_updates_leave_plain_weights_and_the_same_answers(root, tmp_path):
    tune = {**TUNE, "lora": {"rank": 2}, "encoders": ["audio"]}
    run = train(recipe(root, stages=(tune,)), tmp_path / "run")
    config = read_config(run.bundle)
    assert config.encoders_local == {"audio": "encoders/audio"}
    assert set(names_in(run.bundle / "encoders" / "audio")) == {
        name for name in names_in(root / "whisper") if not name.startswith("decoder.")
    }
    assert "The text encoder is not part of the bundle" in (run.bundle / "README.md").read_text()
    check_answers(run, Manifest.load(root / "toy.jsonl"))


def test_features_are_encoded_once_while_the_encoder_stays(root, tmp_path, encodings):
    manifest = Manifest.load(root / "toy.jsonl")
    audio = sum(u.audio is not None for u in manifest)
    texts = len({u.text for u in manifest if u.text})
    store = {"data": None, "stages": (ADAPT, HEAD, TUNE), "audio": "hubert-group"}
    del store["data"]
    first = recipe(root, seeds=[0, 1], **store)
    first = first.model_copy(
        update={"data": first.data.model_copy(update={"store": str(tmp_path / "store")})}
    )
    run = train(first, tmp_path / "one")
    folds = run.metrics["summary"]["folds"]
    assert folds == 2
    # The encoder as it is once, that of each fold once for both seeds, the text encoder once.
    assert encodings == {"hubert-group": audio, "contrast-audio": folds * audio, "bert": texts}
    encodings.clear()
    other = first.model_copy(update={"seeds": (2,)})
    again = train(other, tmp_path / "two")
    assert not encodings
    for fold in sorted((tmp_path / "one" / "encoders").iterdir()):
        twin = tmp_path / "two" / "encoders" / fold.name / "contrast-audio" / "model.safetensors"
        assert (fold / "contrast-audio" / "model.safetensors").read_bytes() == twin.read_bytes()
    changed = ADAPT | {"adapt": {**ADAPT["adapt"], "seed": 1}}
    third = recipe(root, seeds=[0], audio="hubert-group", stages=(changed, HEAD))
    third = third.model_copy(update={"data": first.data})
    train(third, tmp_path / "three")
    assert encodings == {"contrast-audio": folds * audio}
    assert again.metrics["summary"]["utterances"] == run.metrics["summary"]["utterances"]


def test_each_fold_adapts_on_its_own_train_part(root, tmp_path):
    supervised = ADAPT | {"objective": "supervised", "adapt": {}, "freeze_layers": 1}
    run = train(recipe(root, audio="hubert-group", stages=(supervised, HEAD)), tmp_path / "run")
    folds = json.loads((run.folder / "folds.json").read_text())["folds"]
    manifest = Manifest.load(root / "toy.jsonl")
    places = sorted((run.folder / "encoders").glob("*/contrast-audio"))
    assert len(places) == len(folds) == 2
    for place, fold in zip(places, sorted(folds, key=lambda one: one["name"]), strict=True):
        adapted = read_adapted(place)
        assert adapted is not None
        assert adapted.labels
        spoken = {name for name in (*fold["train"], *fold["dev"]) if manifest[name].audio}
        assert adapted.ids == spoken
        assert not adapted.ids & set(fold["test"])
    config = read_config(run.bundle)
    assert config.encoders_local == {"audio": "encoders/audio"}
    assert config.encoders["audio"]["learnt"]["how"] == ["adapt"]
    assert "**adapted beforehand**" in (run.bundle / "README.md").read_text()
    check_answers(run, manifest)


def test_an_adapted_encoder_that_saw_test_is_refused(root, tmp_path):
    one = recipe(root, audio="hubert-group", stages=(ADAPT, HEAD))
    run = train(one, tmp_path / "run")
    note = next((run.folder / "encoders").glob("*/contrast-audio")) / ADAPTED
    stored = json.loads(note.read_text())
    stored["utterances"]["inherited"] = Manifest.load(root / "toy.jsonl").ids
    note.write_text(json.dumps(stored))
    for path in (run.folder / "metrics.json", *run.folder.glob("jobs/*/result.json")):
        path.unlink()
    with pytest.raises(ProtocolError, match="was adapted on test utterances"):
        train(one, run.folder)


@pytest.mark.parametrize(
    ("encoders", "stages", "message"),
    [
        ({"audio": "logmel:pooling=mean"}, [HEAD, TUNE], "none of the encoders can be fine-tuned"),
        ({"audio": "logmel:pooling=mean"}, [TUNE | {"encoders": ["text"]}], "has no text encoder"),
        (
            {"audio": "logmel:pooling=mean"},
            [TUNE | {"encoders": ["audio"]}],
            "'logmel' cannot be fine-tuned",
        ),
        ({"audio": "WHISPER"}, [ADAPT | {"layer_decay": 0.5}], "does not read 'layer_decay'"),
        ({"audio": "WHISPER"}, [ADAPT | {"encoders": ["text"]}, HEAD], "has no text encoder"),
        ({"audio": "DATA2VEC"}, [ADAPT, HEAD], "'data2vec-audio' model; adaptation knows hubert"),
    ],
)
def test_stages_that_the_encoders_cannot_have_are_one_clear_line(
    root, tmp_path, encoders, stages, message
):
    places = {"WHISPER": "whisper", "DATA2VEC": "data2vec-audio"}
    encoders = {
        name: str(root / places[spec]) if spec in places else spec
        for name, spec in encoders.items()
    }
    with pytest.raises((OptionError, EncoderError), match=message) as caught:
        data = toy_recipe(root, encoders, trainer={"stages": list(stages)})
        train(parse_recipe(data), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "jobs").exists()


def test_whisper_is_adapted_on_each_fold_before_the_head_learns(root, tmp_path):
    data = toy_recipe(
        root, {"audio": str(root / "whisper")}, trainer={"stages": [ADAPT, HEAD]}, seeds=[0]
    )
    train(parse_recipe(data), tmp_path / "run")
    notes = [read_adapted(path.parent) for path in (tmp_path / "run").rglob(ADAPTED)]
    assert notes
    assert all(note is not None for note in notes)


def test_augmented_features_do_not_go_with_encoders_that_learn(root):
    with pytest.raises(OptionError, match="stage 'tune' learns the encoder"):
        recipe(root, augment={"word_dropout": 0.2})
