"""The Copenhagen study: sizes, masks, attention, and what the released code does."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from tests.models.conformance import conform, draw_batch, fitted_model

from emofuse.errors import OptionError
from emofuse.layers.batch_norm import MaskedBatchNorm
from emofuse.layers.clip import crop_frames
from emofuse.layers.copenhagen_solo import decibels
from emofuse.layers.patches import cut_patches, sinusoid
from emofuse.layers.resnet import ResNet18
from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.objective import build_objective
from emofuse.models.build import build_model
from emofuse.models.contract import Batch, FusionModel, ModelSpec, Sequences
from emofuse.models.copenhagen import TAKES
from emofuse.training.builtin import recipe_files
from emofuse.training.recipe import load_recipe

MEL, TEXT = {"audio": 64}, {"text": 768}
BOTH = MEL | TEXT
VECTORS = {"audio": 768, "text": 768}
SMALL, SMALL_BOTH = {"audio": 16}, {"audio": 16, "text": 12}
CROSS = {"architecture": "cross-attention"}


def build(dims: Mapping[str, int], **options: Any) -> FusionModel:
    return build_model("copenhagen", options, ModelSpec(dict(dims), 4), seed=0)


@pytest.mark.parametrize(
    ("dims", "options", "count"),
    [
        (MEL, {"architecture": "resnet18"}, 11_236_420),
        (MEL, {"architecture": "resnet18", "variant": "published"}, 11_236_420),
        (MEL, {"architecture": "cnn-bilstm"}, 1_703_524),
        (MEL, {"architecture": "audio-transformer"}, 859_012),
        (TEXT, {"architecture": "text-mlp"}, 526_084),
        (TEXT, {"architecture": "text-mlp", "variant": "published"}, 526_084),
        (BOTH, {"architecture": "early-fusion", "variant": "published"}, 33_098_244),
        (BOTH, CROSS, 3_652_356),
    ],
)
def test_parameter_counts(dims: Mapping[str, int], options: dict[str, Any], count: int) -> None:
    assert sum(one.numel() for one in build(dims, **options).parameters()) == count


def test_vector_fusion_is_a_layer_of_1536_or_the_perceptron() -> None:
    options = {"architecture": "early-fusion", "variant": "published", "fusion": "w2v2+cls"}
    hidden = build(VECTORS, **options)
    perceptron = build(VECTORS, **options, classifier="mlp")
    sizes = [sum(one.numel() for one in m.parameters()) for m in (hidden, perceptron)]
    assert sizes == [1536 * 512 + 512 + 512 * 4 + 4, 1536 * 512 + 512 + 512 * 256 + 256 + 1028]
    assert list(hidden.network.widths) == ["text", "audio"]


@pytest.mark.parametrize(
    ("frames", "columns"), [(998, (250, 125, 63, 32)), (1001, (251, 126, 63, 32))]
)
def test_resnet_maps(frames: int, columns: tuple[int, ...]) -> None:
    values, mask = torch.zeros(1, frames, 64), torch.ones(1, frames, dtype=torch.bool)
    network = ResNet18().eval()
    assert sum(one.numel() for one in network.parameters()) == 11_170_240
    for stages, (height, width) in enumerate(zip((16, 8, 4, 2), columns, strict=True), start=1):
        part = ResNet18(stages).eval()
        with torch.no_grad():
            maps, found = part(values, mask)
        assert maps.shape == (1, part.channels, height, width)
        assert found.shape == (1, width)


@pytest.mark.parametrize(
    ("options", "dims", "lengths"),
    [
        ({"architecture": "resnet18"}, SMALL, {"audio": 70}),
        ({"architecture": "resnet18", "masked_gap": False, "max_frames": 48}, SMALL, {"audio": 40}),
        ({"architecture": "cnn-bilstm"}, SMALL, {"audio": 23}),
        ({"architecture": "cnn-bilstm", "pooling": "mean"}, SMALL, {"audio": 14}),
        ({"architecture": "audio-transformer"}, SMALL, {"audio": 23}),
        (
            {"architecture": "audio-transformer", "patch": "16x16", "positions": "sinusoid"},
            {"audio": 32},
            {"audio": 40},
        ),
        ({"architecture": "audio-transformer", "max_frames": 18}, SMALL, {"audio": 30}),
        ({"architecture": "text-mlp"}, {"text": 12}, {}),
        ({"architecture": "text-mlp"}, {"text": 12}, {"text": 5}),
        ({"architecture": "early-fusion"}, SMALL_BOTH, {"audio": 40, "text": 3}),
        ({"architecture": "early-fusion", "fusion": "w2v2+cls"}, SMALL_BOTH, {"audio": 4}),
        (
            {"architecture": "early-fusion", "fusion": "flatmel+cls", "max_frames": 20},
            SMALL_BOTH,
            {"audio": 20},
        ),
        (CROSS, SMALL_BOTH, {"audio": 23, "text": 9}),
        (CROSS | {"direction": "text->audio"}, SMALL_BOTH, {"audio": 23, "text": 9}),
        (CROSS | {"direction": "audio->text"}, SMALL_BOTH, {"audio": 23, "text": 9}),
        (CROSS | {"special_tokens": "drop"}, SMALL_BOTH, {"audio": 23, "text": 9}),
        (CROSS | {"audio_tokens": "resnet_map"}, SMALL_BOTH, {"audio": 40, "text": 4}),
    ],
    ids=lambda one: ",".join(f"{k}={v}" for k, v in one.items()) if isinstance(one, dict) else "",
)
def test_described_conforms(
    options: dict[str, Any], dims: dict[str, int], lengths: dict[str, int]
) -> None:
    conform("copenhagen", options, dims, lengths)


def test_ten_seconds_are_249_steps_or_patches() -> None:
    batch = draw_batch(MEL, {"audio": 998}, size=1)
    spectrogram = batch.modalities["audio"]
    with torch.no_grad():
        _, seen = (
            build(MEL, architecture="cnn-bilstm")
            .eval()
            .network.trunk(spectrogram.values, spectrogram.mask)
        )
        output = build(MEL, architecture="audio-transformer").eval()(batch)
    assert seen.shape == (1, 249)
    assert output.attention["audio"].shape == (1, 4, 1, 249)


def test_patches_are_cut_in_time() -> None:
    ramp = torch.arange(998.0)[None, :, None].expand(1, 998, 64)
    patches, real = cut_patches(ramp, torch.ones(1, 998, dtype=torch.bool), 4)
    whole = patches[0, :249]
    assert whole.shape == (249, 256)
    assert bool(real.all())
    assert all(len(one.unique()) == 4 for one in whole)
    squares, _ = cut_patches(ramp, torch.ones(1, 998, dtype=torch.bool), 16, 16)
    assert squares.shape == (1, 63 * 4, 256)
    assert all(len(one.unique()) == 16 for one in squares[0, :248])


def test_a_patch_is_real_if_one_frame_is() -> None:
    mask = torch.tensor([[True] * 5 + [False] * 7])
    _, real = cut_patches(torch.zeros(1, 12, 2), mask, 4)
    assert real.tolist() == [[True, True, False]]


def test_sinusoid_is_the_formula() -> None:
    table = sinusoid(7, 6)
    for place in range(7):
        for pair in range(3):
            angle = place / 10000 ** (2 * pair / 6)
            assert table[place, 2 * pair] == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[place, 2 * pair + 1] == pytest.approx(math.cos(angle), abs=1e-6)


def test_attention_sums_to_one_over_real_keys() -> None:
    batch = draw_batch(SMALL_BOTH, {"audio": 23, "text": 9})
    model = fitted_model("copenhagen", CROSS, SMALL_BOTH, batch)
    with torch.no_grad():
        output = model(batch)
    assert set(output.attention) == {
        f"{n}{layer}" for n in ("audio->text", "text->audio") for layer in ("", "#1")
    }
    patches = cut_patches(*_pair(batch, "audio"), 4)[1]
    for name, keys in (("audio->text", batch.modalities["text"].mask), ("text->audio", patches)):
        for layer in ("", "#1"):
            weights = output.attention[name + layer]
            torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))
            assert not bool(weights.masked_select(~keys[:, None, None, :]).any())
    assert not bool(output.extras["constant_attention"].any())


def test_permuting_padded_tokens_changes_nothing() -> None:
    batch = draw_batch(SMALL_BOTH, {"audio": 23, "text": 9})
    model = fitted_model("copenhagen", CROSS, SMALL_BOTH, batch)
    text = batch.modalities["text"]
    noise = torch.randn_like(text.values)
    noisy = torch.where(text.mask[..., None], text.values, noise)
    turned = torch.where(text.mask[..., None], text.values, noise.flip(1))
    with torch.no_grad():
        answers = [
            model(Batch({**batch.modalities, "text": Sequences(values, text.mask)})).logits
            for values in (text.values, noisy, turned)
        ]
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[1], answers[2])


def test_cls_alone_makes_attention_constant_and_says_so() -> None:
    batch = draw_batch(SMALL_BOTH, {"audio": 23, "text": 9})
    with pytest.warns(UserWarning, match="attention is 1 everywhere"):
        model = fitted_model("copenhagen", CROSS | {"text_tokens": "cls"}, SMALL_BOTH, batch)
    with torch.no_grad():
        output = model(batch)
    weights = output.attention["audio->text"]
    assert weights.shape[-1] == 1
    assert torch.equal(weights, torch.ones_like(weights))
    assert bool(output.extras["constant_attention"].all())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(SMALL_BOTH, **CROSS, text_tokens="cls", direction="text->audio")


def test_padding_is_exactly_zero_after_the_z_score() -> None:
    batch = draw_batch(SMALL, {"audio": 40}, size=32)
    part = batch.modalities["audio"]
    shifted = Batch({"audio": Sequences((part.values * 3 + 7) * part.mask[..., None], part.mask)})
    model = fitted_model("copenhagen", {"architecture": "resnet18"}, SMALL, shifted)
    taken = model._take_in("audio", shifted.modalities["audio"])
    assert not bool(taken.values[~taken.mask].any())
    frames = taken.values[taken.mask]
    torch.testing.assert_close(frames.mean(dim=0), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(frames.std(dim=0, correction=0), torch.ones(16), atol=1e-4, rtol=0)


def test_longer_clips_are_cut_at_random_in_training_and_in_the_middle_otherwise() -> None:
    values = torch.arange(30.0)[None, :, None].repeat(200, 1, 1)
    mask = torch.ones(200, 30, dtype=torch.bool)
    mask[1, 21:] = False
    middle, real = crop_frames(values, mask, 20)
    assert middle[0, 0] == 5
    assert middle[1, 0] == 0
    assert bool(real.all())
    torch.manual_seed(0)
    drawn, _ = crop_frames(values, mask, 20, random=True)
    starts = drawn[2:, 0, 0]
    assert set(starts.long().tolist()) == set(range(11))
    assert torch.equal(drawn[2, :, 0], starts[0] + torch.arange(20.0))
    torch.manual_seed(0)
    assert torch.equal(crop_frames(values, mask, 20, random=True)[0], drawn)
    batch = draw_batch(SMALL, {"audio": 40})
    drawing, fixed = (
        build(SMALL, architecture="resnet18", max_frames=16, crop=crop).train()
        for crop in ("random", "centre")
    )
    part = batch.modalities["audio"]
    assert not torch.equal(*(drawing._take_in("audio", part).values for _ in range(2)))
    assert torch.equal(*(fixed._take_in("audio", part).values for _ in range(2)))


def test_batch_norm_leaves_padding_out() -> None:
    torch.manual_seed(0)
    values, ours, reference = torch.randn(3, 5, 4, 9), MaskedBatchNorm(5), torch.nn.BatchNorm2d(5)
    torch.testing.assert_close(ours(values), reference(values))
    torch.testing.assert_close(ours.running_var, reference.running_var)
    mask = torch.arange(9) < torch.tensor([9, 4, 1])[:, None]
    real = values.transpose(1, 3)[mask]  # (columns, height, channels)
    ours, reference = MaskedBatchNorm(5), torch.nn.BatchNorm2d(5)
    found = ours(values.masked_fill(~mask[:, None, None], 99.0), mask)
    expected = reference(real.permute(0, 2, 1)[..., None])[..., 0].permute(0, 2, 1)
    torch.testing.assert_close(found.transpose(1, 3)[mask], expected)
    torch.testing.assert_close(ours.running_mean, reference.running_mean)
    torch.testing.assert_close(ours.running_var, reference.running_var)
    assert not bool(found.transpose(1, 3)[~mask].any())


def test_training_is_as_blind_to_padding_as_evaluation() -> None:
    batch = draw_batch(SMALL, {"audio": 40})
    part = batch.modalities["audio"]
    pad = torch.nn.functional.pad
    longer = Batch({"audio": Sequences(pad(part.values, (0, 0, 0, 9)), pad(part.mask, (0, 9)))})
    logits = [
        build(SMALL, architecture="resnet18", dropout=0.0).train()(one).logits
        for one in (batch, longer)
    ]
    torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-4)


def test_published_resnet_reads_the_padding_as_the_loudest_sound() -> None:
    batch = draw_batch(MEL, {"audio": 60}, size=2)
    part = batch.modalities["audio"]
    loud = decibels(*_pair(batch, "audio"))
    assert float(loud.amax()) == 0.0
    assert float(loud.amin()) >= -80.0
    assert not bool(loud[~part.mask].any())
    model = build(MEL, architecture="resnet18", variant="published").eval()
    assert model.needs() == {"audio"}
    assert not list(model.standardise)
    with torch.no_grad():
        whole = model(batch).logits[1]
        shorter = part.mask.clone()
        shorter[1, 10:] = False
        cut = model(Batch({"audio": Sequences(part.values, shorter)})).logits[1]
    assert not torch.allclose(whole, cut)


def test_class_maps_are_blank_on_padding() -> None:
    batch = draw_batch(SMALL, {"audio": 70}, size=2)
    part = batch.modalities["audio"]
    mask = part.mask.clone()
    mask[1, 20:] = False
    model = fitted_model("copenhagen", {"architecture": "resnet18"}, SMALL, batch)
    kept: list[torch.Tensor] = []
    handle = model.network.trunk.resnet.stages[2][1].register_forward_hook(
        lambda _module, _given, found: kept.append(found[0])
    )
    logits = model(Batch({"audio": Sequences(part.values, mask)})).logits
    handle.remove()
    found = []
    for label in range(4):
        (slope,) = torch.autograd.grad(logits[:, label].sum(), kept[0], retain_graph=True)
        found.append((slope.mean(dim=(2, 3), keepdim=True) * kept[0]).sum(dim=1).relu())
    heat = torch.stack(found)
    assert heat.shape == (4, 2, 1, 5)
    assert bool(heat[:, 0].any())
    assert bool(heat[:, 1, :, :2].any())
    assert not bool(heat[:, 1, :, 2:].any())


@pytest.mark.parametrize(
    ("dims", "options", "message"),
    [
        (TEXT, {"architecture": "resnet18"}, "takes audio; the encoders give text"),
        (MEL, {"architecture": "text-mlp", "max_frames": 50}, "does not read 'max_frames'"),
        (MEL, {"architecture": "resnet18", "pooling": "mean"}, "does not read 'pooling'"),
        (BOTH, {"architecture": "early-fusion", "classifier": "mlp"}, "does not read 'classifier'"),
        (BOTH, CROSS | {"variant": "published"}, "never released"),
        (MEL, {"architecture": "cnn-bilstm", "variant": "published"}, "never released"),
        (
            BOTH,
            {"architecture": "early-fusion", "variant": "published", "fusion": "resnet+cls"},
            "never released",
        ),
        (
            MEL,
            {"architecture": "resnet18", "variant": "published", "masked_gap": True},
            "the released code has no 'masked_gap'",
        ),
        (BOTH, CROSS | {"text_tokens": "cls", "special_tokens": "drop"}, "special_tokens"),
        (MEL, {"architecture": "resnet-18"}, "architecture = 'resnet-18'"),
    ],
)
def test_options_that_are_not_read_are_errors(
    dims: Mapping[str, int], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        build(dims, **options)


@pytest.mark.parametrize(
    ("options", "dims"),
    [
        ({"architecture": "resnet18"}, SMALL),
        ({"architecture": "cnn-bilstm"}, SMALL),
        ({"architecture": "audio-transformer"}, SMALL),
        (CROSS, SMALL_BOTH),
    ],
)
def test_starts_near_chance_and_learns_sixteen_items(
    options: dict[str, Any], dims: dict[str, int]
) -> None:
    batch = draw_batch(dims, {"audio": 24, "text": 5}, size=16, seed=4)
    labels = torch.arange(16) % 4
    model = fitted_model("copenhagen", options | {"dropout": 0.0}, dims, batch)
    terms = build_objective(
        [{"name": "cross-entropy"}], LossContext(torch.bincount(labels), {}, ("a", "b", "c", "d"))
    )
    with torch.no_grad():
        start = float(terms(model(batch), Targets(labels))[0])
    assert start == pytest.approx(math.log(4), abs=0.5)
    model.train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(40):
        loss, _ = terms(model(batch), Targets(labels))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if float(loss.detach()) < 0.2:
            break
    assert float(loss.detach()) < 0.2


def _pair(batch: Batch, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    return batch.modalities[name].values, batch.modalities[name].mask


RECIPES = sorted(name for name in recipe_files() if name.startswith("copenhagen/"))
DATA = ["data.manifest=x.jsonl", "data.scheme=basic4"]


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_load_with_every_row_of_their_ablations(name: str) -> None:
    recipe = load_recipe(name, DATA)
    assert recipe.name == name
    if "legacy" not in name:
        assert recipe.protocol["name"] == "leave-one-session-out"
    for row in recipe.ablations.values():
        load_recipe(name, [*DATA, *row])


def test_every_architecture_has_a_recipe() -> None:
    found = {load_recipe(name, DATA).model["architecture"] for name in RECIPES}
    assert found == set(TAKES)
