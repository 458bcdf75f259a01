"""Words count once they are sure, and what they say sums to nothing."""

from __future__ import annotations

import pytest
import torch

from emofuse.models.build import build_model
from emofuse.models.contract import Batch, ModelSpec, Sequences

SPEC = ModelSpec({"audio": 6, "text": 9}, 4)


def sequences(values):
    return Sequences(values[:, None], torch.ones(len(values), 1, dtype=torch.bool))


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(0)
    return Batch(
        {name: sequences(torch.randn(8, dim, generator=draw)) for name, dim in SPEC.dims.items()}
    )


def make(**options):
    model = build_model("evidence", options, SPEC, 0)
    draw = torch.Generator().manual_seed(1)
    for head in model.heads.values():
        torch.nn.init.normal_(head.weight, generator=draw)
    return model


def alone(batch):
    return Batch({"audio": batch.modalities["audio"]})


def test_vague_words_change_nothing(batch):
    model = make(gain=1e-3, doubt=0.5).eval()
    assert torch.equal(model(batch).logits, model(alone(batch)).logits)
    assert torch.equal(model(batch).weights["text"], torch.zeros(8))


def test_sure_words_add_votes_that_sum_to_zero(batch):
    model = make(gain=5.0, doubt=0.5).eval()
    added = model(batch).logits - model(alone(batch)).logits
    torch.testing.assert_close(added.sum(dim=1), torch.zeros(8), atol=1e-4, rtol=0)
    assert bool((added.std(dim=1) > 0).all())


def test_doubt_takes_the_same_from_every_sure_text(batch):
    sure, doubting = make(gain=5.0, doubt=0.0).eval(), make(gain=5.0, doubt=0.5).eval()
    audio = sure(alone(batch)).logits
    whole, less = sure(batch).logits - audio, doubting(batch).logits - audio
    spread = whole.square().mean(dim=1).sqrt() - less.square().mean(dim=1).sqrt()
    torch.testing.assert_close(spread, torch.full((8,), 0.5), atol=1e-4, rtol=0)


def test_training_does_not_doubt(batch):
    plain, doubting = make(doubt=0.0).train(), make(doubt=5.0).train()
    torch.testing.assert_close(plain(batch).logits, doubting(batch).logits)


def test_words_alone_are_answered(batch):
    model = make(doubt=0.0).eval()
    words = Batch({"text": batch.modalities["text"]})
    assert model(words).weights["text"].tolist() == [1.0] * 8
