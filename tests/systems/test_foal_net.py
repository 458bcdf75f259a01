from __future__ import annotations

import math

import pytest
import torch
from tests.models.conformance import conform, draw_batch, fitted_model

from emofuse.errors import FeatureError, OptionError
from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.objective import build_objective
from emofuse.models.build import build_model
from emofuse.models.contract import Batch, ModelSpec, Sequences
from emofuse.training.builtin import recipe_files
from emofuse.training.recipe import load_recipe

WIDE = {"audio": 1024, "video": 768}
DIMS = {"audio": 12, "video": 10}
SMALL = {"projection": 8}
ALL = ({"name": "cross-entropy"}, {"name": "avel"}, {"name": "mem", "weight": 0.1})


def size(module):
    return sum(one.numel() for one in module.parameters())


def build(options=None, dims=None, batch=None, seed=1):
    dims = DIMS if dims is None else dims
    model = build_model("foal-net", {**SMALL, **(options or {})}, ModelSpec(dims, 4), seed=seed)
    if batch is not None:
        model.fit_normalisation(batch)
    return model.eval()


def test_published_parameter_counts():
    model = build_model("foal-net", {"variant": "published"}, ModelSpec(WIDE, 4))
    assert size(model) == 14_321_161
    assert size(model.stacks["audio"]) == 7_352_320
    assert size(model.stacks["video"]) == 5_514_240
    assert size(model.alignment.projections) == 1_443_840
    assert size(model.head) + size(model.matchers) == 10_760
    assert size(model.alignment.temperature) == 1


def test_described_counts_and_baselines():
    def count(options, dims):
        return size(build_model("foal-net", options, ModelSpec(dims, 4)))

    assert count({}, WIDE) == 14_321_161 + 1024 + 768  # and a vector for each that may be absent
    plain = 7_352_320 + 5_514_240 + 1792 * 4 + 4 + 1792
    assert count({"avel": False, "mem": False}, WIDE) == plain
    assert count({"avel": False}, WIDE) == plain + 1025 * 2 - 2 + 2 + 769 * 2
    assert count({}, {"audio": 1024}) == 1024 * 4 + 4
    assert count({}, {"video": 768}) == 768 * 512 + 512 * 512 + 2 * 512 + 512 * 4 + 4
    assert count({"temperature": "fixed"}, WIDE) == 14_321_161 + 1792 - 1


def test_start_of_the_released_form():
    """Random inputs, labels 0,0,1,1,2,2,3,3: AVEL about 2 ln 8, MEM ln 2, CE ln 4."""
    batch = draw_batch(WIDE, {"audio": 120, "video": 70}, 8)
    model = build_model("foal-net", {"variant": "published"}, ModelSpec(WIDE, 4), seed=3).train()
    labels = torch.arange(8) // 2
    terms = [
        {"name": "cross-entropy"},
        {"name": "avel", "reduction": "sum"},
        {"name": "mem", "legacy": True, "reuse_positive": False},
    ]
    objective = build_objective(terms, LossContext(torch.bincount(labels), {}))
    torch.manual_seed(0)
    _, values = objective(model(batch), Targets(labels))
    assert float(values["avel"]) == pytest.approx(2 * math.log(8), abs=0.05)
    assert float(values["mem"]) == pytest.approx(math.log(2), abs=0.02)
    assert float(values["cross-entropy"]) == pytest.approx(math.log(4), abs=0.05)
    weights = model.stacks["audio"].attention[0].query.weight
    assert float(weights.detach().std()) == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize(
    ("options", "dims", "lengths", "objective"),
    [
        ({}, DIMS, {"audio": 7, "video": 5}, ALL),
        ({}, {"audio": 12, "text": 9}, {"audio": 7, "text": 5}, ALL),
        ({"temperature": "raw_divisor", "dropout": 0.2}, DIMS, {"audio": 7, "video": 5}, ALL),
        ({"temperature": "fixed", "pooling": "attention"}, DIMS, {"audio": 7, "video": 5}, ALL),
        (
            {"avel": False, "mem": False, "positions": ["video"]},
            DIMS,
            {"audio": 7, "video": 5},
            ALL[:1],
        ),
        (
            {"avel": False, "normalise": False},
            DIMS,
            {"audio": 7, "video": 5},
            (ALL[0], {"name": "mem", "negatives": "uniform", "positives": "own+same_label"}),
        ),
        ({"mem": False, "max_frames": {"audio": 3}}, DIMS, {"audio": 7, "video": 5}, ALL[:2]),
        ({}, {"audio": 12}, {"audio": 7}, ALL[:1]),
        ({}, {"video": 10}, {"video": 7}, ALL[:1]),
        (
            {"avel": True, "head": "projection", "dropout": 0.1},
            {"audio": 12},
            {"audio": 7},
            (ALL[0], {"name": "avel", "pairs": "within"}),
        ),
    ],
)
def test_it_conforms(options, dims, lengths, objective):
    conform("foal-net", {**SMALL, **options}, dims, lengths, objective=objective)


