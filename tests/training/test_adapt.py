"""Encoders that are adapted: what moves, what stays, what they may be tested on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tests.encoders.conftest import WORDS, save_speech, save_text, save_whisper

from emofuse.encoders.adapted import ADAPTED, read_adapted
from emofuse.encoders.build import describe_encoder, load_encoder
from emofuse.encoders.contract import EncoderSpec, Item
from emofuse.encoders.hf_folder import find_folder
from emofuse.errors import (
    EncoderError,
    OptionError,
    ProtocolError,
    TrainingError,
    UsageError,
)
from emofuse.manifest import Manifest, Utterance
from emofuse.training.adaptation.adapt import adapt
from emofuse.training.adaptation.data import crop, drop_words
from emofuse.training.adaptation.network import SpeechAdapting, TextAdapting
from emofuse.training.adaptation.options import AdaptOptions
from emofuse.training.adaptation.whisper import WhisperAdapting
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train

CLASSES = ("anger", "happiness")
SCHEME = "name: two\nclasses: [anger, happiness]\n"
SPEECH = ("hubert-group", "wav2vec2-group", "wav2vec2-layer", "wavlm-group", "wavlm-layer")
SPEAKER = {"name": "leave-one-speaker-out", "dev": 0.3}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            folder = tmp_path_factory.mktemp("bases") / kind
            if kind == "whisper":
                made[kind] = _loud(save_whisper(folder))
            else:
                save = save_text if kind in ("bert", "roberta") else save_speech
                made[kind] = save(kind, folder)
        return made[kind]

    return make


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Four speakers; pitch and words tell two emotions apart."""
    root = tmp_path_factory.mktemp("corpus")
    (root / "two.yaml").write_text(SCHEME)
    random = np.random.default_rng(0)
    utterances = []
    for number in range(32):
        speaker, label = number // 8, number % 2
        seconds = random.uniform(0.15, 0.4)
        t = np.arange(int(16_000 * seconds)) / 16_000
        tone = np.sin(2 * np.pi * (300 + 900 * label + 10 * speaker) * t)
        noise = 0.05 * random.standard_normal(t.size)
        soundfile.write(root / f"u{number:02d}.wav", 0.3 * tone + noise, 16_000)
        words = [*random.choice(WORDS, 4), ("sad", "happy")[label]]
        utterances.append(
            Utterance(
                id=f"u{number:02d}",
                corpus="toy",
                audio=f"u{number:02d}.wav",
                text=" ".join(words),
                emotion=CLASSES[label],
                speaker=f"s{speaker}",
                split=("train", "train", "dev", "test")[speaker],
            )
        )
    return Manifest(utterances, root)


def _loud(folder: Path) -> Path:
    """Enlarge weights, as `save_speech` does: with small ones all sounds are nearly alike."""
    from safetensors.torch import load_file, save_file

    torch.manual_seed(0)
    path = folder / "model.safetensors"
    state = {
        name: torch.randn_like(one) * 0.3 if one.ndim > 1 and "embed" not in name else one
        for name, one in load_file(path).items()
    }
    save_file(state, path, metadata={"format": "pt"})
    return folder


def options(base: Path, **changes: Any) -> AdaptOptions:
    modality = "text" if base.name in ("bert", "roberta") else "audio"
    small = {"epochs": 2, "batch_size": 8, "device": "cpu", "learning_rate": 1e-3}
    if changes.get("objective") != "supervised":
        small["projection"] = 8
        small |= {"crop_seconds": 0.1} if modality == "audio" else {}
    return AdaptOptions.parse({"encoder": str(base), "modality": modality, **small, **changes}, "")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("kind", [*SPEECH, "bert", "roberta"])
def test_lower_layers_stay_and_upper_ones_move(bases, manifest, tmp_path, kind):
    found = adapt(manifest, options(bases(kind), freeze_layers=2), tmp_path / "new")
    before, after = weights(bases(kind)), weights(tmp_path / "new")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    layer = "encoder.layer.2." if kind in ("bert", "roberta") else "encoder.layers.2."
    above = {"encoder.layer_norm.weight", "encoder.layer_norm.bias"} if "-layer" in kind else set()
    assert {name for name in moved if not name.startswith(layer)} == above
    assert len([name for name in moved if name.startswith(layer)]) >= 12
    assert found.note["frozen_layers"] == 2
    assert found.note["parameters"]["learnt"] == sum(
        one.numel() for name, one in before.items() if name.startswith(layer) or name in above
    )


