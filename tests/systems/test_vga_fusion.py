from __future__ import annotations

import math

import pytest
import torch
from tests.models.conformance import conform, draw_batch, fitted_model
from torch.nn.functional import gelu, layer_norm

from emofuse.errors import FeatureError, OptionError
from emofuse.layers.eaaf import EAAF, ConstrainedFusion
from emofuse.layers.vga import Guidance
from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.objective import build_objective
from emofuse.models.build import build_model
from emofuse.models.contract import Batch, ModelSpec, Sequences
from emofuse.training.builtin import recipe_files
from emofuse.training.recipe import load_recipe

WIDE = {"text": 768, "audio": 1024}
DIMS = {"text": 10, "audio": 12}
SMALL = {"hidden": 16, "heads": 4, "dropout": 0.1}
LONG = {"text": 5, "audio": 7}
FOUR = ("anger", "happiness", "neutral", "sadness")
CE, VAD = {"name": "cross-entropy"}, {"name": "vad", "weight": 0.3}
PLACES = {"name": "vad", "of": "projections", "weight": 0.3}
MICL = {"name": "micl", "weight": 0.2}
SUPCON = {"name": "supcon", "weight": 0.2}
RELEASED = {"variant": "published"}
DATA = ["data.manifest=x.jsonl", "data.scheme=basic4"]


def size(module):
    return sum(one.numel() for one in module.parameters())


def build(options=None, dims=None, batch=None, seed=1, small=SMALL):
    model = build_model(
        "vga-fusion", {**small, **(options or {})}, ModelSpec(dims or DIMS, 4), seed
    )
    if batch is not None:
        model.fit_normalisation(batch)
    return model.eval()


def published(architecture="novel", classes=4, **options):
    given = {**RELEASED, "architecture": architecture, **options}
    return build_model("vga-fusion", given, ModelSpec(WIDE, classes), 1)


def by_name(model, *words):
    return {n: p for n, p in model.named_parameters() if any(word in n for word in words)}


@pytest.mark.parametrize(
    ("architecture", "counts"),
    [
        ("novel", (13_440_664, 13_441_049, 13_441_434)),
        ("baseline", (12_055_815, 12_056_200, 12_056_585)),
        ("enhanced", (13_292_442, 13_292_827, 13_293_212)),
    ],
)
def test_published_parameter_counts(architecture, counts):
    assert tuple(size(published(architecture, classes)) for classes in (4, 5, 6)) == counts


def test_published_counts_by_part():
    model = published()
    assert size(model.streams["text"].project) == 296_064
    assert size(model.streams["audio"].project) == 394_368
    assert model.streams["text"].mark.numel() == 384
    assert size(model.streams["audio"].encoder) == 1_774_464
    assert size(model.cross[0].blocks["text"]) == 666_628
    assert size(model.cross[0]) == 3_697_928
    assert size(model.cross) == 7_395_856
    assert size(model.fusion) == 1_184_257
    assert size(model.projectors) == 395_776
    assert size(model.head) == 150_148
    assert size(model.vad_head) == 74_499
    baseline = published("baseline")
    assert size(baseline.cross) == 7_097_856
    assert size(published("baseline", hidden=256)) == 5_530_503


@pytest.mark.parametrize("architecture", ["novel", "enhanced"])
def test_at_length_one_the_released_attention_is_inert(architecture):
    """No guidance, query or key changes a logit, and none of their parameters gets a gradient."""
    model = published(architecture)
    batch = draw_batch(WIDE, size=6)
    context = LossContext(torch.ones(4), {}, FOUR)
    objective = build_objective([CE, VAD, {**MICL, "same_label": "pull"}], context)
    labels = torch.arange(6) % 4
    objective(model.train()(batch), Targets(labels))[0].backward()
    inert = by_name(model, "guidance", "attention.query", "attention.key")
    still = {n for n, p in model.named_parameters() if not p.grad.any()}
    assert still == set(inert)
    assert sum(one.numel() for one in inert.values()) == 2_072_080
    before = model.eval()(batch)
    with torch.no_grad():
        for name, one in inert.items():
            one.fill_(50.0) if name.endswith("raw") else one.copy_(torch.randn_like(one))
    after = model(batch)
    assert torch.equal(after.logits, before.logits)
    assert torch.equal(after.vad, before.vad)
    assert set(after.attention) == {"text->text", "audio->audio", "text->audio", "audio->text"}
    assert all(bool((one == 1).all()) for one in after.attention.values())