def test_pooled_features_of_odd_sizes_conform_but_for_the_attention():
    """With one frame each there is nothing to choose from: keys get no gradient."""
    with pytest.raises(AssertionError, match=r"no gradient reaches .*stacks.audio.attention.0.key"):
        conform("foal-net", {**SMALL, "layers": 1}, {"audio": 7, "video": 5}, objective=ALL)


def test_published_conforms():
    conform(
        "foal-net",
        {**SMALL, "variant": "published"},
        DIMS,
        {"audio": 7, "video": 5},
        objective=ALL,
        missing=False,
    )


def stack_by_hand(stack, heads, query, memory, mask):
    """Post-norm cross-attention in float64 with logits of -10,000, memory not updated."""
    for attention, norm in zip(stack.attention, stack.norms, strict=True):
        q, k, v = (
            part(x) for part, x in ((attention.query, query), (attention.key, memory),
                                    (attention.value, memory))
        )  # fmt: skip
        parts = []
        width = q.shape[-1] // heads
        for head in range(heads):
            own = slice(head * width, (head + 1) * width)
            scores = q[..., own] @ k[..., own].transpose(1, 2) / math.sqrt(width)
            scores = scores + torch.where(mask, 0.0, -10_000.0)[:, None, :]
            parts.append(torch.softmax(scores, dim=-1) @ v[..., own])
        update = attention.output(torch.cat(parts, dim=-1))
        total = query + update
        mean = total.mean(dim=-1, keepdim=True)
        spread = (total - mean).square().mean(dim=-1, keepdim=True)
        query = (total - mean) / (spread + 1e-5).sqrt() * norm.weight + norm.bias
    return query


def test_the_published_network_by_hand():
    batch = draw_batch(DIMS, {"audio": 7, "video": 5}, 6)
    model = build({"variant": "published"}).double()
    parts = {n: Sequences(p.values.double(), p.mask) for n, p in batch.modalities.items()}
    output = model(Batch(parts))
    vectors = []
    for name, other in (("audio", "video"), ("video", "audio")):
        refined = stack_by_hand(
            model.stacks[name], 4, parts[name].values, parts[other].values, parts[other].mask
        )
        there = parts[name].mask[..., None]
        vectors.append((refined * there).sum(dim=1) / there.sum(dim=1))
    expected = torch.cat(vectors, dim=1) @ model.head.weight.T + model.head.bias
    torch.testing.assert_close(output.logits, expected)
    torch.testing.assert_close(output.embeddings["fused"], torch.cat(vectors, dim=1))


def test_projections_by_hand():
    batch = draw_batch(DIMS, {"audio": 7, "video": 5}, 6)
    model = build({"variant": "published"})
    extras = model(batch).extras
    part, block = batch.modalities["audio"], model.alignment.projections["audio"]
    mean = part.values.sum(dim=1) / part.mask.sum(dim=1, keepdim=True)
    first = mean @ block.first.weight.T
    second = torch.nn.functional.gelu(first) @ block.second.weight.T
    whole = torch.nn.functional.layer_norm(first + second, (8,))
    expected = whole / whole.norm(dim=1, keepdim=True)
    torch.testing.assert_close(extras["projection:audio"], expected)
    assert float(extras["scale"].detach()) == pytest.approx(1 / math.log(1 / 0.07))


