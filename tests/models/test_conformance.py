"""The plain models conform, and `conform` sees a model that does not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.models.conformance import conform, draw_batch

from emofuse.models import contract

DIMS = {"audio": 6, "text": 5}


@pytest.mark.parametrize(
    ("name", "options"),
    [("linear", {}), ("mlp", {"hidden": 8, "dropout": 0.1}), ("late-fusion", {"hidden": 8})],
)
def test_plain_models_conform(name: str, options: dict[str, Any]) -> None:
    conform(name, options, DIMS)
    conform(name, options | {"pooling": "attention"}, DIMS, {"audio": 7, "text": 4})


def test_a_model_that_looks_at_its_neighbours_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from emofuse.models.mlp import MLP

    forward = MLP.forward

    def leaky(self: MLP, batch: contract.Batch) -> contract.EmotionOutput:
        output = forward(self, batch)
        return contract.EmotionOutput(output.logits - output.logits.mean(dim=0))

    monkeypatch.setattr(MLP, "forward", leaky)
    with pytest.raises(AssertionError):
        conform("mlp", {"hidden": 8}, DIMS)


def test_batches_of_different_lengths() -> None:
    batch = draw_batch(DIMS, {"audio": 7}, lacking=True)
    assert batch.modalities["audio"].mask.sum(dim=1)[0] == 7
    assert batch.modalities["audio"].present.tolist() == [True] * 7 + [False]
    assert not bool(batch.modalities["text"].present[6])
    assert torch.equal(batch.modalities["text"].values[6], torch.zeros(1, 5))