def test_the_baseline_is_inert_as_well():
    model = published("baseline")
    batch = draw_batch(WIDE, size=6)
    objective = build_objective([CE, VAD, SUPCON], LossContext(torch.ones(4), {}, FOUR))
    objective(model.train()(batch), Targets(torch.arange(6) % 4))[0].backward()
    still = {n for n, p in model.named_parameters() if not p.grad.any()}
    assert still == set(by_name(model, "attention.query", "attention.key"))


def test_a_block_at_length_one_is_an_affine_map_and_a_norm():
    block = published().cross[0].blocks["text"].eval()
    x, y = torch.randn(2, 3, 1, 384).unbind(0)
    attention = block.attention
    by_hand = layer_norm(x + attention.output(attention.value(y)), (384,))
    torch.testing.assert_close(block(x, y, None).values, by_hand)


@pytest.mark.parametrize("options", [{}, {"lambda_mode": "fixed"}, {"architecture": "enhanced"}])
def test_over_sequences_the_strength_changes_logits(options):
    batch = draw_batch(DIMS, LONG)
    weak, strong = (build({**options, "vad_lambda": value}, batch=batch) for value in (0.01, 5.0))
    strong.load_state_dict(
        {**weak.state_dict(), **{n: v for n, v in strong.state_dict().items() if "raw" in n}}
    )
    assert not torch.allclose(weak(batch).logits, strong(batch).logits, atol=1e-4)


def test_over_views_the_strength_changes_logits_and_over_one_view_it_does_not():
    batch = draw_batch(DIMS)
    changes = []
    for views in (1, 4):
        model = build({"views": views}, batch=batch)
        before = model(batch).logits
        with torch.no_grad():
            for one in by_name(model, "raw").values():
                one.fill_(20.0)
        changes.append(float((model(batch).logits - before).detach().abs().max()))
    assert changes[0] == 0.0
    assert changes[1] > 1e-3


def test_guidance_by_hand():
    guidance = Guidance(8, 0.5, "positive")
    x, y = torch.randn(2, 3, 8), torch.randn(2, 4, 8)
    bias, first, second = guidance(x, y)
    assert float(guidance.strength.detach()) == pytest.approx(0.5)
    for b, i, j in ((0, 1, 2), (1, 0, 3)):
        distance = math.dist(first[b, i].tolist(), second[b, j].tolist())
        assert float(bias[b, i, j].detach()) == pytest.approx(-0.5 * distance)
    one, _, two, _ = guidance.project
    torch.testing.assert_close(first, torch.tanh(two(gelu(one(x)))))
    with torch.no_grad():
        guidance.raw.fill_(-30.0)
    assert float(guidance.strength.detach()) >= 0.0
    assert float(Guidance(8, -0.5, "free").strength.detach()) == -0.5
    assert not list(by_name(Guidance(8, 0.5, "fixed"), "raw"))


def test_equal_places_have_a_gradient():
    guidance = Guidance(8, 0.5, "positive")
    x = torch.randn(2, 3, 8, requires_grad=True)
    guidance(x, x)[0].sum().backward()
    assert bool(x.grad.isfinite().all())


