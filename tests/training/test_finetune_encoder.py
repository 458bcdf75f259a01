"""Encoders that learn: they start from the frozen features, and gradients reach them."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.speech import save_encoder

from emofuse.encoders.build import load_encoder
from emofuse.encoders.contract import EncoderSpec, Item
from emofuse.encoders.pooling import pool, thin
from emofuse.errors import MissingExtraError, OptionError
from emofuse.training.finetuning.backbone import open_backbone
from emofuse.training.finetuning.encoder import LearningEncoder
from emofuse.training.finetuning.lora import require_peft
from emofuse.training.finetuning.options import LoraOptions
from emofuse.training.finetuning.pooling import pool_frames, thin_frames

TEXTS = ("i am so happy !", "you are not", "it is sad . it is", "so")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    made: dict[str, Any] = {}

    def make(kind):
        if kind not in made:
            made[kind] = save_encoder(kind, tmp_path_factory.mktemp("models") / kind)
        return made[kind]

    return make


def waves(*lengths):
    random = np.random.default_rng(1)
    return [(0.1 * random.standard_normal(n) + 0.01).astype(np.float32) for n in lengths]


def make(folder, modality="audio", frozen=0, more=None, **options):
    spec = EncoderSpec(name=str(folder), **options)
    return LearningEncoder(open_backbone(modality, spec, "cpu"), frozen, **(more or {}))


def prepared(encoder, items):
    return [None if item is None else encoder.backbone.prepare(item) for item in items]


CASES = [
    ("whisper", {"layer": "mean", "pooling": "mean+std"}),
    ("whisper", {"layer": 2, "pooling": "stats"}),
    ("whisper", {"granularity": "frames", "stride": 3}),
    ("wav2vec2-group", {"layer": "mean"}),
    ("wav2vec2-layer", {"pooling": "max"}),
    ("hubert-group", {"layer": 2, "granularity": "frames"}),
    ("hubert-batch-norm", {"layer": -2}),
    ("wavlm-group", {"layer": "mean", "pooling": "mean+std"}),
    ("wavlm-layer", {"pooling": "mean+std"}),
    ("data2vec-audio", {"layer": "mean"}),
    ("bert", {"layer": "mean", "pooling": "mean+std"}),
    ("roberta", {"pooling": "cls"}),
    ("distilbert", {"granularity": "frames", "layer": 1}),
]


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_it_starts_from_the_frozen_features(models, kind, options):
    text = kind in ("bert", "roberta", "distilbert")
    items = [Item(str(n), text=t) for n, t in enumerate(TEXTS)]
    if not text:
        items = [Item(str(n), waveform=w) for n, w in enumerate(waves(9000, 4000, 300, 12001))]
    modality = "text" if text else "audio"
    spec = EncoderSpec(name=str(models(kind)), **options)
    frozen = load_encoder(modality, spec).encode(items)
    encoder = LearningEncoder(open_backbone(modality, spec, "cpu"), 0)
    encoder.eval()
    units = prepared(encoder, items)
    found = encoder([units[0], None, *units[1:]])
    assert found.present.tolist() == [True, False, *[True] * (len(items) - 1)]
    assert not found.values[1].any()
    for row, expected in zip([0, *range(2, len(items) + 1)], frozen, strict=True):
        own = found.values[row][found.mask[row]].detach().numpy()
        np.testing.assert_allclose(own, expected, atol=1e-4)
        assert not found.values[row][~found.mask[row]].any()
    alone = encoder([units[1]]).values[0].detach().numpy()
    np.testing.assert_allclose(alone, frozen[1], atol=1e-4)


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2-layer", "wavlm-group", "bert", "distilbert"])
def test_gradients_reach_what_learns_and_nothing_else(models, kind):
    text = kind in ("bert", "distilbert")
    encoder = make(models(kind), "text" if text else "audio", frozen=1, layer="mean")
    encoder.train()
    items = (
        [Item("", text=t) for t in TEXTS]
        if text
        else [Item("", waveform=w) for w in waves(9000, 4000, 2000)]
    )
    encoder(prepared(encoder, items)).values.square().sum().backward()
    learnt = encoder.learnt()
    dead = {name for name, one in learnt.items() if one.grad is None or not one.grad.any()}
    # A key's bias moves all scores of a query alike, and softmax does not see it.
    assert {
        name for name in dead if not name.endswith(("k_proj.bias", "key.bias", "k_lin.bias"))
    } == set()
    first, second = (list(encoder.backbone.layers[n].parameters()) for n in (0, 1))
    assert not any(one.requires_grad for one in first)
    assert all(one.requires_grad for one in second)
    below = {
        name for name, one in encoder.named_parameters() if one.grad is not None
    } - learnt.keys()
    assert not below


def test_frozen_modules_stay_in_evaluation_mode(models):
    for kind in ("hubert-batch-norm", "wavlm-layer", "whisper"):
        encoder = make(models(kind), frozen=2)
        before = {n: one.clone() for n, one in encoder.named_buffers()}
        encoder.train()
        learning = {id(m) for m in [*encoder.backbone.layers[2].modules(), *encoder.backbone.above]}
        for name, module in encoder.named_modules():
            if name:
                assert module.training == (id(module) in learning), name
        inputs = prepared(encoder, [Item("", waveform=w) for w in waves(9000, 4000)])
        one = encoder(inputs).values
        torch.manual_seed(5)
        encoder(inputs)
        assert one.requires_grad
        for name, buffer in encoder.named_buffers():
            torch.testing.assert_close(buffer, before[name], msg=name)
        encoder.eval()
        assert not any(module.training for module in encoder.modules())


def test_dropout_of_a_learning_layer_is_on_and_of_a_frozen_one_off(models):
    top = make(models("wav2vec2-group"), frozen=1, layer=2)
    inputs = prepared(top, [Item("", waveform=w) for w in waves(9000, 4000)])
    top.train()
    assert not torch.equal(top(inputs).values, top(inputs).values)
    for part in top.backbone.layers[1:]:
        part.eval()
    torch.testing.assert_close(top(inputs).values, top(inputs).values, rtol=0, atol=0)


def test_layers_learn_slower_the_lower_they_are(models):
    encoder = make(models("whisper"), frozen=1)
    groups = encoder.rate_groups(0.5)
    assert [share for _, share in groups] == [1.0, 1.0, 0.5]
    assert {id(p) for params, _ in groups for p in params} == {
        id(p) for p in encoder.learnt().values()
    }
    lowest = {id(p) for p in encoder.backbone.layers[1].parameters()}
    assert {id(p) for p in groups[-1][0]} == lowest


@pytest.mark.parametrize("kind", ["whisper", "wavlm-group", "bert"])
@pytest.mark.parametrize("layer", ["mean", 2])
def test_checkpointing_gives_the_same_gradients(models, kind, layer):
    modality = "text" if kind == "bert" else "audio"
    found = []
    for checkpointing in (False, True):
        encoder = make(
            models(kind), modality, frozen=1, layer=layer, more={"checkpointing": checkpointing}
        )
        items = (
            [Item("", text=t) for t in TEXTS]
            if kind == "bert"
            else [Item("", waveform=w) for w in waves(9000, 4000)]
        )
        encoder.train()
        torch.manual_seed(3)
        for _ in range(2):  # a second pass must not see the first one's states
            encoder(prepared(encoder, items)).values.square().sum().backward()
        found.append({n: one.grad for n, one in encoder.learnt().items()})
    for name, grad in found[0].items():
        torch.testing.assert_close(found[1][name], grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["whisper", "hubert-group", "bert"])
def test_low_rank_updates_start_at_nothing_and_merge_into_plain_weights(models, kind):
    modality = "text" if kind == "bert" else "audio"
    items = (
        [Item("", text=t) for t in TEXTS]
        if kind == "bert"
        else [Item("", waveform=w) for w in waves(9000, 4000)]
    )
    plain = make(models(kind), modality, layer="mean")
    names = {name for name, _ in plain.named_parameters()}
    before = {name: one.detach().clone() for name, one in plain.named_parameters()}
    encoder = make(
        models(kind),
        modality,
        frozen=1,
        layer="mean",
        more={"lora": LoraOptions(rank=2), "seed": 4},
    )
    learnt = encoder.learnt()
    assert len(learnt) == 2 * 2 * 2  # two factors, query and value, two layers
    assert all("lora_" in name for name in learnt)
    inputs = prepared(encoder, items)
    encoder.eval()
    torch.testing.assert_close(encoder(inputs).values, plain(inputs).values, rtol=0, atol=1e-6)
    encoder.train()
    optimiser = torch.optim.Adam(learnt.values(), lr=0.05)
    for _ in range(3):
        optimiser.zero_grad()
        encoder(inputs).values.square().sum().backward()
        optimiser.step()
    encoder.eval()
    with_updates = encoder(inputs).values
    assert (with_updates - plain(inputs).values).abs().max() > 1e-2
    encoder.merge()
    assert {name for name, _ in encoder.named_parameters()} == names
    torch.testing.assert_close(encoder(inputs).values, with_updates, rtol=1e-4, atol=1e-5)
    moved = {name for name, one in encoder.named_parameters() if not torch.equal(one, before[name])}
    assert len(moved) == 4
    again = make(models(kind), modality, layer="mean", more={"start": encoder.state()})
    torch.testing.assert_close(again(inputs).values, encoder(inputs).values, rtol=0, atol=1e-6)


def test_low_rank_updates_are_drawn_from_the_seed(models):
    first, same, other = (
        make(models("whisper"), more={"lora": LoraOptions(rank=2), "seed": seed})
        for seed in (1, 1, 2)
    )
    for name, one in first.learnt().items():
        assert torch.equal(one, same.learnt()[name])
    assert any(not torch.equal(one, other.learnt()[name]) for name, one in first.learnt().items())


def test_a_missing_peft_is_told_with_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.split(".")[0] == "peft":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'emofuse\[lora\]'"):
        require_peft()


@pytest.mark.parametrize(
    ("options", "more", "message"),
    [
        ({}, {"lora": LoraOptions(targets=("qproj",))}, "no layer has 'qproj'; legal: fc1, fc2"),
        ({"layer": 0}, {}, "lies below all that can learn"),
        ({"layer": 1, "frozen": 1}, {}, "depend on 1 layers.*legal: 0 to 0"),
    ],
)
def test_what_cannot_learn_is_one_clear_line(models, options, more, message):
    with pytest.raises(OptionError, match=message):
        make(models("whisper"), more=more, **options)
    with pytest.raises(OptionError, match="'logmel' cannot be fine-tuned"):
        open_backbone("audio", EncoderSpec(name="logmel"), "cpu")


@pytest.mark.parametrize("how", ["mean", "mean+std", "max", "cls", "stats"])
def test_pooling_is_that_of_the_store_and_has_a_gradient(how):
    random = np.random.default_rng(0)
    arrays = [random.normal(size=(n, 5)).astype(np.float32) for n in (1, 2, 7)]
    arrays.append(np.ones((4, 5), np.float32))  # no deviation, where a bare root has no gradient
    tensors = [torch.from_numpy(one).requires_grad_() for one in arrays]
    found = pool_frames(tensors, how)
    for row, one in zip(found, arrays, strict=True):
        np.testing.assert_allclose(row.detach().numpy(), pool(one, how)[0], atol=1e-5)
    found.sum().backward()
    assert all(torch.isfinite(one.grad).all() for one in tensors)
    assert all(one.grad.any() for one in tensors[1:3])


@pytest.mark.parametrize("frames", [1, 3, 4, 7])
def test_thinning_is_that_of_the_store(frames):
    array = np.random.default_rng(0).normal(size=(frames, 2)).astype(np.float32)
    for stride in (1, 2, 3):
        own = thin_frames(torch.from_numpy(array), stride).numpy()
        np.testing.assert_allclose(own, thin(array, stride), atol=1e-6)
