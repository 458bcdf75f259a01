from __future__ import annotations

import numpy as np
import pytest
import torch

from emofuse.explain.gates import RULE_OF, Gates, read_gates
from emofuse.explain.panel import NotApplicable
from emofuse.layers.fuzzy import MEMBERSHIPS, choose, shape_of
from emofuse.models.build import build_model
from emofuse.models.contract import Batch, EmotionOutput, ModelSpec, Sequences

DIMS = {"audio": 6, "text": 5}


def ask(name, frames=4, **options):
    model = build_model(name, options, ModelSpec(DIMS, 3), 0).eval()
    random = torch.Generator().manual_seed(0)
    batch = Batch(
        {
            one: Sequences(
                torch.randn(3, frames, dim, generator=random),
                torch.ones(3, frames, dtype=torch.bool),
            )
            for one, dim in DIMS.items()
        }
    )
    with torch.no_grad():
        return model, batch, model(batch)


@pytest.mark.parametrize(("variant", "frames"), [("described", 4), ("published", 1)])
def test_the_gate_of_gmu_is_told(variant, frames):
    model, _, output = ask("fleser", frames, variant=variant, fusion="gmu", hidden=16, heads=2)
    gates = read_gates(output)
    assert set(gates.openness) == {"text", "audio"}
    np.testing.assert_allclose(gates.openness["text"] + gates.openness["audio"], 1.0, rtol=1e-6)
    np.testing.assert_allclose(gates.weights["text"], gates.openness["text"], rtol=1e-5)
    assert (gates.spread["text"] > 0).all()
    assert output.extras["gate:text"].shape == (3, 16)
    assert model.fusion.gate is not None


def test_eaaf_gates_do_not_sum_to_one():
    _, _, output = ask("vga-fusion", hidden=16, heads=2)
    gates = read_gates(output)
    assert {"text", "audio"} <= set(gates.openness)
    for name in ("text", "audio"):
        given = output.extras[f"gate:{name}"].double()
        np.testing.assert_allclose(gates.openness[name], given.mean(dim=1).numpy())
        assert ((gates.openness[name] > 0) & (gates.openness[name] < 1)).all()


def test_memberships_and_alpha_are_told():
    _, _, output = ask("fleser", fusion="cross_attention", alpha=0.3, hidden=16, heads=2)
    gates = read_gates(output)
    for shares in gates.memberships.values():
        np.testing.assert_allclose(shares.sum(axis=1), 1.0)
        assert set(np.unique(shares)) <= {0.0, 1.0}
    np.testing.assert_allclose(gates.alpha, 0.3, rtol=1e-6)
    joined = Gates.join([gates, gates])
    assert all(len(one) == 6 for one in joined.columns().values())
    assert "audio: tanh (rule 2)" in joined.columns()


def test_the_rules_are_those_of_the_rule_base():
    """Each kind of shape is sent where its rule says."""
    inside = torch.linspace(0.0, 1.0, 64)
    shapes = {
        "gaussian": inside,
        "linear": 0.5 + 0.05 * torch.linspace(-1, 1, 64),
        "tanh": torch.cat([torch.zeros(60), torch.full((4,), 9.0)]),
        "sigmoid": torch.linspace(-3.0, 3.0, 64),
        "piecewise": torch.linspace(-1.0, 1.0, 64),
    }
    mask = torch.ones(1, 1, dtype=torch.bool)
    rules = {}
    for kind, values in shapes.items():
        place = int(choose(shape_of(values[None, None], mask))[0])
        assert MEMBERSHIPS[place] == kind
        rules[kind] = RULE_OF[kind]
    assert rules == {
        "gaussian": "rule 1",
        "linear": "rule 1",
        "tanh": "rule 2",
        "sigmoid": "rule 3",
        "piecewise": "rule 4",
    }


def test_a_model_that_says_nothing_is_refused():
    with pytest.raises(NotApplicable, match="no gate, membership or modality weight"):
        read_gates(EmotionOutput(torch.zeros(2, 3)))