def test_of_whisper_the_upper_encoder_learns_and_the_decoder_stays(bases, manifest, tmp_path):
    found = adapt(manifest, options(bases("whisper"), freeze_layers=2), tmp_path / "new")
    before, after = weights(bases("whisper")), weights(tmp_path / "new")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert all(name.startswith(("encoder.layers.2.", "encoder.layer_norm.")) for name in moved)
    assert len(moved) >= 12
    spec = EncoderSpec(name=str(tmp_path / "new"), layer="mean")
    waves = [Item("u00", waveform=np.sin(np.arange(8000) / 9).astype(np.float32))]
    assert np.isfinite(load_encoder("audio", spec).encode(waves)[0]).all()
    assert found.note["frozen_layers"] == 2


def test_what_is_frozen_stays_in_evaluation_mode(bases):
    for network in (
        SpeechAdapting(find_folder(EncoderSpec(name=str(bases("wavlm-group")))), 1, "cpu"),
        TextAdapting(find_folder(EncoderSpec(name=str(bases("bert")))), 1, "cpu"),
    ):
        network.train()
        learning = {id(m) for module in network.learning for m in module.modules()}
        modes = {m: m.training for m in network.model.modules()}
        assert all(mode == (id(module) in learning) for module, mode in modes.items())
        frozen = [p for p in network.model.parameters() if not p.requires_grad]
        assert frozen
        assert all(not m.training for m in network.eval().modules())


@pytest.mark.parametrize("kind", ["hubert-group", "wavlm-layer", "whisper", "roberta"])
def test_views_are_what_the_encoder_gives(bases, manifest, kind):
    """The vectors that are trained are those that `load_encoder` gives later on."""
    folder, utterances = bases(kind), [manifest["u00"], manifest["u03"], manifest["u05"]]
    spec = EncoderSpec(name=str(folder))
    if kind == "roberta":
        items = [Item(u.id, text=u.text) for u in utterances]
        network: Any = TextAdapting(find_folder(spec), 1, "cpu")
        ours = network.eval()([u.text for u in utterances])
        theirs = load_encoder("text", spec).encode(items)
    else:
        waves = [soundfile.read(manifest.path(u.audio), dtype="float32")[0] for u in utterances]
        items = [Item(u.id, waveform=w) for u, w in zip(utterances, waves, strict=True)]
        made = WhisperAdapting if kind == "whisper" else SpeechAdapting
        network = made(find_folder(spec), 1, "cpu").eval()
        ours = network([network.prepare(wave) for wave in waves])
        theirs = load_encoder("audio", spec).encode(items)
    np.testing.assert_allclose(ours.detach().numpy(), np.concatenate(theirs), atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "objective"),
    [
        ("hubert-group", "contrastive"),
        ("hubert-group", "supervised"),
        ("whisper", "contrastive"),
        ("whisper", "supervised"),
        ("bert", "supervised"),
    ],
)
def test_the_loss_falls(bases, manifest, tmp_path, kind, objective):
    scheme = {"scheme": str(manifest.root / "two.yaml")} if objective == "supervised" else {}
    chosen = options(
        bases(kind), objective=objective, epochs=20, patience=None, freeze_layers=1, **scheme
    )
    note = adapt(manifest, chosen, tmp_path / "new").note
    losses = [row["train"] for row in note["losses"]]
    assert losses[-1] < 0.8 * losses[0]
    assert note["labels"] == (objective == "supervised")
    dev = [row["dev"] for row in note["losses"]]
    assert note["best_epoch"] == 1 + dev.index(min(dev))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


@pytest.mark.parametrize("kind", ["wav2vec2-layer", "bert"])
def test_same_seed_same_bytes_and_another_seed_other_weights(bases, manifest, tmp_path, kind):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        torch.manual_seed(len(name) + seed)  # the process's own generator does not matter
        adapt(manifest, options(bases(kind), seed=seed), tmp_path / name)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert files(tmp_path / "a")["model.safetensors"] != files(tmp_path / "c")["model.safetensors"]


class KilledError(Exception):
    pass


