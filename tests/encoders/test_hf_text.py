from __future__ import annotations

import numpy as np
import pytest
import torch

from emofuse.encoders.build import load_encoder
from emofuse.encoders.contract import EncoderSpec, Item
from emofuse.errors import EncoderError, OptionError

KINDS = ("bert", "roberta", "distilbert")
TEXTS = ("i am so happy !", "sad", "you are not sad . you are happy", "it is not it , it is sad .")


def build(folder, **options):
    return load_encoder("text", EncoderSpec(name=str(folder), **options))


def items(*texts):
    return [Item(f"t{place}", text=text) for place, text in enumerate(texts)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", ["last", "mean", 1])
def test_alone_and_in_a_batch_are_the_same(checkpoint, kind, layer):
    encoder = build(checkpoint(kind), layer=layer, granularity="frames")
    for item, batched in zip(items(*TEXTS), encoder.encode(items(*TEXTS)), strict=True):
        np.testing.assert_allclose(batched, encoder.encode([item])[0], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_and_pooling_are_those_of_the_stock_model(checkpoint, kind):
    from transformers import AutoModel, AutoTokenizer

    folder = checkpoint(kind)
    tokens = AutoTokenizer.from_pretrained(folder)(TEXTS[0], return_tensors="pt")
    tokens = {k: v for k, v in tokens.items() if k in ("input_ids", "attention_mask")}
    with torch.no_grad():
        output = AutoModel.from_pretrained(folder).eval()(**tokens, output_hidden_states=True)
    states = [state[0].numpy() for state in output.hidden_states]
    assert len(states) == 4
    for layer in (0, 2, -1, "last", "mean"):
        (ours,) = build(folder, layer=layer, granularity="frames").encode(items(TEXTS[0]))
        expected = (
            np.mean(states, 0) if layer == "mean" else states[-1 if layer == "last" else layer]
        )
        np.testing.assert_allclose(ours, expected, atol=1e-5)
    (cls,) = build(folder, pooling="cls").encode(items(TEXTS[0]))
    (mean,) = build(folder).encode(items(TEXTS[0]))
    np.testing.assert_allclose(cls[0], states[-1][0], atol=1e-5)
    np.testing.assert_allclose(mean[0], states[-1].mean(0), atol=1e-5)


@pytest.mark.parametrize(("kind", "longest"), [("bert", 24), ("roberta", 19)])
def test_a_cut_text_is_reported(checkpoint, kind, longest):
    encoder = build(checkpoint(kind), granularity="frames")
    (frames, short) = encoder.encode(items("so " * 40, "sad"))
    assert frames.shape == (longest, 32)
    assert len(short) == 3
    (warning,) = encoder.take_warnings()
    assert "'t0'" in warning
    assert f"cut at {longest} tokens" in warning
    assert encoder.take_warnings() == ()


def test_blank_text_and_broken_folders_are_named(checkpoint, tmp_path):
    with pytest.raises(EncoderError, match="no text"):
        build(checkpoint("bert")).encode(items(" "))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(EncoderError):
        build(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(EncoderError, match=r"no config\.json"):
        build(tmp_path)
    with pytest.raises(OptionError, match="no option 'dim'"):
        build(checkpoint("bert"), dim=64)
