"""Averaging successive frames: as by hand, a place of its own in the store, refused elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from emofuse.encoders.build import load_encoder
from emofuse.encoders.contract import EncoderSpec, Item
from emofuse.encoders.pooling import thin
from emofuse.errors import OptionError
from emofuse.features.keys import encoder_space


def test_every_frame_counts_once():
    frames = np.random.default_rng(0).normal(size=(23, 3)).astype(np.float32)
    for stride in (1, 2, 5, 23, 40):
        expected = [frames[start : start + stride].mean(axis=0) for start in range(0, 23, stride)]
        np.testing.assert_allclose(thin(frames, stride), expected, atol=1e-6)


def test_log_mel_frames_slow_down():
    wave = np.random.default_rng(1).normal(scale=0.1, size=16_000).astype(np.float32)
    plain, slow = (
        load_encoder("audio", EncoderSpec.from_text(f"logmel:granularity=frames,stride={stride}"))
        for stride in (1, 4)
    )
    assert slow.frame_rate == 25.0
    item = Item("a", waveform=wave)
    np.testing.assert_array_equal(slow.encode([item])[0], thin(plain.encode([item])[0], 4))
    assert encoder_space(plain) != encoder_space(slow)


@pytest.mark.parametrize(
    ("modality", "text"),
    [("audio", "logmel:stride=2"), ("audio", "prosody:stride=2"), ("text", "ngrams:stride=2")],
)
def test_refused_where_there_are_no_frames(modality, text):
    with pytest.raises(OptionError, match="stride"):
        load_encoder(modality, EncoderSpec.from_text(text))
