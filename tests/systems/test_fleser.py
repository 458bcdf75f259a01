"""FleSER: sizes, memberships, and what was measured of the released code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.conformance import conform, draw_batch, fitted_model, take

from emofuse.errors import FeatureError, OptionError
from emofuse.layers.fleser_parts import AttendedEncoder, PlainEncoder
from emofuse.layers.fleser_released import FirstFusion, SecondFusion
from emofuse.layers.fuzzy import (
    MEMBERSHIPS,
    Fuzzifier,
    Shape,
    choose,
    membership,
    normalise,
    shape_of,
)
from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.objective import build_objective
from emofuse.models.build import build_model, seeded
from emofuse.models.contract import Batch, FusionModel, ModelSpec, Sequences
from emofuse.models.fleser import FleSEROptions
from emofuse.training.builtin import recipe_files
from emofuse.training.recipe import load_recipe

WIDE = {"text": 768, "audio": 768}
SMALL = {"text": 10, "audio": 12}
FRAMES = {"text": 5, "audio": 7}
QUIET = {"hidden": 64, "dropout": 0.1}
FUSIONS = ("self_attention", "cross_attention", "concat", "gmu")
R1: dict[str, Any] = {"variant": "published", "release": "R1"}
R2: dict[str, Any] = {"variant": "published", "release": "R2"}


def build(dims: Mapping[str, int] = WIDE, classes: int = 4, seed: int = 0, **options: Any):
    return build_model("fleser", options, ModelSpec(dict(dims), classes), seed=seed)


def ask(model: FusionModel, batch: Batch) -> Any:
    with torch.no_grad():
        return model(batch)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize(
    ("release", "counts"),
    [("R2", (1_467_236, 1_467_269, 1_467_335)), ("R1", (1_914_564, 1_914_629, 1_914_759))],
)
def test_parameter_counts(fusion: str, release: str, counts: tuple[int, ...]) -> None:
    if (release, fusion) == ("R1", "gmu"):
        return
    for classes, count in zip((4, 5, 7), counts, strict=True):
        model = build(classes=classes, variant="published", release=release, fusion=fusion)
        assert sum(one.numel() for one in model.parameters()) == count


def test_described_builds_what_the_mode_reads() -> None:
    sizes = {one: sum(p.numel() for p in build(fusion=one).parameters()) for one in FUSIONS}
    attention, norm, absent = 4 * (256 * 256 + 256), 512, 2 * 768
    assert sizes["self_attention"] == 1_467_236 - 131_328 + absent
    assert sizes["cross_attention"] == sizes["self_attention"]
    assert sizes["concat"] == sizes["self_attention"] - attention - norm
    assert sizes["gmu"] == sizes["concat"]
    gate = build(fusion="cross_attention", alpha_mode="gate")
    assert sum(p.numel() for p in gate.parameters()) == sizes["cross_attention"] + 2 * 256 + 1


def membership_by_hand(kind: str, x: float) -> float:
    if kind == "sigmoid":
        return 1 / (1 + math.exp(-min(max(x, -4), 4)))
    if kind == "tanh":
        return math.tanh(min(max(x, -2), 2))
    if kind == "linear":
        return min(max(math.log1p(math.exp(x)), 0), 1)
    y = min(max(x, 0), 1)
    if kind == "gaussian":
        return math.exp(-((y - 0.5) ** 2) / (2 * 0.15**2))
    return 0.2 * y if y < 0.3 else 0.5 + 0.5 * y if y < 0.7 else 0.9


@pytest.mark.parametrize("kind", MEMBERSHIPS)
def test_memberships_equal_the_formulas(kind: str) -> None:
    values = torch.linspace(-6, 6, 1201, dtype=torch.float64)
    expected = [membership_by_hand(kind, float(x)) for x in values]
    np.testing.assert_allclose(membership(kind, values).numpy(), expected, atol=1e-12)


def test_ranges_of_the_memberships() -> None:
    far = torch.tensor([-9.0, 9.0])
    assert membership("tanh", far).tolist() == pytest.approx([-0.964, 0.964], abs=1e-3)
    assert membership("sigmoid", far).tolist() == pytest.approx([0.018, 0.982], abs=1e-3)
    assert membership("gaussian", far)[0] == pytest.approx(0.00387, abs=1e-5)
    assert membership("linear", torch.tensor([0.5413, 3.0])).tolist() == pytest.approx(
        [1.0, 1.0], abs=1e-4
    )
    edges = membership("piecewise", torch.tensor([0.2999, 0.3, 0.6999, 0.7]))
    assert edges.tolist() == pytest.approx([0.06, 0.65, 0.85, 0.9], abs=1e-3)


@pytest.mark.parametrize(
    ("figures", "kind"),
    [
        ((0.5, 0.05, 0.0, 1.0, 0.0), "linear"),
        ((0.5, 0.2, 0.0, 1.0, 0.4), "gaussian"),
        ((0.5, 0.2, 0.0, 1.0, 0.6), "tanh"),
        ((0.5, 0.2, -0.1, 1.0, -0.6), "tanh"),
        ((0.8, 0.2, -0.1, 1.0, 0.0), "sigmoid"),
        ((0.5, 0.2, 0.0, 1.6, 0.0), "sigmoid"),
        ((0.5, 0.2, -0.1, 1.0, 0.0), "piecewise"),
        ((0.0, 0.2, 0.0, 0.0, 0.0), "piecewise"),
        ((0.5, 0.05, 0.0, 1.0, 0.5), "piecewise"),
    ],
)
def test_rule_base(figures: tuple[float, ...], kind: str) -> None:
    shape = Shape(*(torch.tensor([one]) for one in figures))
    assert MEMBERSHIPS[int(choose(shape))] == kind


def test_figures_look_at_real_frames_alone() -> None:
    part = draw_batch({"audio": 6}, {"audio": 9}).modalities["audio"]
    dirty = part.values.masked_fill(~part.mask[..., None], 99.0)
    shape = shape_of(dirty, part.mask)
    for item in range(len(dirty)):
        x = dirty[item][part.mask[item]].double().numpy().ravel()
        std = x.std(ddof=1)
        skew = ((x - x.mean()) ** 3).mean() / (std**3 + 1e-5)
        expected = [x.mean(), std, x.min(), x.max(), skew]
        np.testing.assert_allclose(shape.stacked()[item].numpy(), expected, atol=1e-4)
    spread = normalise(dirty).std(dim=-1)[part.mask]
    torch.testing.assert_close(spread, torch.ones_like(spread), atol=1e-3, rtol=0)


@pytest.mark.parametrize("released", [R1, R2])
def test_the_rules_of_the_releases_pick_tanh_at_every_start(released: dict[str, Any]) -> None:
    batch = draw_batch(WIDE, size=64)
    reading = FleSEROptions(**released).reading()
    kind = PlainEncoder if reading.release == "R1" else AttendedEncoder
    fuzzifier = Fuzzifier(reading.select)
    for seed in range(200):
        for part in batch.modalities.values():
            with seeded(seed), torch.no_grad():
                encoder = kind(768, reading).train(seed % 2 == 0)
                values, _ = encoder(part.values, part.mask)
                _, picked = fuzzifier(values, values, part.mask)
            assert bool((picked[:, MEMBERSHIPS.index("tanh")] == 1).all())
            shape = shape_of(values.flatten(0, 1)[None], torch.ones(1, 64, dtype=torch.bool))
            assert 1.0 < float(shape.skew) < 2.3


@pytest.mark.parametrize("fusion", FUSIONS)
def test_alpha_does_nothing_outside_cross_attention_in_r2(fusion: str) -> None:
    batch = draw_batch(WIDE)
    low, high = (build(fusion=fusion, alpha=a, **R2).eval() for a in (0.1, 0.9))
    change = float((ask(low, batch).logits - ask(high, batch).logits).abs().max())
    assert (change == 0.0) == (fusion != "cross_attention")


@pytest.mark.parametrize("fusion", ["self_attention", "cross_attention", "concat"])
def test_alpha_in_r1_is_inert_with_concat_alone(fusion: str) -> None:
    batch = draw_batch(WIDE)
    low, high = (build(fusion=fusion, alpha=a, **R1).eval() for a in (0.1, 0.9))
    change = float((ask(low, batch).logits - ask(high, batch).logits).abs().max())
    assert (change == 0.0) == (fusion == "concat")


def test_concat_of_r1_is_a_mean() -> None:
    model = build(fusion="concat", **R1).eval()
    output = ask(model, draw_batch(WIDE))
    mean = (output.embeddings["text"] + output.embeddings["audio"]) / 2
    assert torch.equal(output.embeddings["fused"], mean)


def test_queries_change_nothing_where_there_is_one_token() -> None:
    fusion = build(**R2).fusion
    assert isinstance(fusion, SecondFusion)
    generator = torch.Generator().manual_seed(0)
    one, two, memory = (torch.randn(8, 1, 256, generator=generator) for _ in range(3))
    with torch.no_grad():
        first, weights = fusion.attention(one, memory)
        second, _ = fusion.attention(two, memory)
        assert torch.equal(first, second)
        assert bool((weights == 1).all())
        frames = torch.randn(8, 6, 256, generator=generator)
        assert not torch.equal(*(fusion.attention(q, frames)[0] for q in (one, two)))
    assert isinstance(build(**R1).fusion, FirstFusion)


def near_the_edge(seed: int) -> Batch:
    """Draw raw features around the edge of the first rule, so that items of one batch differ."""
    generator = torch.Generator().manual_seed(seed)
    parts = {}
    for name, dim in SMALL.items():
        values = torch.rand(8, 1, dim, generator=generator)
        values[::2] *= 3
        parts[name] = Sequences(values, torch.ones(8, 1, dtype=torch.bool))
    return Batch(parts)


def changes_alone(model: FusionModel, batch: Batch) -> bool:
    whole = ask(model, batch).logits
    alone = [ask(model, take(batch, torch.tensor([i]))).logits for i in range(len(whole))]
    return not torch.allclose(whole, torch.cat(alone), atol=1e-4)


def test_the_batch_rule_looks_at_neighbours_and_the_sample_rule_does_not() -> None:
    batch = near_the_edge(0)
    look = {"fuzzy_input": "raw", "hidden": 64, **R2}
    neighbours = fitted_model("fleser", {"fuzzy_select": "batch_rule", **look}, SMALL, batch)
    lone = fitted_model("fleser", {"fuzzy_select": "sample_rule", **look}, SMALL, batch)
    assert changes_alone(neighbours, batch)
    assert not changes_alone(lone, batch)
    picked = ask(lone, batch).extras["fuzzy:audio"]
    assert int(picked.any(dim=0).sum()) > 1
    assert int(ask(neighbours, batch).extras["fuzzy:audio"].any(dim=0).sum()) == 1


@pytest.mark.parametrize("fusion", FUSIONS)
def test_described_conforms(fusion: str) -> None:
    conform("fleser", {"fusion": fusion, **QUIET}, SMALL, FRAMES)


@pytest.mark.parametrize(
    "options",
    [
        *({"fuzzy_select": one} for one in ("soft_mixture", "none", *MEMBERSHIPS)),
        {"fuzzy_select": "soft_mixture", "fuzzy_input": "raw"},
        {"fuzzy_input": "raw", "norm": "batch"},
        {"fusion": "cross_attention", "alpha": 0.8},
        {"fusion": "cross_attention", "alpha_mode": "learnable"},
        {"fusion": "cross_attention", "alpha_mode": "gate"},
        {"normalise": False, "heads": 2},
    ],
)
def test_switches_conform(options: dict[str, Any]) -> None:
    conform("fleser", options | QUIET, SMALL, FRAMES)


@pytest.mark.parametrize("name", ["audio", "text"])
def test_one_modality_alone(name: str) -> None:
    conform("fleser", QUIET, {name: 12}, {name: 6})
    output = ask(build({name: 768}, **R2).eval(), draw_batch({name: 768}))
    assert torch.equal(output.embeddings["fused"], output.embeddings[name])
    assert torch.equal(output.weights[name], torch.ones(8))
    with pytest.raises(OptionError, match=f"{name} alone fuses nothing and does not read 'fusion'"):
        build({name: 768}, fusion="gmu")


def test_attention_of_frames_is_real() -> None:
    batch = draw_batch(SMALL, FRAMES)
    model = fitted_model("fleser", {"fusion": "cross_attention", **QUIET}, SMALL, batch)
    output = ask(model, batch)
    assert set(output.attention) == {"text->text", "audio->audio", "text->audio", "audio->text"}
    assert output.attention["text->audio"].shape == (8, 4, 5, 7)
    assert output.extras["alpha"].tolist() == pytest.approx([0.3] * 8)
    mask = batch.modalities["audio"].mask
    weights = output.attention["text->audio"]
    assert float(weights.std(dim=-1)[mask.all(dim=1)].min()) > 0
    assert float(weights.masked_select(~mask[:, None, None, :].expand_as(weights)).sum()) == 0
    assert not model.train()(batch).attention


def test_frames_given_to_a_published_model_are_averaged() -> None:
    batch = draw_batch(SMALL, FRAMES)
    model = build(SMALL, hidden=16, **R2).eval()
    assert torch.equal(ask(model, batch).logits, ask(model, model.condense(batch)).logits)
    assert model.condense(batch).modalities["audio"].values.shape == (8, 1, 12)
    with pytest.raises(FeatureError, match="the batch holds text"):
        model(batch.only("text"))
    assert model.needs() == {"text", "audio"}


def test_a_training_batch_of_one_does_not_crash_the_first_release() -> None:
    model = build(SMALL, hidden=16, **R1).train()
    assert bool(torch.isfinite(model(draw_batch(SMALL, size=1)).logits).all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.5}, "fusion 'self_attention' does not read 'alpha'"),
        ({"fusion": "gmu", "alpha_mode": "gate"}, "fusion 'gmu' does not read 'alpha_mode'"),
        ({"fusion": "cross_attention", "alpha_mode": "gate", "alpha": 0.5}, "'gate' does not read"),
        ({"fuzzy_select": "tanh", "fuzzy_input": "raw"}, "'tanh' does not read 'fuzzy_input'"),
        ({"fuzzy_select": "batch_rule"}, "reads nothing of the batch"),
        ({"release": "R1"}, "'described' does not read 'release'"),
        ({"hidden": 30}, "no multiple of 4 heads"),
        ({"fuzzy_select": "soft_mixture", **R2}, "the released code has no 'soft_mixture'"),
        ({"alpha_mode": "gate", **R2}, "the released code has no 'alpha_mode'"),
        ({"normalise": True, **R2}, "does not standardise"),
        ({"fusion": "gmu", **R1}, "no fusion 'gmu'"),
        ({"norm": "layer", **R1}, "does not read 'norm'"),
    ],
)
def test_options_that_are_not_read_are_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        build(**options)
    with pytest.raises(OptionError, match="fleser takes text, audio or both"):
        build({"video": 4, "audio": 4})


@pytest.mark.parametrize("options", [{"fuzzy_select": "soft_mixture"}, R2, R1])
def test_training_lowers_the_loss(options: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(48) % 4
    batch = draw_batch(SMALL, FRAMES, size=48)
    for part in batch.modalities.values():
        centres = torch.randn(4, part.values.shape[2], generator=generator)
        part.values.add_(centres[labels][:, None] * part.mask[..., None])
    model = build(SMALL, hidden=32, dropout=0.1, **options)
    model.fit_normalisation(batch)
    terms = build_objective([{"name": "cross-entropy"}], LossContext(torch.bincount(labels), {}))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    torch.manual_seed(0)
    for _ in range(100):
        loss, _ = terms(model.train()(batch), Targets(labels))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


RECIPES = [name for name in recipe_files() if name.startswith("fleser/")]


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_load_with_every_row(name: str) -> None:
    given = ["data.manifest=x.jsonl", "data.scheme=basic4"]
    recipe = load_recipe(name, given)
    assert recipe.model["name"] == "fleser"
    legacy = str(recipe.protocol["name"]).startswith("legacy")
    assert legacy == ("legacy" in name)
    for row in ((), *recipe.ablations.values()):
        changed = load_recipe(name, [*given, *row])
        spec = ModelSpec(dict.fromkeys(changed.encoders, 8), 4)
        build_model(changed.model["name"], changed.model_options, spec)


def test_the_recipes_of_the_paper_are_there() -> None:
    assert {"fleser/iemocap", "fleser/esd", "fleser/meld"} <= set(RECIPES)