def test_other_pairs_are_fused_as_if_they_were_a_batch():
    batch = draw_batch(DIMS, {"audio": 7, "video": 5}, 6)
    model = build(batch=batch)
    audio, video = torch.tensor([0, 1, 2, 2]), torch.tensor([3, 1, 0, 5])
    found = model(batch).rematch({"audio": audio, "video": video})
    assert list(found) == ["match:audio", "match:video"]
    assert len(found) == 2
    parts = batch.modalities
    mixed = {
        "audio": Sequences(parts["audio"].values[audio], parts["audio"].mask[audio]),
        "video": Sequences(parts["video"].values[video], parts["video"].mask[video]),
    }
    extras = model(Batch(mixed)).extras
    for name in found:
        torch.testing.assert_close(found[name], extras[name])


def test_inference_draws_nothing_and_knows_no_labels():
    batch = draw_batch(DIMS, {"audio": 7, "video": 5}, 6)
    model = build(batch=batch)
    before = torch.get_rng_state()
    output = model(batch)
    assert torch.equal(torch.get_rng_state(), before)
    assert set(output.attention) == {"audio->video", "video->audio"}
    assert output.attention["audio->video"].shape == (6, 4, 7, 5)
    weights = torch.stack([output.weights[name] for name in DIMS])
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(6))


def test_an_absent_modality_has_no_weight_and_no_part_in_the_losses():
    batch = draw_batch(DIMS, {"audio": 7, "video": 5}, 8, lacking=True)
    output = build(batch=batch)(batch)
    gone = ~batch.modalities["video"].present
    assert gone.any()
    assert not output.weights["video"][gone].any()
    assert torch.equal(output.extras["present:video"], ~gone)


def test_a_file_without_frames_in_the_released_form():
    """Its mask wraps around: all its zero frames count as real."""
    batch = draw_batch(DIMS, {"audio": 7, "video": 5}, 4)
    video = batch.modalities["video"]
    mask = video.mask.clone()
    mask[1] = False
    values = video.values * mask[..., None]
    model = build({"variant": "published"})
    assert model.needs() == {"audio", "video"}
    empty = model(Batch({**batch.modalities, "video": Sequences(values, mask)}))
    zeros = model(
        Batch({**batch.modalities, "video": Sequences(values, mask | ~mask.any(1, keepdim=True))})
    )
    torch.testing.assert_close(empty.logits, zeros.logits)
    with pytest.raises(FeatureError, match="knows audio, video; the batch holds audio"):
        model(batch.only("audio"))


def test_only_the_first_frames_count():
    batch = draw_batch(DIMS, {"audio": 300, "video": 190}, 2)
    model = build({"variant": "published"})
    parts = {}
    for name, limit in (("audio", 299), ("video", 180)):
        part = batch.modalities[name]
        parts[name] = Sequences(part.values[:, :limit], part.mask[:, :limit])
    torch.testing.assert_close(model(batch).logits, model(Batch(parts)).logits)


def test_order_in_time_matters_with_positions_alone():
    batch = draw_batch(DIMS, {"audio": 6, "video": 6}, 3)
    video = batch.modalities["video"]
    whole = torch.ones_like(video.mask)
    given = Batch({**batch.modalities, "video": Sequences(video.values, whole)})
    turned = Batch({**batch.modalities, "video": Sequences(video.values.flip(1), whole)})
    plain, placed = build(batch=batch), build({"positions": ["video"]}, batch=batch)
    torch.testing.assert_close(plain(given).logits, plain(turned).logits)
    assert not torch.allclose(placed(given).logits, placed(turned).logits, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"pooling": "attention"}, {"max_frames": {"video": 3}}])
def test_one_modality_is_condensed_without_change(options):
    batch = draw_batch({"video": 10}, {"video": 7}, 5)
    model = build(options, {"video": 10}, batch)
    small = model.condense(batch)
    assert (small.modalities["video"].values.shape[1] == 1) == ("pooling" not in options)
    torch.testing.assert_close(model(small).logits, model(batch).logits)