def test_the_order_of_keys_does_not_matter():
    batch = draw_batch(DIMS, LONG)
    model = build(batch=batch)
    part = batch.modalities["audio"]
    turned = Sequences(part.values.flip(1), part.mask.flip(1))
    found = model(Batch({**batch.modalities, "audio": turned})).logits
    torch.testing.assert_close(found, model(batch).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "lengths", "objective"),
    [
        ({}, LONG, (CE, VAD, MICL)),
        ({"lambda_mode": "fixed", "vad_lambda": 2.0}, LONG, (CE, VAD, PLACES, MICL)),
        ({"views": 3}, None, (CE, VAD, PLACES, {**MICL, "same_label": "positives"})),
        ({"views": 2, "layers": 1, "vga": False, "normalise": False}, LONG, (CE, VAD, MICL)),
        ({"gates": False, "micl_from": "after"}, LONG, (CE, VAD, MICL)),
        ({"micl": False, "vad": False}, LONG, (CE,)),
        ({"cross_attention": False}, LONG, (CE, VAD, MICL)),
        ({"architecture": "enhanced", "gate_temperature": 2.0}, LONG,
         ({"name": "focal-smooth"}, VAD, {**MICL, "hard": True})),
        ({"architecture": "enhanced", "views": 4, "vad": False}, None, (CE, MICL)),
        ({"architecture": "baseline"}, LONG, (CE, VAD, SUPCON)),
        ({"architecture": "baseline", "views": 3, "supcon": False}, None, (CE, VAD)),
        ({"architecture": "baseline", "cross_attention": False}, LONG, (CE, VAD, SUPCON)),
    ],
)  # fmt: skip
def test_it_conforms(options, lengths, objective):
    conform("vga-fusion", {**SMALL, **options}, DIMS, lengths, objective=objective)


@pytest.mark.parametrize("name", DIMS)
@pytest.mark.parametrize("options", [{}, {"views": 3}, {"architecture": "baseline"}])
def test_one_modality_conforms(name, options):
    terms = (CE, VAD, SUPCON) if options.get("architecture") else (CE, VAD)
    conform("vga-fusion", {**SMALL, **options}, {name: 12}, {name: 6}, objective=terms)


def test_published_conforms_but_for_the_inert_parts():
    """Frames are averaged first; what the attention never reads learns nothing."""
    given = {**SMALL, **RELEASED}
    match = r"no gradient reaches \['streams.text.encoder.attention.query.weight'"
    with pytest.raises(AssertionError, match=match):
        conform("vga-fusion", given, DIMS, LONG, objective=(CE, VAD, MICL), missing=False)


def test_frames_are_averaged_for_the_published_form_and_for_views():
    batch = draw_batch(DIMS, LONG)
    for options in (RELEASED, {"views": 3}, {**RELEASED, "architecture": "baseline"}):
        model = build(options, batch=batch)
        small = model.condense(batch)
        assert all(part.mask.shape[1] == 1 for part in small.modalities.values())
        torch.testing.assert_close(model(small).logits, model(batch).logits)
    assert build(batch=batch).condense(batch) is batch


@pytest.mark.parametrize("architecture", ["novel", "baseline", "enhanced"])
def test_the_released_gates_are_pinned_and_ours_are_not(architecture):
    batch = draw_batch(WIDE, size=64)
    model = published(architecture).eval()
    extras = model(batch).extras
    if architecture == "novel":
        means = extras["gate:text"].mean(dim=1)
        assert float(means.mean()) == pytest.approx(0.5, abs=0.005)
        assert float(means.std()) < 0.005
    elif architecture == "enhanced":
        total = sum(extras[f"gate:{name}"] for name in ("text", "audio", "interaction"))
        torch.testing.assert_close(total, torch.ones(64))
    else:
        assert not [name for name in extras if name.startswith("gate:")]


def test_a_norm_within_a_gate_takes_its_preference_away():
    """A gate that wants to be open can be, but for the norm, which centres it again."""
    means = {}
    for pinned in (True, False):
        torch.manual_seed(0)
        fusion = EAAF(64, 0.0, pinned=pinned).eval()
        gate = fusion.gates[0]
        linear = gate[0] if pinned else gate
        with torch.no_grad():
            linear.bias.fill_(5.0)
        found = fusion(*torch.randn(2, 32, 64).unbind(0)).gates["first"]
        means[pinned] = float(found.detach().mean())
    assert means[True] == pytest.approx(0.5, abs=0.01)
    assert means[False] > 0.95


