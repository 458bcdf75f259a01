from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from emofuse.errors import BundleError
from emofuse.labels import LabelScheme
from emofuse.models.bundle import BundleConfig, read_bundle, write_bundle
from emofuse.models.contract import Batch, FusionModel, Sequences


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        {
            name: Sequences(
                torch.randn(3, 2, dim, generator=generator), torch.ones(3, 2, dtype=torch.bool)
            )
            for name, dim in (("audio", 6), ("text", 4))
        }
    )


def test_round_trip(tmp_path: Path, toy: FusionModel, config: BundleConfig) -> None:
    write_bundle(tmp_path / "b", toy, config)
    before = torch.random.get_rng_state()
    model, read = read_bundle(tmp_path / "b")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not model.training
    torch.testing.assert_close(model(batch()).logits, toy(batch()).logits, rtol=0, atol=0)
    assert read.model_copy(update={"hashes": {}}) == config
    assert list(read.dims) == ["audio", "text"]
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_same_bytes_twice(tmp_path: Path, toy: FusionModel, config: BundleConfig) -> None:
    write_bundle(tmp_path / "a", toy, config)
    write_bundle(tmp_path / "b", toy, config)
    for name in ("README.md", "config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_write_refuses_what_does_not_fit(
    tmp_path: Path, toy: FusionModel, config: BundleConfig
) -> None:
    wrong = config.model_copy(update={"dims": {"audio": 7, "text": 4}})
    with pytest.raises(BundleError, match="takes sizes"):
        write_bundle(tmp_path, toy, wrong)
    five = LabelScheme(name="two", classes=("anger", "sadness"))
    with pytest.raises(BundleError, match="4 classes, scheme 'two' has 2"):
        write_bundle(tmp_path, toy, config.model_copy(update={"scheme": five}))
    with torch.no_grad():
        toy.state_dict()["last.bias"][0] = float("nan")
    with pytest.raises(BundleError, match=r"'last\.bias' holds NaN"):
        write_bundle(tmp_path, toy, config)
    assert not list(tmp_path.iterdir())


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "config.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def replace_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the weights and also the hash: a stranger's bundle, not a damaged one."""
    path = folder / "model.safetensors"
    state = safetensors.torch.load(path.read_bytes())
    change(state)
    data = safetensors.torch.save(state)
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    edit(folder, lambda r: r["hashes"].update({"model.safetensors": digest}))


def no_safetensors(folder: Path) -> None:
    data = b"\xff" * 64
    (folder / "model.safetensors").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    edit(folder, lambda r: r["hashes"].update({"model.safetensors": digest}))


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-17])


