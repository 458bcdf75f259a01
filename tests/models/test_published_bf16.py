"""Published forms break invariances on purpose; they run and learn in bfloat16 all the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.models.conformance import draw_batch

from emofuse.models.build import build_model
from emofuse.models.contract import ModelSpec

FORMS: dict[str, tuple[dict[str, Any], dict[str, int], dict[str, int]]] = {
    "fleser": ({"release": "R2"}, {"audio": 16, "text": 16}, {}),
    "fleser r1": ({"release": "R1"}, {"audio": 16, "text": 16}, {}),
    "four-m-ser": ({}, {"audio": 16, "text": 24}, {"audio": 9, "text": 6}),
    "four-m-ser server": ({"architecture": "server"}, {"audio": 16, "text": 24}, {"audio": 9}),
    "memocmt": ({}, {"audio": 16, "text": 24}, {"audio": 9, "text": 6}),
    "vga-fusion": ({"hidden": 48}, {"audio": 16, "text": 24}, {}),
    "vga-fusion enhanced": (
        {"hidden": 48, "architecture": "enhanced"},
        {"audio": 16, "text": 24},
        {},
    ),
    "vga-fusion baseline": (
        {"hidden": 48, "architecture": "baseline"},
        {"audio": 16, "text": 24},
        {},
    ),
    "foal-net": ({}, {"audio": 16, "video": 24}, {"audio": 9, "video": 6}),
    "copenhagen resnet18": ({"architecture": "resnet18"}, {"audio": 64}, {"audio": 40}),
    "copenhagen text-mlp": ({"architecture": "text-mlp"}, {"text": 24}, {}),
    "copenhagen early-fusion": (
        {"architecture": "early-fusion"},
        {"audio": 64, "text": 24},
        {"audio": 40},
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_published_forms_learn_in_bf16(form: str) -> None:
    options, dims, lengths = FORMS[form]
    spec = ModelSpec(dims, 4)
    name, _, kind = form.partition(" ")
    model = build_model(name, {"variant": "published", **options}, spec, seed=0)
    batch = draw_batch(dims, {name: lengths.get(name, 1) for name in dims})
    model.fit_normalisation(batch)
    labels = torch.arange(len(batch)) % 4
    rate = 1e-5 if kind == "early-fusion" else 1e-3  # 64,000 inputs side by side
    optimiser = torch.optim.SGD(model.parameters(), lr=rate)
    losses = []
    model.eval()
    exact = model(batch).logits
    for _ in range(5):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(batch).logits
        if not losses:
            scale = float(exact.detach().abs().max())
            torch.testing.assert_close(logits.float(), exact, rtol=0.05, atol=0.05 * max(scale, 1))
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