def test_fusions_by_hand():
    first, second = torch.randn(2, 5, 8).unbind(0)
    g = torch.cat([first, second, first * second], dim=1)
    eaaf = EAAF(8, 0.0, pinned=False).eval()
    open1, open2 = (torch.sigmoid(gate(g)) for gate in eaaf.gates)
    inner = open1 * first + open2 * second + 0.5 * eaaf.interaction(first * second)
    torch.testing.assert_close(eaaf(first, second).fused, eaaf.output(inner))
    shared = ConstrainedFusion(8, 0.0, 2.0).eval()
    a = torch.softmax(shared.shares(g) / 2, dim=1)
    whole = a[:, :1] * first + a[:, 1:2] * second + a[:, 2:] * first * second
    expected = shared.output(whole * torch.sigmoid(shared.scale(g)))
    torch.testing.assert_close(shared(first, second).fused, expected)


def test_gates_forced_to_one_side_leave_one_modality():
    first, second = torch.randn(2, 5, 8).unbind(0)
    eaaf = EAAF(8, 0.0, pinned=False).eval()
    with torch.no_grad():
        eaaf.beta.zero_()
        for gate, bias in zip(eaaf.gates, (200.0, -200.0), strict=True):
            gate.weight.zero_()
            gate.bias.fill_(bias)
    torch.testing.assert_close(eaaf(first, second).fused, eaaf.output(first))


def test_the_guidance_learns_from_where_emotions_lie():
    """With the loss on projections the map reaches their places; without it, it does not."""
    batch = draw_batch(DIMS, LONG, 12)
    labels = torch.arange(12) % 4
    context = LossContext(torch.bincount(labels), {}, FOUR)
    judge = build_objective([PLACES], context)
    ends = {}
    for terms in ((CE, VAD), (CE, VAD, PLACES)):
        model = build({"layers": 1}, batch=batch).train()
        objective = build_objective(terms, context)
        learner = torch.optim.Adam(model.parameters(), lr=3e-3)
        torch.manual_seed(0)
        for _ in range(60):
            learner.zero_grad()
            objective(model(batch), Targets(labels))[0].backward()
            learner.step()
        ends[len(terms)] = float(judge(model.eval()(batch), Targets(labels))[0].detach())
    assert ends[3] < 0.5 * ends[2]


def test_published_start():
    """Xavier matrices; a packed attention's as one matrix of three; beta 0.5, lambda as told."""
    model = published(vad_lambda=0.3)
    assert float(model.fusion.beta.detach()) == 0.5
    assert [float(p.detach()) for p in by_name(model, "raw").values()] == pytest.approx([0.3] * 4)
    bound = math.sqrt(6 / (384 + 384))
    guided, own = model.cross[0].blocks["text"].attention, model.streams["text"].encoder.attention
    for matrix, expected in (
        (guided.query, bound),
        (guided.output, bound),
        (own.output, bound),
        (own.query, math.sqrt(6 / (384 + 3 * 384))),
        (published("baseline").cross[0].blocks["text"].attention.key, math.sqrt(6 / (4 * 384))),
    ):
        assert float(matrix.weight.detach().abs().max()) == pytest.approx(expected, rel=1e-3)
        assert not matrix.bias.any()


def test_what_the_output_holds():
    batch = draw_batch(DIMS, LONG, lacking=True)
    output = build(batch=batch)(batch)
    assert set(output.attention) == {"text->text", "audio->audio", "text->audio", "audio->text"}
    assert output.attention["audio->text"].shape == (8, 4, 7, 5)
    gone = ~batch.modalities["audio"].present
    assert gone.any()
    assert not output.weights["audio"][gone].any()
    assert torch.equal(output.extras["present:audio"], ~gone)
    assert output.extras["micl:text"].shape == (8, 128)
    assert output.extras["vad:1:audio:text"].shape == (8, 3)
    assert float(output.vad.detach().abs().max()) <= 1.0
    assert set(output.embeddings) == {"text", "audio", "fused"}