@pytest.mark.parametrize("kind", ["hubert-group", "roberta"])
def test_a_killed_adaptation_goes_on_and_ends_the_same(bases, manifest, tmp_path, kind):
    chosen = options(bases(kind), epochs=4, patience=None)
    adapt(manifest, chosen, tmp_path / "whole")

    def kill(event: Any) -> None:
        if event.stage == "adapt" and event.done > 250:
            raise KilledError

    with pytest.raises(KilledError):
        adapt(manifest, chosen, tmp_path / "killed", kill)
    with pytest.raises(EncoderError, match="holds no config.json"):
        load_encoder("audio", EncoderSpec(name=str(tmp_path / "killed")))
    with pytest.raises(TrainingError, match="changed since this run began"):
        adapt(manifest, options(bases(kind), epochs=5), tmp_path / "killed")
    adapt(manifest, chosen, tmp_path / "killed")
    assert files(tmp_path / "whole") == files(tmp_path / "killed")

    again = adapt(manifest, chosen, tmp_path / "killed", kill)  # finished: nothing is trained
    assert again.note == json.loads((tmp_path / "whole" / ADAPTED).read_text())
    with pytest.raises(UsageError, match="other options or data"):
        adapt(manifest, options(bases(kind), epochs=5), tmp_path / "killed")


def test_the_folder_is_an_encoder_and_says_what_it_saw(bases, manifest, tmp_path):
    scheme = str(manifest.root / "two.yaml")
    chosen = options(
        bases("hubert-group"),
        objective="supervised",
        scheme=scheme,
        protocol=SPEAKER,
        fold="speaker s1",
    )
    note = adapt(manifest, chosen, tmp_path / "hubert-base-ls960").note
    test = [u.id for u in manifest if u.speaker == "s1"]
    used = {*note["utterances"]["train"], *note["utterances"]["dev"]}
    assert not used & set(test)
    assert len(used) == 24
    assert note["utterances"]["dev"]
    assert note["corpora"] == ["toy"]
    encoder = load_encoder("audio", EncoderSpec(name=str(tmp_path / "hubert-base-ls960")))
    (vector,) = encoder.encode([Item("a", waveform=np.ones(4000, np.float32) * 0.1)])
    assert vector.shape == (1, 32)
    provenance: Any = describe_encoder(encoder)["provenance"]
    assert provenance["labelled_on"] == provenance["adapted_on"] == ["toy"]
    assert provenance["pretrained_on"] == ["toy"]  # whatever the folder is called
    head = weights_of_head(tmp_path / "hubert-base-ls960")
    assert {name: tuple(one.shape) for name, one in head.items()} == {
        "0.weight": (2, 32),
        "0.bias": (2,),
    }

    further = adapt(
        manifest, options(tmp_path / "hubert-base-ls960", epochs=1), tmp_path / "further"
    ).note
    assert set(further["utterances"]["inherited"]) == used
    seen = read_adapted(tmp_path / "further")
    assert seen is not None
    assert used <= seen.ids
    assert seen.provenance.labelled_on == seen.provenance.adapted_on == ("toy",)


def weights_of_head(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "head.safetensors")


def recipe(manifest: Manifest, path: Path, encoder: Path, protocol: dict[str, Any]) -> Any:
    manifest.save(path / "toy.jsonl")
    return parse_recipe(
        {
            "name": "toy",
            "data": {
                "manifest": str(path / "toy.jsonl"),
                "scheme": {"name": "two", "classes": list(CLASSES)},
                "store": str(path / "store"),
            },
            "encoders": {"text": str(encoder)},
            "protocol": {**protocol, "allow": ["text"]},
            "trainer": {"epochs": 1, "device": "cpu"},
        }
    )


def test_training_refuses_test_utterances_that_the_encoder_saw(bases, manifest, tmp_path):
    chosen = options(
        bases("bert"), epochs=1, protocol={**SPEAKER, "allow": ["text"]}, fold="speaker s1"
    )
    adapt(manifest, chosen, tmp_path / "new")
    with pytest.raises(ProtocolError, match=r"the text encoder .* was adapted on 24 of 32 test"):
        train(recipe(manifest, tmp_path, tmp_path / "new", SPEAKER), tmp_path / "refused")
    assert not (tmp_path / "refused" / "metrics.json").exists()

    given = {"name": "given", "path": str(tmp_path / "new" / "fold.json")}
    run = train(recipe(manifest, tmp_path, tmp_path / "new", given), tmp_path / "own")
    assert "CONTAMINATED" not in run.metrics["stamp"]
    assert [job["fold"] for job in run.metrics["jobs"]] == ["speaker s1"]

    legacy = recipe(manifest, tmp_path, tmp_path / "new", {"name": "legacy-4m-ser"})
    run = train(legacy, tmp_path / "legacy")
    assert "CONTAMINATED: the text encoder was adapted, on" in run.metrics["stamp"]


