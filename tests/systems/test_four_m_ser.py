"""4M-SER, its forerunners and its successor: sizes, invariances, measured facts of the original."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.conformance import conform, draw_batch, fitted_model

from emofuse.encoders.vggish_network import VGGishNetwork
from emofuse.errors import FeatureError, OptionError
from emofuse.features.table import FeatureTable, Ragged
from emofuse.layers.frame_norm import min_max
from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.objective import build_objective
from emofuse.models.build import build_model
from emofuse.models.contract import Batch, FusionModel, ModelSpec, Sequences
from emofuse.models.four_m_ser import FourMSER
from emofuse.training.builtin import recipe_files
from emofuse.training.fit import Blueprint
from emofuse.training.options import TrainerOptions
from emofuse.training.parts import Part
from emofuse.training.recipe import load_recipe, recipe_mapping
from emofuse.training.trainer import Trainer

SMALL = {"audio": 16, "text": 24}
LENGTHS = {"audio": 9, "text": 6}
VGGISH = {"audio": 6144, "text": 16}
CLASSES = ("anger", "happiness", "neutral", "sadness")


def build(dims: Mapping[str, int], name: str = "four-m-ser", **options: Any) -> FusionModel:
    return build_model(name, options, ModelSpec(dict(dims), 4), seed=1)


def size(model: torch.nn.Module) -> int:
    return sum(one.numel() for one in model.parameters())


@pytest.mark.parametrize(
    ("dims", "options", "parameters"),
    [
        ({"audio": 128, "text": 768}, {}, 2_552_644),
        ({"audio": 768, "text": 768}, {}, 6_017_476),
        ({"audio": 128, "text": 768}, {"architecture": "3m-ser"}, 2_552_644),
        # Linear(768, 128), Linear(256, 64), Linear(64, 4)
        ({"audio": 128, "text": 768}, {"architecture": "server"}, 98_432 + 16_448 + 260),
    ],
)
def test_published_sizes(dims: dict[str, int], options: dict[str, Any], parameters: int) -> None:
    assert size(build(dims, variant="published", **options)) == parameters


def test_published_memocmt_builds_an_attention_that_it_does_not_use() -> None:
    dims = {"audio": 768, "text": 768}
    model = build(dims, "memocmt", variant="published")
    block = 4 * (768 * 768 + 768) + (768 * 768 + 768) + 2 * 768
    assert size(model) == 3 * block + (768 * 128 + 128) + (128 * 4 + 4) == 8_962_436
    described = build(dims, "memocmt")
    assert size(described) == 8_962_436 - block + 2 * 768  # two tokens for what is absent
    model(draw_batch(dims, size=3)).logits.sum().backward()
    without = {key.split(".")[0] for key, one in model.named_parameters() if one.grad is None}
    assert without == {"unused"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pooling": "mean", "residual": False, "audio_norm": "minmax"},
        {"pooling": "max", "audio_norm": "none"},
        {"pooling": "attention", "width": 32, "head": [12, 8], "heads": 4},
        {"fusion": "concat", "pooling": "attention"},
        {"fusion": "none", "pooling": "mean"},
        {"architecture": "3m-ser", "normalise": False},
        {"architecture": "server"},
    ],
)
def test_described_conforms(options: dict[str, Any]) -> None:
    conform("four-m-ser", options, SMALL, LENGTHS)


def test_published_memocmt_with_cls_never_reads_its_second_block() -> None:
    batch = draw_batch(SMALL, LENGTHS, size=3)
    model = build(SMALL, "memocmt", variant="published", pooling="cls", width=32)
    model(batch).logits.sum().backward()
    assert not any(bool(one.grad.any()) for one in model.blocks["audio"].parameters())
    assert all(bool(one.grad.any()) for one in model.blocks["text"].parameters() if one.ndim > 1)


@pytest.mark.parametrize("pooling", ["min", "mean", "max", "cls", "attention"])
def test_memocmt_conforms(pooling: str) -> None:
    conform("memocmt", {"pooling": pooling, "width": 32}, SMALL, LENGTHS)


def test_one_modality_is_pooled_and_classified() -> None:
    for name, dim in SMALL.items():
        alone = {name: dim}
        for pooling in ("cls", "mean", "max", "attention"):
            conform("four-m-ser", {"pooling": pooling}, alone, LENGTHS)
        assert size(build(alone)) == dim * 64 + 64 + 64 * 4 + 4


def test_own_vggish_conforms() -> None:
    conform("four-m-ser", {"vggish": {}}, VGGISH, {"audio": 2, "text": 3})


LOSSES = [
    {"name": "cross-entropy"},
    {"name": "contrastive-center"},
    {"name": "center", "of": "text"},
    {"name": "arcface", "of": "audio"},
]


def test_feature_losses_teach_it_and_their_own_parameters() -> None:
    conform("four-m-ser", {}, SMALL, LENGTHS, objective=LOSSES)
    conform("memocmt", {"width": 32}, SMALL, LENGTHS, objective=LOSSES)


def reference(model: FusionModel, text: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
    """One item through torch's own attention, with the weights of a published model."""
    state = model.state_dict()

    def attend(prefix: str, values: torch.Tensor) -> torch.Tensor:
        module = torch.nn.MultiheadAttention(values.shape[-1], 8, batch_first=True)
        parts = [f"{prefix}.attention.{name}" for name in ("query", "key", "value")]
        module.load_state_dict(
            {
                "in_proj_weight": torch.cat([state[f"{part}.weight"] for part in parts]),
                "in_proj_bias": torch.cat([state[f"{part}.bias"] for part in parts]),
                "out_proj.weight": state[f"{prefix}.attention.output.weight"],
                "out_proj.bias": state[f"{prefix}.attention.output.bias"],
            }
        )
        found = module.eval()(values, values, values)[0]
        found = found @ state[f"{prefix}.linear.weight"].T + state[f"{prefix}.linear.bias"]
        norm = state[f"{prefix}.norm.weight"], state[f"{prefix}.norm.bias"]
        return torch.nn.functional.layer_norm(found, found.shape[-1:], *norm)

    norm = state["network.audio_norm.layer.weight"], state["network.audio_norm.layer.bias"]
    sound = torch.nn.functional.layer_norm(audio, audio.shape[-1:], *norm)
    joint = torch.cat([attend("network.text", text), sound], dim=1)
    return attend("network.fusion", joint)