def test_micl_sees_a_modality_before_it_saw_the_other():
    batch = draw_batch(DIMS, LONG)
    audio = batch.modalities["audio"]
    other = Batch(
        {**batch.modalities, "audio": Sequences(audio.values.flip(0), audio.mask.flip(0))}
    )
    for start, same in (("before", True), ("after", False)):
        model = build({"micl_from": start}, batch=batch)
        first, second = (model(one).extras["micl:text"] for one in (batch, other))
        assert torch.allclose(first, second, atol=1e-6) is same


@pytest.mark.parametrize(
    ("options", "dims", "message"),
    [
        ({"hidden": 18}, DIMS, "18 is no multiple of 4 heads"),
        ({"vga": False, "vad_lambda": 1.0}, DIMS, "vga false does not read 'vad_lambda'"),
        ({"vad_lambda": 0.0}, DIMS, "starts above 0; to switch it off: vga=false"),
        ({"gates": False, "gate_temperature": 1.0, "architecture": "enhanced"}, DIMS,
         "gates false does not read 'gate_temperature'"),
        ({"gate_temperature": 1.0}, DIMS, "architecture 'novel' does not read 'gate_temperature'"),
        ({"micl": False, "micl_from": "after"}, DIMS, "micl false does not read 'micl_from'"),
        ({"cross_attention": False, "layers": 2}, DIMS, "false does not read 'layers'"),
        ({"cross_attention": False, "vga": True}, DIMS, "false does not read 'vga'"),
        ({"supcon": True}, DIMS, "architecture 'novel' does not read 'supcon'"),
        ({"architecture": "baseline", "micl": True}, DIMS, "'baseline' does not read 'micl'"),
        ({**RELEASED, "views": 4}, DIMS, "variant 'published' does not read 'views'"),
        ({**RELEASED, "normalise": True}, DIMS, "'published' does not read 'normalise'"),
        ({**RELEASED, "cross_attention": False}, DIMS, "of this architecture does not"),
        (RELEASED, {"audio": 4}, "'published' needs two modalities, not audio alone"),
        ({"vga": True}, {"text": 4}, r"one modality \(text\) does not read 'vga'"),
        ({}, {"text": 4, "audio": 4, "video": 4}, "one or two modalities"),
        ({"vad_lamda": 1.0}, DIMS, "did you mean 'vad_lambda'"),
    ],
)  # fmt: skip
def test_mistakes_are_named(options, dims, message):
    with pytest.raises(OptionError, match=message):
        build(options, dims)


def test_guidance_over_pooled_features_is_refused():
    batch = draw_batch(DIMS)
    with pytest.raises(OptionError, match="set model.views=4, or give granularity: frames"):
        build(batch=batch)
    for options in ({"views": 4}, {"vga": False}, {"architecture": "baseline"}, RELEASED):
        build(options, batch=batch)
    build(batch=draw_batch(DIMS, {"audio": 6}))


def test_what_a_batch_must_hold():
    batch = draw_batch(DIMS)
    model = build(RELEASED)
    assert model.needs() == {"text", "audio"}
    with pytest.raises(FeatureError, match="knows text, audio; the batch holds audio"):
        model(batch.only("audio"))
    with pytest.raises(FeatureError, match="set trainer.drop_last=true"):
        model.train()(draw_batch(DIMS, size=1))
    build({**RELEASED, "architecture": "baseline"}).train()(draw_batch(DIMS, size=1))
    with pytest.raises(FeatureError, match="the batch holds nothing"):
        build()(Batch({}))


