from __future__ import annotations

import pytest
import torch
from torch import nn

from emofuse.encoders.build import load_encoder
from emofuse.encoders.contract import EncoderSpec, Item
from emofuse.encoders.hf_positions import LONG, FourierConv, quicken


def convolution(kernel, groups=2, channels=8, bias=True):
    torch.manual_seed(kernel)
    return nn.Conv1d(channels, 6, kernel, padding=kernel // 2, groups=groups, bias=bias)


@pytest.mark.parametrize("kernel", [32, 33, 128])
@pytest.mark.parametrize("frames", [1, 32, 65, 300])
@pytest.mark.parametrize("bias", [True, False])
def test_same_sums_as_the_stock_convolution(kernel, frames, bias):
    stock = convolution(kernel, bias=bias)
    values = torch.randn(3, 8, frames)
    with torch.inference_mode():
        torch.testing.assert_close(FourierConv(stock)(values), stock(values), atol=1e-5, rtol=1e-5)


def test_what_learns_is_computed_as_stock_and_gives_gradients():
    stock = convolution(64)
    fast, values = FourierConv(stock), torch.randn(1, 8, 40)
    fast(values).sum().backward()
    assert fast.weight is stock.weight
    assert stock.weight.grad is not None


def test_weights_that_change_are_noticed():
    fast, values = FourierConv(convolution(64)), torch.randn(2, 8, 90)
    with torch.no_grad():
        before = fast(values)
        fast.weight.mul_(2.0)
        stock = nn.functional.conv1d(values, fast.weight, fast.bias, padding=32, groups=2)
        assert not torch.allclose(before, stock, atol=1e-3)
        torch.testing.assert_close(fast(values), stock, atol=1e-5, rtol=1e-5)


def test_bf16_in_bf16_out():
    fast, values = FourierConv(convolution(64)).bfloat16(), torch.randn(2, 8, 90).bfloat16()
    with torch.inference_mode():
        found = fast(values)
        exact = nn.functional.conv1d(
            values.float(), fast.weight.float(), fast.bias.float(), padding=32, groups=2
        )
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(found.float(), exact, atol=1e-2, rtol=1e-2)


def test_only_long_plain_convolutions_are_replaced():
    strided = nn.Conv1d(4, 4, 2 * LONG, stride=2)
    circular = nn.Conv1d(4, 4, 2 * LONG, padding_mode="circular", padding=3)
    module = nn.Sequential(
        nn.Conv1d(4, 4, LONG - 1), strided, circular, nn.Sequential(nn.Conv1d(4, 4, LONG))
    )
    names = list(module.state_dict())
    quicken(module)
    kinds = [isinstance(part, FourierConv) for part in module]
    assert kinds == [False] * 4
    assert isinstance(module[3][0], FourierConv)
    assert list(module.state_dict()) == names


@pytest.mark.parametrize("kind", ["Hubert", "Wav2Vec2", "WavLM"])
def test_an_encoder_with_long_kernels_gives_what_the_stock_model_gives(tmp_path, kind):
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        num_conv_pos_embedding_groups=4, num_conv_pos_embeddings=64, conv_dim=(16, 16, 16),
        conv_kernel=(10, 3, 3), conv_stride=(5, 4, 4), num_feat_extract_layers=3,
    )  # fmt: skip
    stock = getattr(transformers, f"{kind}Model")(config).eval()
    stock.save_pretrained(tmp_path)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path)
    spec = EncoderSpec(name=str(tmp_path), granularity="frames", layer="last")
    encoder = load_encoder("audio", spec)
    waves = [torch.randn(samples) * 0.1 for samples in (3000, 9000, 21_000)]
    found = encoder.encode([Item(str(k), waveform=wave.numpy()) for k, wave in enumerate(waves)])
    assert any(isinstance(part, FourierConv) for part in encoder.open().module.modules())
    for wave, frames in zip(waves, found, strict=True):
        with torch.inference_mode():
            expected = stock(wave[None]).last_hidden_state[0]
        torch.testing.assert_close(torch.from_numpy(frames), expected, atol=1e-4, rtol=1e-3)
