from __future__ import annotations

import numpy as np
import pytest
import torch

from emofuse.encoders.build import load_encoder
from emofuse.encoders.contract import EncoderSpec, Item
from emofuse.encoders.hf_frontend import CPU_BLOCK, ConvFrontEnd

KINDS = ("hubert-group", "wav2vec2-layer", "wavlm-group", "data2vec-audio")


@pytest.fixture
def stock(checkpoint):
    from transformers import AutoModel

    def read(kind):
        return AutoModel.from_pretrained(checkpoint(kind)).eval().feature_extractor

    return read


def waveform(samples, offset=0.0, scale=0.1):
    rng = np.random.default_rng(samples)
    return torch.from_numpy((rng.normal(size=samples) * scale + offset).astype(np.float32))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("samples", [170, 4000, 80 * CPU_BLOCK, 80 * 3 * CPU_BLOCK + 777])
def test_same_values_as_the_stock_convolutions(stock, kind, samples):
    extractor = stock(kind)
    front = ConvFrontEnd(extractor, "cpu", torch.float32)
    wave = waveform(samples)
    with torch.inference_mode():
        expected = extractor(wave[None])[0].T
        found = front(wave)
    assert found.shape == expected.shape
    assert len(found) == front.frames(samples)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1e-3), (0.5, 0.01), (0.0, 0.0), (0.25, 0.0)])
def test_quiet_clips_and_clips_with_an_offset(stock, offset, scale):
    extractor = stock("hubert-group").double()
    wave = waveform(9000, offset, scale)
    with torch.inference_mode():
        expected = extractor(wave[None].double())[0].T.float()
        found = ConvFrontEnd(extractor.float(), "cpu", torch.float32)(wave)
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-3)


def test_a_part_of_a_longer_array_is_read_where_it_lies(stock):
    front = ConvFrontEnd(stock("wav2vec2-layer"), "cpu", torch.float32)
    whole = waveform(9000)
    part = whole[1234:7000]
    with torch.inference_mode():
        torch.testing.assert_close(front(part), front(part.clone()))


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_rounds_no_more_than_the_stock_convolutions_in_bf16(stock, kind):
    extractor, wave = stock(kind), waveform(12_000)
    with torch.inference_mode():
        exact = extractor(wave[None])[0].T
        ours = ConvFrontEnd(extractor, "cpu", torch.bfloat16)(wave)
        stock_bf16 = extractor.bfloat16()(wave[None].bfloat16())[0].T
    assert ours.dtype == torch.bfloat16
    assert (ours - exact).square().mean() <= (stock_bf16 - exact).square().mean()


def test_each_precision_is_filed_by_itself(checkpoint):
    def precision(wanted):
        spec = EncoderSpec(name=str(checkpoint("hubert-group")), precision=wanted)
        encoder = load_encoder("audio", spec)
        encoder.encode([Item("a", waveform=waveform(4000).numpy())])
        return encoder.precision

    assert precision("fp32") == "fp32"
    assert precision("bf16") == "bf16"