def test_an_id_counts_with_its_corpus(tmp_path):
    note = {
        "labels": False,
        "corpora": ["toy"],
        "utterances": {"train": ["a"], "dev": ["b"], "inherited": ["c"]},
        "base": {"provenance": {}},
    }
    (tmp_path / ADAPTED).write_text(json.dumps(note))
    seen = read_adapted(tmp_path)
    assert seen is not None
    assert all(seen.saw(name, "toy") for name in ("a", "b", "c", "toy/a"))
    assert seen.saw("a", None)
    assert not seen.saw("a", "other")
    assert not seen.saw("d", "toy")
    (tmp_path / ADAPTED).write_text("{}")
    with pytest.raises(EncoderError, match="does not say what the encoder saw"):
        read_adapted(tmp_path)
    assert read_adapted(tmp_path / "nowhere") is None


def test_views():
    generator = torch.Generator().manual_seed(0)
    wave = np.arange(100, dtype=np.float32)
    starts = {int(crop(wave, 40, generator)[0]) for _ in range(300)}
    assert (min(starts), max(starts)) == (0, 60)
    assert crop(wave, 100, generator) is wave
    text = " ".join(map(str, range(20)))
    left = [len(drop_words(text, 0.15, generator).split()) for _ in range(400)]
    assert 16.5 < float(np.mean(left)) < 17.5
    assert drop_words("alone", 0.9, generator) == "alone"
    assert len(drop_words("a b c", 0.99, generator).split()) == 1


def test_bad_media_are_quarantined_and_counted(bases, manifest, tmp_path):
    shutil.copytree(manifest.root, tmp_path / "copy")
    (tmp_path / "copy" / "u00.wav").write_bytes(b"")
    broken = Manifest(manifest, tmp_path / "copy")
    note = adapt(broken, options(bases("hubert-group"), epochs=1), tmp_path / "new").note
    assert list(note["quarantined"]) == ["u00"]
    assert "u00" not in note["utterances"]["train"]
    assert len(note["utterances"]["train"]) == 15


@pytest.mark.parametrize(
    ("kind", "changes", "error", "message"),
    [
        ("bert", {"crop_seconds": 1.0}, OptionError, "'text' does not read 'crop_seconds'"),
        ("bert", {"class_weights": "balanced"}, OptionError, "does not read 'class_weights'"),
        ("bert", {"objective": "supervised"}, OptionError, "needs a label scheme"),
        ("bert", {"batch_size": 1}, OptionError, "batch_size of 2"),
        ("bert", {"fold": "s1"}, OptionError, "needs the protocol"),
        ("bert", {"freeze_layers": 3}, OptionError, "has 3 layers, so that nothing would learn"),
        (
            "hubert-group",
            {"modality": "text", "crop_seconds": None},
            EncoderError,
            "adaptation knows bert, roberta",
        ),
        ("data2vec-audio", {}, EncoderError, "adaptation knows hubert, wav2vec2, wavlm"),
        ("bert", {"protocol": SPEAKER}, ProtocolError, "makes 4 folds: name one"),
        ("bert", {"protocol": SPEAKER, "fold": "s9"}, ProtocolError, "no fold 's9'"),
    ],
)
def test_mistakes_are_one_line(bases, manifest, tmp_path, kind, changes, error, message):
    with pytest.raises(error, match=message):
        adapt(manifest, options(bases(kind), **changes), tmp_path / "new")


def test_without_a_train_split_a_protocol_must_be_named(bases, manifest, tmp_path):
    bare = Manifest([u.model_copy(update={"split": None}) for u in manifest], manifest.root)
    with pytest.raises(ProtocolError, match="name a protocol and a fold"):
        adapt(bare, options(bases("bert")), tmp_path / "new")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds no adaptation"):
        adapt(manifest, options(bases("bert")), tmp_path / "full")
    with pytest.raises(UsageError, match="is the encoder itself"):
        adapt(manifest, options(bases("bert")), bases("bert"))