def toy(size, spread, seed=0):
    """Text tells the first two classes from the others, audio odd from even: neither is enough."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(size) % 4
    sides = {"text": labels // 2, "audio": labels % 2}
    parts = {}
    for name, dim in DIMS.items():
        values = spread * torch.randn(size, 1, dim, generator=generator)
        values[:, 0, :4] += (2.0 * sides[name].float() - 1.0)[:, None]
        parts[name] = Sequences(values, torch.ones(size, 1, dtype=torch.bool))
    return Batch(parts), labels


def learn(options, terms, batch, labels, steps=80):
    dims = {name: DIMS[name] for name in batch.modalities}
    model = fitted_model("vga-fusion", {**SMALL, **options}, dims, batch).train()
    objective = build_objective(terms, LossContext(torch.bincount(labels), {}, FOUR))
    learner = torch.optim.AdamW(model.parameters(), lr=3e-3)
    torch.manual_seed(0)
    history = []
    for step in range(steps):
        objective.advance(step / steps)
        total, values = objective(model(batch), Targets(labels))
        learner.zero_grad()
        total.backward()
        learner.step()
        history.append({name: float(value) for name, value in values.items()})
    return model.eval(), history


@pytest.mark.parametrize(
    ("options", "terms"),
    [
        ({"views": 4}, (CE, VAD, MICL)),
        ({"architecture": "enhanced", "views": 2},
         ({"name": "focal-smooth"}, VAD, {**MICL, "hard": True})),
        ({"architecture": "baseline"}, (CE, VAD, SUPCON)),
        (RELEASED, (CE, VAD, MICL)),
    ],
)  # fmt: skip
def test_training_lowers_every_loss(options, terms):
    _, history = learn(options, terms, *toy(32, 0.1))
    for name in history[0]:
        assert history[-1][name] < 0.9 * history[0][name], name


def test_two_modalities_know_more_than_one():
    batch, labels = toy(64, 0.3)
    fresh, gold = toy(64, 0.3, seed=1)
    scores = {}
    for names in (("text", "audio"), ("text",), ("audio",)):
        model, _ = learn({"views": 2}, (CE,), batch.only(*names), labels)
        found = model(fresh.only(*names)).logits.argmax(dim=1)
        scores[names] = float((found == gold).float().mean())
    assert scores["text", "audio"] > 0.9
    assert max(scores[("text",)], scores[("audio",)]) < 0.75


def test_recipes_and_their_rows_load_and_build():
    names = sorted(name for name in recipe_files() if name.startswith("vga-fusion/"))
    assert {f"vga-fusion/{one}" for one in
            ("iemocap-4", "iemocap-5", "iemocap-6", "crema-d-4", "crema-d-6", "meld-4", "meld-7",
             "frames", "baseline", "enhanced")} <= set(names)  # fmt: skip
    for name in names:
        rows = [(), *load_recipe(name, DATA).ablations.values()]
        for row in rows:
            recipe = load_recipe(name, [*DATA, *row])
            dims = {one: DIMS[one] for one in recipe.encoders}
            model = build_model(
                recipe.model["name"], {**recipe.model_options, "hidden": 16}, ModelSpec(dims, 4)
            )
            context = LossContext(torch.ones(4), {}, FOUR, recipe.data.label_scheme.vad)
            long = {one: 3 if spec.granularity == "frames" else 1
                    for one, spec in recipe.encoders.items()}  # fmt: skip
            batch = draw_batch(dims, long)
            model.fit_normalisation(batch)
            objective = build_objective(recipe.objective, context)
            total, _ = objective(model(batch), Targets(torch.arange(8) % 4))
            assert bool(total.isfinite()), (name, row)
        sound = "legacy" not in name
        assert (recipe.model_options.get("variant") != "published") is sound
        assert recipe.trainer.dropout_for(2) == (0.2 if sound else 0.0)


def test_the_defaults_of_the_objective_and_the_trainer():
    recipe = load_recipe("vga-fusion/iemocap-4", DATA)
    assert [(term["name"], term["weight"]) for term in recipe.objective] == [
        ("cross-entropy", 1.0),
        ("vad", 0.3),
        ("micl", 0.2),
    ]
    trainer = recipe.trainer
    assert (trainer.schedule, trainer.rise, trainer.cycle_momentum) == ("onecycle", 0.1, True)
    assert (trainer.learning_rate, trainer.batch_size, trainer.patience) == (2e-4, 16, 15)
    enhanced = load_recipe("vga-fusion/enhanced", DATA)
    assert [term["weight"] for term in enhanced.objective] == [1.0, 0.5, 0.3]