def test_published_is_the_equations() -> None:
    model = build(SMALL, variant="published", pooling="cls").eval()
    mean = build(SMALL, variant="published", pooling="mean").eval()
    mean.load_state_dict(model.state_dict())
    batch = draw_batch(SMALL, LENGTHS, size=1)
    parts = batch.modalities
    whole = reference(model, parts["text"].values, parts["audio"].values)
    with torch.no_grad():
        torch.testing.assert_close(model(batch).embeddings["fused"], whole[:, 0])
        torch.testing.assert_close(mean(batch).embeddings["fused"], whole.mean(dim=1))
        torch.testing.assert_close(model(batch).logits, model.head(whole[:, 0]))


def test_described_without_residuals_is_published_with_masks() -> None:
    published = build(SMALL, variant="published").eval()
    described = build(SMALL, residual=False, normalise=False).eval()
    described.load_state_dict(published.state_dict(), strict=False)
    batch = draw_batch(SMALL, LENGTHS)
    first = Batch(
        {name: Sequences(part.values[:1], part.mask[:1]) for name, part in batch.modalities.items()}
    )
    with torch.no_grad():
        torch.testing.assert_close(published(first).logits, described(first).logits)
        torch.testing.assert_close(described(batch).logits[:1], described(first).logits)
        apart = (published(batch).logits - described(batch).logits).abs().amax(dim=1)
    assert float(apart[0]) < 1e-5  # the longest has no padding
    assert float(apart[1:].max()) > 1e-3  # the others attend to theirs


def test_published_needs_both_and_described_does_not() -> None:
    published, described = build(SMALL, variant="published"), build(SMALL)
    assert published.needs() == {"audio", "text"}
    assert described.needs() == frozenset()
    batch = draw_batch(SMALL, LENGTHS)
    for model in (published, build(SMALL, "memocmt", variant="published")):
        with pytest.raises(FeatureError, match="the batch holds text"):
            model(batch.only("text"))
    with pytest.raises(FeatureError, match="the batch holds nothing"):
        described(Batch({"video": batch.modalities["text"]}).only("text"))


