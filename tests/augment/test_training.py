"""Augmentation in a run: views of training items, recorded and cached; dev and test stay clean."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from emofuse.augment.draw import Draw
from emofuse.errors import OptionError
from emofuse.evaluation.label_leak import voiced_signal
from emofuse.features.augmented import Views, make_views
from emofuse.features.store import FeatureStore
from emofuse.manifest import Manifest, Utterance
from emofuse.media.audio import write_wav
from emofuse.training.augmenting import AugmentedFeeder, training_feeder
from emofuse.training.data import RunData, gather, load_manifest
from emofuse.training.feeder import Feeder
from emofuse.training.fit import Blueprint
from emofuse.training.judge import recognise
from emofuse.training.recipe import Recipe, parse_recipe
from emofuse.training.run import train
from emofuse.training.trainer import Trainer

LABELS = ("anger", "happiness", "neutral", "sadness")
STYLES = {"noise": {"noise": ["white"], "snr": [5, 10]}, "line": {"telephone": ["mu"]}, "as is": {}}
LBFGS = {"trainer": {"optimiser": "lbfgs"}, "model": {"name": "linear"}}


@pytest.fixture
def corpus(tmp_path: Path) -> dict[str, Any]:
    """24 short sounds of four speakers, and a recipe that trains on their spectrograms."""
    utterances = []
    for number in range(24):
        label = LABELS[number % 4]
        wave = voiced_signal(np.random.default_rng(number))[: 8000 + 400 * (number % 3)]
        write_wav(tmp_path / f"{number}.wav", wave)
        utterances.append(
            Utterance(
                id=f"u{number:02d}",
                audio=f"{number}.wav",
                text=f"these are some words {number}",
                emotion=label,
                speaker=f"s{number // 6}",
            )
        )
    Manifest(utterances, tmp_path).save(tmp_path / "toy.jsonl")
    return {
        "name": "toy",
        "data": {
            "manifest": str(tmp_path / "toy.jsonl"),
            "scheme": "basic4",
            "store": str(tmp_path / "store"),
        },
        "encoders": {"audio": "logmel:granularity=frames"},
        "model": {"name": "mlp", "hidden": 8},
        "protocol": {"name": "group-kfold", "by": "speaker", "k": 2, "dev": 0.3},
        "augment": {"policy": "class", "specaugment": True, "seed": 5},
        "trainer": {"epochs": 3, "batch_size": 8, "device": "cpu", "patience": None},
    }


def collect(data: dict[str, Any]) -> tuple[Recipe, RunData]:
    from emofuse.protocols.build import make_folds

    recipe = parse_recipe(data)
    manifest = load_manifest(recipe)
    _, folds = make_folds(manifest, recipe.protocol)
    return recipe, gather(recipe, manifest, folds)


def test_a_run_records_its_draws_and_says_that_they_read_labels(
    corpus: dict[str, Any], tmp_path: Path
) -> None:
    run = train(parse_recipe(corpus), tmp_path / "run")
    lines = (tmp_path / "run/augmentation.jsonl").read_text().splitlines()
    draws = [Draw.parse(json.loads(line)) for line in lines]
    assert len(draws) == 24 * 2
    by_id = {u.id: u.emotion for u in Manifest.load(tmp_path / "toy.jsonl")}
    assert all(draw.style == by_id[draw.utterance] for draw in draws)
    assert any("augment.policy=class changes training items" in n for n in run.metrics["notes"])
    note = json.loads((tmp_path / "run/data.json").read_text())["augmentation"]
    assert note["draws"] == 48
    assert note["failed"] == {}
    again = train(parse_recipe(corpus), tmp_path / "again")
    assert again.predictions.read_bytes() == run.predictions.read_bytes()
    off = train(parse_recipe({**corpus, "augment": {}}), tmp_path / "off")
    assert off.predictions.read_bytes() != run.predictions.read_bytes()
    assert not (tmp_path / "off/augmentation.jsonl").exists()


def test_a_killed_run_goes_on_with_the_same_draws(corpus: dict[str, Any], tmp_path: Path) -> None:
    corpus["trainer"] |= {"checkpoint_seconds": 0}
    whole = train(parse_recipe(corpus), tmp_path / "whole")
    calls = []

    def stop(event: Any) -> None:
        calls.append(event)
        if event.stage == "train" and len([c for c in calls if c.stage == "train"]) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(parse_recipe(corpus), tmp_path / "killed", stop)
    resumed = train(parse_recipe(corpus), tmp_path / "killed")
    assert resumed.predictions.read_bytes() == whole.predictions.read_bytes()


def test_views_are_cached_by_draw_and_version(corpus: dict[str, Any]) -> None:
    recipe, data = collect(corpus)
    made: list[str] = []
    args = (data.manifest, list(data.manifest.ids), recipe.augment, recipe.encoders)
    store = FeatureStore(Path(recipe.data.store))
    views, draws, failed = make_views(*args, store, progress=lambda event: made.append(event.stage))
    assert made == []
    assert failed == {}
    assert draws == data.draws
    assert torch.equal(views.features["audio"].values, data.views.features["audio"].values)
    fresh = recipe.augment.model_copy(update={"seed": 6})
    make_views(*args[:2], fresh, args[3], store, progress=lambda event: made.append(event.stage))
    assert set(made) == {"augment audio"}


def test_only_the_training_feeder_is_augmented(corpus: dict[str, Any]) -> None:
    corpus["augment"] |= {"p": 1.0, "specaugment": False}
    _, data = collect(corpus)
    train_part, dev = data.parts(data.folds[0])
    feeder = training_feeder(data.table, train_part)
    assert isinstance(feeder, AugmentedFeeder)
    everything = torch.arange(len(feeder))
    clean = Feeder(data.table, train_part.rows).batch(everything).modalities["audio"]
    before = feeder.batch(everything).modalities["audio"]
    assert torch.equal(before.values, clean.values)
    feeder.shuffled(4, torch.Generator().manual_seed(0))
    after = feeder.batch(everything).modalities["audio"]
    assert not torch.equal(after.values[:, : clean.values.shape[1]], clean.values)
    lengths = after.mask.sum(dim=1)
    assert (lengths != clean.mask.sum(dim=1)).any()
    assert not after.values[~after.mask].any()
    list(feeder.in_order(4))
    assert torch.equal(feeder.batch(everything).modalities["audio"].values, clean.values)
    assert dev is not None
    assert type(training_feeder(data.table, type(dev)(dev.rows, dev.targets, dev.groups))) is Feeder


def test_views_follow_their_items_through_selection_and_joining(corpus: dict[str, Any]) -> None:
    _, data = collect(corpus)
    train_part, dev = data.parts(data.folds[0])
    assert dev is not None
    whole = train_part.join(dev)
    picked = whole.take(torch.tensor([len(train_part), 0]))
    for part in (train_part, dev, whole, picked):
        assert isinstance(part.views, Views)
        for row, rows in zip(part.rows.tolist(), part.views.rows.tolist(), strict=True):
            assert {data.draws[place].utterance for place in rows} == {data.table.ids[row]}


def test_views_and_clean_items_share_an_epoch_by_p(corpus: dict[str, Any]) -> None:
    corpus["augment"] |= {"p": 0.25}
    _, data = collect(corpus)
    part, _ = data.parts(data.folds[0])
    feeder = AugmentedFeeder(data.table, part.rows, part.views)
    generator, taken = torch.Generator().manual_seed(0), []
    for _ in range(200):
        feeder.shuffled(8, generator)
        taken.append(feeder._chosen >= 0)
    assert float(torch.stack(taken).float().mean()) == pytest.approx(0.25, abs=0.03)


def test_balanced_makes_every_class_as_many_views_and_each_is_taken(corpus: dict[str, Any]) -> None:
    corpus["augment"] |= {"policy": "random", "balanced": True, "p": 1.0}
    recipe, data = collect(corpus)
    items = list(data.manifest)
    first = str(items[0].emotion)
    rare = [u for u in items if u.emotion == first][:2]
    kept = [u.id for u in items if u.emotion != first or u in rare]
    store = FeatureStore(Path(recipe.data.store))
    views, draws, failed = make_views(data.manifest, kept, recipe.augment, recipe.encoders, store)
    assert failed == {}
    by_id = {u.id: str(u.emotion) for u in items}
    counts = Counter(by_id[draw.utterance] for draw in draws)
    assert len(counts) > 1
    assert len(set(counts.values())) == 1  # as many of the rare class as of any other
    plain = recipe.augment.model_copy(update={"balanced": False})
    few = make_views(data.manifest, kept, plain, recipe.encoders, store)[1]
    assert {draw for draw in few if draw.view < 2} <= set(draws)  # the same views, and more
    feeder = AugmentedFeeder(data.table, torch.arange(len(items)), views)
    generator, taken = torch.Generator().manual_seed(0), []
    for _ in range(200):
        feeder.shuffled(8, generator)
        assert feeder._chosen is not None
        taken.append(feeder._chosen)
    chosen = torch.stack(taken)
    for place, utterance in enumerate(items):
        own = {row for row, draw in enumerate(draws) if draw.utterance == utterance.id}
        assert set(chosen[:, place].tolist()) == (own or {-1})


def test_masks_put_the_mean_of_the_training_frames(corpus: dict[str, Any]) -> None:
    corpus["augment"] = {"specaugment": True, "masks": {"bands": [5, 5], "band_p": 1, "times": 0}}
    _, data = collect(corpus)
    part, _ = data.parts(data.folds[0])
    feeder = training_feeder(data.table, part)
    everything = torch.arange(len(feeder))
    clean = feeder.batch(everything).modalities["audio"]
    mean = clean.values[clean.mask].mean(dim=0)
    feeder.shuffled(8, torch.Generator().manual_seed(0))
    found = feeder.batch(everything).modalities["audio"]
    changed = (found.values != clean.values).any(dim=1)
    assert changed.sum(dim=1).tolist() == [5] * len(feeder)
    item, bands = 0, changed[0]
    frames = int(found.mask[item].sum())
    torch.testing.assert_close(found.values[item, :frames, bands], mean[bands].expand(frames, 5))


def test_words_are_left_out_of_views(corpus: dict[str, Any]) -> None:
    corpus["encoders"] = {"text": "ngrams:dim=64"}
    corpus["augment"] = {"word_dropout": 0.5, "p": 1.0}
    _, data = collect(corpus)
    part, _ = data.parts(data.folds[0])
    assert set(part.views.features) == {"text"}
    feeder = training_feeder(data.table, part)
    everything = torch.arange(len(feeder))
    clean = feeder.batch(everything).modalities["text"].values.clone()
    feeder.shuffled(8, torch.Generator().manual_seed(0))
    assert not torch.equal(feeder.batch(everything).modalities["text"].values, clean)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoders": {"audio": "logmel"}}, "augment.specaugment hides bands"),
        ({"encoders": {"text": "ngrams"}, "augment": {"policy": "basic"}}, "changes waveforms"),
        ({"augment": {"word_dropout": 0.1}}, "changes texts"),
        (LBFGS, "augment.specaugment needs batches"),
        ({**LBFGS, "augment": {"policy": "basic", "balanced": True}}, "augment.balanced needs"),
        ({"augment": {"policy": "clas"}}, "augment.policy"),
    ],
)
def test_what_would_be_passed_over_is_an_error(
    corpus: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        parse_recipe({**corpus, **changes})


def test_a_bare_off_in_yaml_is_off(corpus: dict[str, Any]) -> None:
    assert parse_recipe({**corpus, "augment": {"policy": False}}).augment.policy == "off"


def test_an_unreadable_file_leaves_its_item_as_it_is(
    corpus: dict[str, Any], tmp_path: Path
) -> None:
    recipe, data = collect(corpus)
    (tmp_path / "3.wav").unlink()
    fresh = recipe.augment.model_copy(update={"seed": 9})
    store = FeatureStore(Path(recipe.data.store))
    views, _, failed = make_views(
        data.manifest, list(data.manifest.ids), fresh, recipe.encoders, store
    )
    assert list(failed) == ["u03"]
    assert int(views.features["audio"].lengths[views.rows[3]].sum()) == 0
    part, _ = data.parts(data.folds[0])
    whole = torch.arange(len(data.table.ids))
    feeder = AugmentedFeeder(
        data.table, whole, Views(views.features, views.rows, views.plan, 1.0, None)
    )
    clean = Feeder(data.table, whole).batch(torch.tensor([3])).modalities["audio"]
    feeder.shuffled(8, torch.Generator().manual_seed(0))
    found = feeder.batch(torch.tensor([3])).modalities["audio"]
    assert torch.equal(found.mask.sum(dim=1), clean.mask.sum(dim=1))
    assert len(part)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_lbfgs_learns_from_items_and_views_in_the_shares_in_which_they_are_drawn(
    corpus: dict[str, Any], p: float
) -> None:
    """The reference is scikit-learn's logistic regression with weighted items."""
    corpus |= {
        "encoders": {"audio": "logmel:pooling=mean"},
        "model": {"name": "linear"},
        "augment": {"policy": "random", "p": p, "views": 3, "styles": STYLES},
        "trainer": {"optimiser": "lbfgs", "epochs": 500, "weight_decay": 1.0, "device": "cpu"},
    }
    recipe, data = collect(corpus)
    part, _ = data.parts(data.folds[0])
    blueprint = Blueprint("linear", {}, ({"name": "cross-entropy"},), LABELS)
    fit = Trainer(blueprint, recipe.trainer).fit(data.table, part, None)
    clean = data.table.modalities["audio"].gather(part.rows).values[:, 0].numpy()
    views = part.views.features["audio"].gather(part.views.rows.flatten()).values[:, 0].numpy()
    labels = part.targets.labels.numpy()
    scaler = StandardScaler().fit(clean)  # views change no statistics
    weights = np.concatenate([np.full(len(clean), 1 - p), np.full(len(views), p / 3)])
    kept = weights > 0
    reference = LogisticRegression(C=1 / len(clean), tol=1e-8, max_iter=5000).fit(
        scaler.transform(np.concatenate([clean, views]))[kept],
        np.concatenate([labels, labels.repeat(3)])[kept],
        sample_weight=weights[kept],
    )
    test = data.table.rows(list(data.folds[0].test))
    shown = recognise(fit.model, Feeder(data.table, test)).logits.softmax(dim=1).numpy()
    heard = data.table.modalities["audio"].gather(test).values[:, 0].numpy()
    np.testing.assert_allclose(shown, reference.predict_proba(scaler.transform(heard)), atol=2e-3)