def flip(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"no model\.safetensors"),
    "no config": (lambda f: (f / "config.json").unlink(), r"no bundle: it holds no config\.json"),
    "cut short": (cut, "cut short or altered"),
    "one bit": (flip, "cut short or altered"),
    "no safetensors": (no_safetensors, "is no safetensors file"),
    "not JSON": (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
    "not UTF-8": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe{"), "is not JSON"),
    "deep JSON": (lambda f: (f / "config.json").write_text("[" * 99999), "is not JSON"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "not a JSON object"),
    "a folder": (
        lambda f: ((f / "model.safetensors").unlink(), (f / "model.safetensors").mkdir()),
        "cannot read",
    ),
    "huge config": (lambda f: (f / "config.json").write_text(" " * (5 << 20)), "not a bundle's"),
    "no hash": (lambda f: edit(f, lambda r: r["hashes"].clear()), "holds no hash"),
    "newer": (lambda f: edit(f, lambda r: r.update(format=99)), "format 99.*upgrade emofuse"),
    "odd format": (lambda f: edit(f, lambda r: r.update(format="1")), "format '1' is no"),
    "unknown key": (lambda f: edit(f, lambda r: r.update(clases=4)), "unknown key 'clases'"),
    "unknown model": (
        lambda f: edit(f, lambda r: r["model"].update(name="ty")),
        "unknown model 'ty'; did you mean 'toy'",
    ),
    "bad option": (
        lambda f: edit(f, lambda r: r["model"].update(options={"hiden": 5})),
        "unknown key 'hiden'",
    ),
    "class count": (
        lambda f: edit(f, lambda r: r["scheme"].update(classes=["anger", "sadness"], merges={})),
        r"calls for \(2",
    ),
    "feature size": (lambda f: edit(f, lambda r: r["dims"].update(audio=9)), "has shape"),
    "absurd size": (
        lambda f: edit(f, lambda r: r["model"].update(options={"hidden": 10**11})),
        "has shape",
    ),
    "no encoder": (
        lambda f: edit(f, lambda r: r["encoders"].pop("text")),
        "no encoder is described for 'text'",
    ),
    "tensor gone": (lambda f: replace_weights(f, lambda s: s.pop("last.bias")), "lacks the tensor"),
    "tensor more": (
        lambda f: replace_weights(f, lambda s: s.update(evil=torch.ones(1))),
        "'evil', which",
    ),
    "NaN": (
        lambda f: replace_weights(f, lambda s: s["last.bias"].fill_(float("nan"))),
        "holds NaN or infinity",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_damage_is_one_clear_line(
    tmp_path: Path, toy: FusionModel, config: BundleConfig, case: str
) -> None:
    write_bundle(tmp_path, toy, config)
    damage, message = CASES[case]
    damage(tmp_path)
    with pytest.raises(BundleError, match=message) as caught:
        read_bundle(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is missing; a bundle is a folder"):
        read_bundle(tmp_path / "none")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="is a file"):
        read_bundle(tmp_path / "file")


def test_card_says_what_matters(tmp_path: Path, toy: FusionModel, config: BundleConfig) -> None:
    write_bundle(tmp_path, toy, config)
    card = (tmp_path / "README.md").read_text()
    for part in (
        "anger, happiness, neutral, sadness",
        "| audio | logmel |",
        "| emodb | CC0 |",
        "leave-one-speaker-out",
        "speaker-independent: yes",
        "| 71.0 | 66.0 to 75.0 |",
        "clean: the audio encoder",
        "left out at random",
        "emofuse predict",
    ):
        assert part in card


def test_card_warns(tmp_path: Path, toy: FusionModel, config: BundleConfig) -> None:
    seen = dict(config.encoders["audio"])
    seen["provenance"] = {"known": True, "labelled_on": ["emodb"]}
    unknown = {"spec": {"name": "x|y\nz"}, "dim": 4}
    changed = config.model_copy(
        update={"encoders": {"audio": seen, "text": unknown}, "trained_with_dropout": False}
    )
    write_bundle(tmp_path, toy, changed)
    card = (tmp_path / "README.md").read_text()
    assert "**contaminated**: the audio encoder saw emodb" in card
    assert "unknown: nobody wrote down" in card
    assert "less reliable" in card
    assert r"| text | x\|y z |" in card


def test_card_says_what_its_probabilities_mean(
    tmp_path: Path, toy: FusionModel, config: BundleConfig
) -> None:
    write_bundle(tmp_path, toy, config)
    assert "nothing was held out to calibrate" in (tmp_path / "README.md").read_text()
    rules = {
        "options": {"scaling": "vector", "miss": 0.1, "risk": 0.2, "sets_by": "speaker"},
        "fitted_on": "inner folds",
        "items": 481,
        "speakers": 9,
        "corpora": {"emodb": {}},
        "answer_above": 0.62,
        "answered": 0.85,
        "notes": ["ravdess has 3 utterances held out: scaled with all others"],
    }
    write_bundle(tmp_path, toy, config.model_copy(update={"calibration": rules}))
    card = (tmp_path / "README.md").read_text()
    for part in (
        "Fitted on 481 utterances of 9 speakers (inner folds)",
        "scaling: vector, of its own for emodb",
        "the right one for 90 % of new speakers",
        "under a confidence of 0.62 an answer is marked as too unsure: 85 %",
        "at most 20 % of them wrongly",
        "ravdess has 3 utterances",
    ):
        assert part in card
    rules["answer_above"] = 2.0
    write_bundle(tmp_path, toy, config.model_copy(update={"calibration": rules}))
    assert "no confidence kept mistakes under 20 %" in (tmp_path / "README.md").read_text()


def test_licences_of_data_and_weights_follow_the_model(
    tmp_path: Path, toy: FusionModel, config: BundleConfig
) -> None:
    write_bundle(tmp_path, toy, config)
    assert "forbids commercial use" in (tmp_path / "README.md").read_text()
    seen = {**config.encoders["audio"], "provenance": {"licence": "CC BY-NC-SA 4.0"}}
    changed = config.model_copy(
        update={
            "encoders": {**config.encoders, "audio": seen},
            "data": config.data.model_copy(
                update={"licences": {"iemocap": "research, on signed request", "own": "your own"}}
            ),
        }
    )
    write_bundle(tmp_path, toy, changed)
    card = (tmp_path / "README.md").read_text()
    assert "- corpus iemocap: research, on signed request" in card
    assert "- audio encoder: CC BY-NC-SA 4.0" in card
    assert "- corpus own: licence your own, ask its owner" in card
    assert "forbids commercial use" not in card