def test_audio_moves_a_cls_decision_little_without_residuals() -> None:
    """With pooling cls and no audio mass in one attention row, audio could not move anything."""
    batch = draw_batch(SMALL, LENGTHS)
    model = fitted_model("four-m-ser", {"residual": False}, SMALL, batch)
    with torch.no_grad():
        output = model(batch)
    shape = output.attention["joint->joint"].shape
    assert shape == (8, 8, 1, LENGTHS["audio"] + LENGTHS["text"])
    rows = output.attention["joint->joint"].mean(dim=1)[:, 0]
    torch.testing.assert_close(output.weights["text"], rows[:, : LENGTHS["text"]].sum(dim=1))
    torch.testing.assert_close(output.weights["audio"], rows[:, LENGTHS["text"] :].sum(dim=1))


def test_minmax_of_the_batch_divides_by_zero_and_that_of_the_item_does_not() -> None:
    same = torch.full((2, 3, 4), 5.0)
    assert bool(torch.isnan(min_max(same, None)).all())
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert not bool(min_max(same, mask).any())
    values = torch.randn(2, 3, 4)
    found = min_max(values, mask)
    for item, frames in ((0, 2), (1, 1)):
        real = values[item, :frames]
        expected = (real - real.min()) / (real.max() - real.min())
        torch.testing.assert_close(found[item, :frames], expected)
    assert not bool(found[~mask].any())


@pytest.mark.parametrize(
    ("variant", "vggish", "reached"),
    [
        ("published", {"postprocess": "none"}, True),
        ("described", {"postprocess": "pca"}, True),
        ("described", {}, True),
        ("published", {}, False),  # quantised, as released
        ("described", {"postprocess": "quantised"}, False),
    ],
)
def test_gradient_reaches_vggish_unless_quantised(
    variant: str, vggish: dict[str, Any], reached: bool
) -> None:
    model = build(VGGISH, variant=variant, vggish=vggish)
    batch = draw_batch(VGGISH, {"audio": 2, "text": 3}, size=2)
    model.train()(batch).logits.square().sum().backward()
    grads = [one.grad for one in model.vggish.parameters()]
    assert all(one is not None for one in grads)
    norm = math.sqrt(sum(float(one.square().sum()) for one in grads))
    assert norm > 0.0 if reached else norm == 0.0


def test_weights_are_read_once_and_what_was_learned_stays(tmp_path: Any) -> None:
    donor = build(VGGISH, vggish={})
    torch.save(donor.vggish.network.state_dict(), tmp_path / "vggish.pth")
    batch = draw_batch(VGGISH, {"audio": 1, "text": 2}, size=2)
    other = build_model(
        "four-m-ser", {"vggish": {"weights": str(tmp_path)}}, ModelSpec(VGGISH, 4), seed=9
    )
    key = "network.embeddings.4.bias"
    assert not torch.equal(other.vggish.state_dict()[key], donor.vggish.state_dict()[key])
    other.fit_normalisation(batch)
    assert torch.equal(other.vggish.state_dict()[key], donor.vggish.state_dict()[key])
    with torch.no_grad():
        other.vggish.network.embeddings[4].bias.add_(1.0)
    (tmp_path / "vggish.pth").unlink()  # a trained model carries its own
    kept = build_model(
        "four-m-ser", {"vggish": {"weights": str(tmp_path)}}, ModelSpec(VGGISH, 4), seed=3
    )
    kept.load_state_dict(other.state_dict())
    kept.fit_normalisation(batch)
    assert torch.equal(kept.vggish.state_dict()[key], other.vggish.state_dict()[key])


