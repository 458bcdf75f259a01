"""Attention against torch's own, by masks, and the token that stands for an absent modality."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from emofuse.layers import AbsentToken, MultiHeadAttention


def _twin(ours: MultiHeadAttention, dim: int, heads: int) -> nn.MultiheadAttention:
    theirs = nn.MultiheadAttention(dim, heads, batch_first=True)
    with torch.no_grad():
        parts = (ours.query, ours.key, ours.value)
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        theirs.out_proj.weight.copy_(ours.output.weight)
        theirs.out_proj.bias.copy_(ours.output.bias)
    return theirs


def test_same_as_torch_with_and_without_mask() -> None:
    torch.manual_seed(0)
    ours = MultiHeadAttention(12, heads=3)
    theirs = _twin(ours, 12, 3)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    queries, memory = torch.randn(4, 5, 12), torch.randn(4, 7, 12)
    mask = torch.arange(7)[None] < torch.tensor([7, 3, 1, 5])[:, None]
    for keep in (None, mask):
        found, weights = ours(queries, memory, keep)
        expected, average = theirs(
            queries, memory, memory, key_padding_mask=None if keep is None else ~keep
        )
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(weights.mean(dim=1), average)


def test_padding_and_empty_memory() -> None:
    torch.manual_seed(1)
    layer = MultiHeadAttention(6, 4, width=8, heads=2, outputs=5).eval()
    queries, memory = torch.randn(2, 3, 6), torch.randn(2, 4, 4)
    mask = torch.tensor([[True, True, False, False], [False] * 4])
    found, weights = layer(queries, memory, mask)
    other = memory.masked_fill(~mask[..., None], 9.0)
    torch.testing.assert_close(layer(queries, other, mask)[0], found)
    assert found.shape == (2, 3, 5)
    assert not bool(weights[1].any())
    torch.testing.assert_close(weights[0].sum(dim=-1), torch.ones(2, 3))
    assert bool(torch.isfinite(found).all())


def test_bias_moves_the_weights_but_not_over_one_key() -> None:
    torch.manual_seed(2)
    layer = MultiHeadAttention(4, heads=1).eval()
    queries, memory = torch.randn(1, 2, 4), torch.randn(1, 3, 4)
    bias = torch.tensor([[[0.0, 0.0, 50.0], [0.0, 0.0, 0.0]]])
    _, weights = layer(queries, memory, bias=bias)
    assert float(weights[0, 0, 0, 2].detach()) > 0.999
    alone, _ = layer(queries, memory[:, :1])
    torch.testing.assert_close(layer(queries, memory[:, :1], bias=bias[..., 2:])[0], alone)


def test_width_must_be_a_multiple_of_heads() -> None:
    with pytest.raises(ValueError, match="no multiple of 3 heads"):
        MultiHeadAttention(8, heads=3)


def test_absent_token_stands_in_for_missing_rows_alone() -> None:
    token = AbsentToken(3)
    values = torch.zeros(2, 2, 3)
    values[0] = 1.0
    mask = torch.tensor([[True, True], [False, False]])
    filled, there, present = token(values, mask, 2)
    torch.testing.assert_close(filled[0], values[0])
    torch.testing.assert_close(filled[1, 0], token.token.detach())
    assert there.tolist() == [[True, True], [True, False]]
    assert present.tolist() == [True, False]
    alone, mask_alone, nobody = token(None, None, 4)
    assert alone.shape == (4, 1, 3)
    assert bool(mask_alone.all())
    assert not bool(nobody.any())


@pytest.mark.parametrize("own", [True, False], ids=["self", "cross"])
@pytest.mark.parametrize("some_absent", [True, False])
def test_a_memory_of_one_needs_no_score(own, some_absent) -> None:
    """Against the way that computes scores (a bias of zero keeps it): results and gradients."""
    torch.manual_seed(3)
    layer = MultiHeadAttention(12, heads=3, dropout=0.4)
    memory = torch.randn(5, 1, 12)
    queries = memory if own else torch.randn(5, 4, 12)
    mask = torch.tensor([[True], [not some_absent], [True], [True], [not some_absent]])
    push = torch.randn(queries.shape)

    def run(bias):
        asked = queries.clone().requires_grad_()
        torch.manual_seed(4)
        layer.zero_grad()
        found, weights = layer(asked, asked if own else memory, mask, bias)
        found.backward(push)
        learnt = {name: one.grad for name, one in layer.named_parameters()}
        return found.detach(), weights.detach(), asked.grad, learnt

    fast, slow = run(None), run(torch.zeros(5, queries.shape[1], 1))
    for one, other in zip(fast[:3], slow[:3], strict=True):
        torch.testing.assert_close(one, other)
    assert set(fast[3]) == set(slow[3])
    for name, gradient in slow[3].items():
        torch.testing.assert_close(fast[3][name], gradient)
        assert bool(gradient.any()) == (name.split(".")[0] in ("value", "output"))
    found, weights = layer.eval()(queries, memory, mask)
    other, same = layer(queries, memory, mask, torch.zeros(5, queries.shape[1], 1))
    torch.testing.assert_close(found, other)
    assert torch.equal(weights, same)


def test_a_memory_of_one_over_many_models_at_once() -> None:
    torch.manual_seed(5)
    layers = [MultiHeadAttention(8, heads=2) for _ in range(3)]
    memory = torch.randn(3, 4, 1, 8)
    stacked = {
        name: torch.stack([dict(one.named_parameters())[name].detach() for one in layers])
        for name, _ in layers[0].named_parameters()
    }
    leaves = {name: one.requires_grad_() for name, one in stacked.items()}

    def passed(parameters, values):
        found, _ = torch.func.functional_call(layers[0], parameters, (values, values))
        return found.square().sum()

    torch.vmap(passed)(leaves, memory).sum().backward()
    for row, layer in enumerate(layers):
        layer(memory[row], memory[row])[0].square().sum().backward()
        for name, one in layer.named_parameters():
            torch.testing.assert_close(leaves[name].grad[row], one.grad)