@pytest.mark.parametrize(
    ("options", "dims", "message"),
    [
        ({}, {"audio": 4, "text": 4, "video": 4}, "one or two modalities"),
        ({"mem": True}, {"audio": 4}, "mem is not read with one modality"),
        ({"variant": "published"}, {"audio": 4}, "published is not read with one modality"),
        ({"head": "linear"}, DIMS, "head is not read with two modalities"),
        ({"avel": False, "temperature": "fixed"}, DIMS, "temperature is not read"),
        ({"temperature": "fixed"}, {"audio": 4}, "temperature is not read with one modality"),
        ({"variant": "published", "normalise": True}, DIMS, "published variant has no normalise"),
        ({"variant": "published", "mem": False}, DIMS, "published variant has no mem"),
        ({"variant": "published", "positions": ["video"]}, DIMS, "variant has no positions"),
        ({"positions": ["text"]}, DIMS, "has no 'text' here"),
        ({"max_frames": {"video": 0}}, DIMS, "counts of 1 or more"),
        ({"projektion": 2}, DIMS, "did you mean 'projection'"),
    ],
)
def test_mistakes_are_named(options, dims, message):
    with pytest.raises(OptionError, match=message):
        build_model("foal-net", options, ModelSpec(dims, 4))


def test_training_lowers_every_loss():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(32) % 4
    batch = draw_batch(DIMS, {"audio": 5, "video": 4}, 32)
    parts = {}
    for name, part in batch.modalities.items():
        centres = 2 * torch.randn(4, DIMS[name], generator=generator)
        values = (part.values + centres[labels][:, None]) * part.mask[..., None]
        parts[name] = Sequences(values, part.mask)
    batch = Batch(parts)
    model = fitted_model("foal-net", SMALL, DIMS, batch).train()
    terms = (*ALL[:2], {"name": "mem"})
    objective = build_objective(terms, LossContext(torch.bincount(labels), {}))
    learner = torch.optim.AdamW(model.parameters(), lr=3e-3)
    torch.manual_seed(0)
    history = []
    for _ in range(120):
        total, values = objective(model(batch), Targets(labels))
        learner.zero_grad()
        total.backward()
        learner.step()
        history.append({name: float(value) for name, value in values.items()})
    for name in history[0]:
        assert history[-1][name] < 0.9 * history[0][name], name
    assert history[-1]["cross-entropy"] < 0.3


RECIPES = [name for name in recipe_files() if name.startswith("foal-net/")]
DATA = ["data.manifest=x.jsonl", "data.scheme=basic4"]
SIZES = {"audio": 16, "video": 12, "text": 8}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_load_and_their_models_train(name):
    recipe = load_recipe(name, DATA)
    assert recipe.name == name
    for overrides in [(), *recipe.ablations.values()]:
        row = load_recipe(name, [*DATA, *overrides])
        dims = {modality: SIZES[modality] for modality in row.encoders}
        options = {**row.model_options, "projection": 8}
        batch = draw_batch(dims, dict.fromkeys(dims, 3), 8)
        model = build_model("foal-net", options, ModelSpec(dims, 4)).train()
        labels = torch.arange(8) % 4
        context = LossContext(torch.bincount(labels), {})
        torch.manual_seed(0)
        total, _ = build_objective(row.objective, context)(model(batch), Targets(labels))
        total.backward()
        idle = [n for n, p in model.named_parameters() if p.grad is None and "absent" not in n]
        assert not idle, (name, overrides)


def test_recipes_of_every_row_of_the_paper():
    rows = {load_recipe(name, DATA).published.figure for name in RECIPES
            if load_recipe(name, DATA).published is not None}  # fmt: skip
    assert {"UA 80.10, WA 79.45", "UA 77.85, WA 77.31", "UA 79.31, WA 78.20"} <= rows
    assert {"UA 78.10, WA 76.94", "UA 77.68, WA 77.25", "UA 47.90, WA 46.61"} <= rows