@pytest.mark.parametrize(
    ("dims", "options", "message"),
    [
        (SMALL, {"architecture": "server", "pooling": "mean"}, "'server' does not read 'pooling'"),
        (SMALL, {"fusion": "none"}, "never looks at audio"),
        (SMALL, {"variant": "published", "residual": True}, "no 'residual'"),
        (SMALL, {"variant": "published", "pooling": "max"}, "TypeError"),
        (SMALL, {"variant": "published", "fusion": "concat"}, "no such"),
        (SMALL, {"head": [0]}, "widths of 1 or more"),
        ({"text": 24}, {"heads": 4}, "text alone: 'heads' is not read"),
        ({"text": 24}, {"variant": "published"}, "needs two"),
        ({"text": 24, "video": 8}, {}, "not video"),
        ({"text": 20, "audio": 16}, {}, "8 heads do not divide text tokens of 20"),
        ({"text": 24, "audio": 20}, {}, "8 heads do not divide width of 20"),
        (SMALL, {"vggish": {}}, "vggish-patches"),
        (SMALL, {"pooling": "min"}, "pooling"),
    ],
)
def test_mistakes_are_one_clear_line(
    dims: Mapping[str, int], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        build(dims, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dims", "options", "message"),
    [
        ({"text": 24}, {}, "takes text and audio"),
        ({"text": 20, "audio": 16}, {}, "8 heads do not divide text"),
        (SMALL, {"variant": "published", "normalise": True}, "no 'normalise'"),
        (SMALL, {"variant": "published", "pooling": "attention"}, "no pooling"),
    ],
)
def test_memocmt_mistakes(dims: Mapping[str, int], options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        build(dims, "memocmt", **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("four-m-ser", {}),
        ("four-m-ser", {"architecture": "server"}),
        ("four-m-ser", {"variant": "published", "pooling": "mean"}),
        ("memocmt", {"width": 16}),
    ],
)
def test_starts_near_chance_and_learns_sixteen_items(name: str, options: dict[str, Any]) -> None:
    batch = draw_batch(SMALL, LENGTHS, size=16, seed=4)
    labels = torch.arange(16) % 4
    model = fitted_model(name, options | {"dropout": 0.0}, SMALL, batch)
    terms = build_objective(
        [{"name": "cross-entropy"}], LossContext(torch.bincount(labels), {}, CLASSES)
    )
    with torch.no_grad():
        start = float(terms(model(batch), Targets(labels))[0])
    assert start == pytest.approx(math.log(4), abs=0.6)
    model.train()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(100):
        loss, _ = terms(model(batch), Targets(labels))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.2


def toy(dims: Mapping[str, int], items: int, frames: int = 3) -> tuple[FeatureTable, Part, Part]:
    """Four classes that both modalities tell apart, cut into train and dev."""
    random = np.random.default_rng(0)
    labels = np.arange(items) % 4
    modalities = {}
    for name, dim in dims.items():
        centres = random.normal(size=(4, dim))
        arrays = [
            (
                centres[label] + random.normal(size=(int(random.integers(1, frames + 1)), dim))
            ).astype(np.float32)
            for label in labels
        ]
        modalities[name] = Ragged.from_arrays(arrays, dim)
    table = FeatureTable(tuple(f"u{number}" for number in range(items)), modalities, {})
    cut = items * 3 // 4
    parts = [
        Part(rows, Targets(torch.from_numpy(labels)[rows]), rows % 5)
        for rows in (torch.arange(cut), torch.arange(cut, items))
    ]
    return table, parts[0], parts[1]


def trainer(name: str, options: dict[str, Any], objective: Any, **given: Any) -> Trainer:
    common = {"device": "cpu", "patience": None, "schedule": "constant", "weight_decay": 0.0}
    blueprint = Blueprint(name, options, tuple(objective), CLASSES)
    return Trainer(blueprint, TrainerOptions.parse(common | given))


@pytest.mark.parametrize(
    ("name", "options", "objective"),
    [
        ("four-m-ser", {}, [{"name": "cross-entropy"}, {"name": "contrastive-center"}]),
        ("four-m-ser", {}, [{"name": "focal", "gamma": 1.5}]),
        ("four-m-ser", {}, [{"name": "cross-entropy"}, {"name": "cosface"}]),
        ("four-m-ser", {"pooling": "mean"}, [{"name": "uncertainty"}]),
        ("memocmt", {"width": 32}, [{"name": "cross-entropy"}, {"name": "center", "weight": 0.1}]),
    ],
)
def test_trains_on_a_toy_corpus(name: str, options: dict[str, Any], objective: Any) -> None:
    table, train, dev = toy(SMALL, 80)
    made = trainer(
        name, options, objective, epochs=15, learning_rate=3e-3, objective_learning_rate=1e-2
    )
    history = made.fit(table, train, dev).history
    assert history[-1]["loss"] < history[0]["loss"]
    assert max(row["dev_ua"] for row in history) > 0.6


def test_two_stages_first_without_and_then_with_vggish() -> None:
    table, train, _ = toy(VGGISH, 8, frames=1)
    key = "vggish.network.embeddings.4.weight"
    stages = [
        {"name": "transfer", "epochs": 1, "freeze": ["vggish"]},
        {"name": "fine-tune", "epochs": 1},
    ]
    found = []
    for some in (stages[:1], stages):
        made = trainer(
            "four-m-ser", {"vggish": {}}, [{"name": "cross-entropy"}], stages=some, optimiser="sgd"
        )
        found.append(made.fit(table, train, None).model.state_dict())
    start = build_model("four-m-ser", {"vggish": {}}, ModelSpec(VGGISH, 4), seed=0).state_dict()
    assert torch.equal(found[0][key], start[key])
    assert not torch.equal(found[0]["head.1.weight"], start["head.1.weight"])
    assert not torch.equal(found[1][key], start[key])


def test_a_frozen_vggish_runs_once_an_item_and_the_numbers_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table, train, dev = toy(VGGISH, 8, frames=2)
    audio = table.modalities["audio"].lengths
    seen: list[int] = []
    embed = VGGishNetwork.forward

    def counted(self: VGGishNetwork, patches: torch.Tensor) -> torch.Tensor:
        seen.append(len(patches))
        return embed(self, patches)

    monkeypatch.setattr(VGGishNetwork, "forward", counted)
    stages = [{"name": "transfer", "epochs": 3, "freeze": ["vggish"]}]
    found = []
    for cached in (True, False):
        if not cached:
            monkeypatch.setattr(FourMSER, "condense", FusionModel.condense)
        seen.clear()
        made = trainer(
            "four-m-ser",
            {"vggish": {}},
            [{"name": "cross-entropy"}],
            stages=stages,
            batch_size=4,
            optimiser="sgd",
        )
        found.append((made.fit(table, train, dev), sum(seen)))
    (with_cache, once), (without, often) = found
    assert once <= int(audio.sum()) + 4 < 2 * int(audio.sum()) <= often
    for one, other in zip(with_cache.history, without.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-6)
        assert one["dev_loss"] == pytest.approx(other["dev_loss"], rel=1e-6)
    kept = without.model.state_dict()
    for name, part in with_cache.model.state_dict().items():
        torch.testing.assert_close(part, kept[name], rtol=1e-5, atol=1e-6, msg=name)


def test_a_vggish_that_learns_is_never_cached() -> None:
    batch = draw_batch(VGGISH, {"audio": 2, "text": 3}, 2)
    model = build(VGGISH, vggish={})
    assert model.condense(batch) is batch
    frozen = build(VGGISH, vggish={"trainable": False}).eval()
    small = frozen.condense(batch)
    assert small.modalities["audio"].values.shape == (2, 2, 128)
    assert torch.equal(frozen(small).logits, frozen(batch).logits)


RECIPES = [name for name in recipe_files() if name.startswith("four-m-ser/")]


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_load_with_every_row(name: str) -> None:
    given = ["data.manifest=x.jsonl", "data.scheme=basic4"]
    recipe = load_recipe(name, given)
    assert recipe.name == name
    legacy = str(recipe.protocol["name"]).startswith("legacy")
    assert legacy == ("legacy" in name)
    for row in recipe.ablations.values():
        load_recipe(name, [*given, *row])


def test_every_configuration_of_the_paper_has_a_recipe() -> None:
    pairs = set()
    losses = set()
    for name in RECIPES:
        rows = recipe_mapping(name).get("ablations", {}).values()
        for row in [(), *rows]:
            recipe = recipe_mapping(name, row)
            names = [(recipe["encoders"].get(one) or {}).get("name") for one in ("audio", "text")]
            if None not in names:
                audio, text = (name.split("/")[-1] for name in names)
                pairs.add((audio.split("-")[0], text))
            losses |= {term["name"] for term in recipe["objective"]}
    assert {
        (audio, text)
        for audio in ("hubert", "wav2vec2", "wavlm", "vggish")
        for text in ("bert-base-uncased", "roberta-base")
    } <= {(audio.replace("vggish:weights", "vggish"), text) for audio, text in pairs}
    assert losses == {
        "cross-entropy",
        "focal",
        "center",
        "contrastive-center",
        "arcface",
        "cosface",
        "uncertainty",
    }
    given = ["data.manifest=x.jsonl", "data.scheme=basic4"]
    grid = load_recipe("four-m-ser/bert-vggish-contrastive-center", given)
    weights = [
        tuple(term["weight"] for term in load_recipe(grid.name, [*given, *row]).objective)
        for row_name, row in grid.ablations.items()
        if row_name.startswith("lambda")
    ]
    assert weights == [pytest.approx((k / 10, 1 - k / 10)) for k in range(1, 10)]
