"""Several hidden layers side by side; speech trimmed and levelled before it is encoded."""

from __future__ import annotations

import numpy as np
import pytest

from emofuse.encoders.build import load_encoder
from emofuse.encoders.contract import EncoderSpec, Item
from emofuse.errors import OptionError
from emofuse.media.conditioning import condition
from emofuse.training.finetuning.backbone import open_backbone


def build(folder, **options):
    return load_encoder("audio", EncoderSpec(name=str(folder), **options))


@pytest.mark.parametrize("kind", ["whisper", "wavlm-layer"])
@pytest.mark.parametrize("layers", [(1, 2), (2, 1), (0, 3), (-1, -2), (0,)])
def test_layers_stand_side_by_side_in_the_order_given(checkpoint, clips, kind, layers):
    together = build(checkpoint(kind), layer=layers, granularity="frames")
    assert together.dim == 32 * len(layers)
    each = [build(checkpoint(kind), layer=one, granularity="frames") for one in layers]
    singles = [one.encode(clips) for one in each]
    for place, frames in enumerate(together.encode(clips)):
        expected = np.concatenate([one[place] for one in singles], axis=1)
        np.testing.assert_allclose(frames, expected, atol=1e-4)


def test_pooled_layers_are_as_wide_as_they_say(checkpoint, clips):
    encoder = build(checkpoint("whisper"), layer=(1, 2), pooling="mean+std")
    assert encoder.encode(clips[:1])[0].shape == (1, encoder.dim) == (1, 128)


def test_layers_above_are_cut_off(checkpoint):
    model = build(checkpoint("whisper"), layer=(0, 2)).open()
    assert len(model.layers) == 2
    assert not model.above


@pytest.mark.parametrize("layers", [(), (1, 1), (1, -3), (9,)])
def test_wrong_lists_of_layers(checkpoint, layers):
    with pytest.raises(OptionError, match=r"layer"):
        build(checkpoint("whisper"), layer=layers)


def test_a_text_encoder_takes_one_layer(checkpoint):
    with pytest.raises(OptionError, match="one layer"):
        load_encoder("text", EncoderSpec(name=str(checkpoint("bert")), layer=(1, 2)))


def test_conditioned_speech_is_what_the_model_hears(checkpoint, clips):
    folder = checkpoint("whisper")
    plain = build(folder, layer=2)
    heard = [
        Item(clip.id, waveform=condition(clip.waveform, 16_000, trim=30, level=-23))
        for clip in clips
    ]
    for trimmed, expected in zip(
        build(folder, layer=2, trim=30, level=-23).encode(clips), plain.encode(heard), strict=True
    ):
        np.testing.assert_allclose(trimmed, expected, atol=1e-5)


def test_an_encoder_that_learns_hears_the_same(checkpoint, clips):
    spec = EncoderSpec(name=str(checkpoint("whisper")), trim=30, level=-23)
    backbone = open_backbone("audio", spec, "cpu")
    (mels,) = backbone.prepare(clips[3])
    wave = condition(clips[3].waveform, 16_000, trim=30, level=-23)
    (expected,) = build(checkpoint("whisper")).open().prepare(wave)
    np.testing.assert_array_equal(mels, expected)


@pytest.mark.parametrize("name", ["logmel", "prosody"])
def test_formulas_do_not_trim(name):
    with pytest.raises(OptionError, match="trim"):
        load_encoder("audio", EncoderSpec(name=name, trim=30))
