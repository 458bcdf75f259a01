"""Acoustic figures against NumPy and pandas, on hostile clips, and what they say of themselves."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from scipy.fft import dct
from scipy.signal import savgol_filter

from emofuse.encoders.acoustic import Acoustic, descriptor_statistics
from emofuse.encoders.build import describe_encoder, load_encoder
from emofuse.encoders.cepstra import CEPSTRAL_FIGURES, cepstral_statistics, slope
from emofuse.encoders.contract import EncoderSpec, Item
from emofuse.errors import MissingExtraError, OptionError

HOSTILE = {
    "silent": np.zeros(8000),
    "one sample": np.array([0.3]),
    "short": np.full(300, 0.2),
    "clipped": np.sign(np.sin(np.arange(9000) / 7)),
    "quiet": 1e-7 * np.sin(np.arange(9000) / 7),
    "constant": np.ones(5000),
    "noise": np.random.default_rng(1).normal(size=20_000) * 0.1,
}


def test_slope_is_the_savitzky_golay_derivative():
    values = np.random.default_rng(0).normal(size=(30, 4))
    expected = savgol_filter(values, 5, 1, deriv=1, axis=0, mode="nearest")
    np.testing.assert_allclose(slope(values), expected, atol=1e-12)
    assert slope(values.astype(np.float32)).dtype == np.float32


def test_cepstral_statistics_against_pandas():
    random = np.random.default_rng(1)
    bands = random.normal(size=(80, 64)).astype(np.float32)
    bands[:20] -= 30.0  # 130 dB below the rest: not active
    frame = pd.DataFrame(dct(bands.astype(float), norm="ortho")[:, :20])
    first = slope(frame.to_numpy())
    active, slopes = frame[20:], pd.DataFrame(first)[20:]
    parts = [
        active.mean()[1:],
        active.std(ddof=0),
        *((active - active.mean()).quantile(q) for q in (0.05, 0.2, 0.8, 0.95)),
        slopes.std(ddof=0),
        pd.DataFrame(slope(first))[20:].std(ddof=0),
        *(slopes.quantile(q) for q in (0.05, 0.95)),
    ]
    found = cepstral_statistics(bands)
    assert found.shape == (CEPSTRAL_FIGURES,) == (199,)
    np.testing.assert_allclose(found, np.concatenate(parts), atol=1e-9)


def test_cepstral_statistics_do_not_depend_on_the_level():
    bands = np.random.default_rng(2).normal(size=(50, 64)).astype(np.float32)
    louder = cepstral_statistics(bands + np.float32(3.0))
    np.testing.assert_allclose(louder, cepstral_statistics(bands), atol=1e-4)


def test_descriptor_statistics_against_pandas():
    random = np.random.default_rng(3)
    frames = random.normal(size=(60, 25)).astype(np.float32)
    frames[:, 0] = np.where(np.arange(60) % 7 == 3, 0.01, 1.0)  # loudness
    frames[:, 10] = np.where(np.arange(60) < 25, 30.0 + random.normal(size=60), 0.0)  # pitch
    table = pd.DataFrame(frames.astype(float))
    loud, voiced = frames[:, 0] > 0.2, frames[:, 10] > 0
    steps = table.diff()
    spectral, vocal = list(range(10)), list(range(10, 25))
    parts = []
    for mask, columns in ((loud, spectral), (voiced, vocal)):
        chosen = table.loc[mask, columns]
        quantiles = [chosen.quantile(q) for q in (0.05, 0.25, 0.5, 0.75, 0.95)]
        parts += [chosen.mean(), chosen.std(ddof=0), *quantiles]
    for mask, columns in ((loud, spectral), (voiced, vocal)):
        both = mask & np.concatenate([[False], mask[:-1]])
        chosen = steps.loc[both, columns]
        parts += [chosen.std(ddof=0), chosen.abs().mean()]
    parts.append(steps.loc[voiced & np.roll(voiced, 1) & (steps.index > 0), [10]].mean())
    found = descriptor_statistics(frames)
    assert found.shape == (226,)
    np.testing.assert_allclose(found, np.concatenate(parts), atol=1e-9)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_without_a_voice_all_frames_count(frames):
    values = np.zeros((frames, 25), np.float32)
    values[:, 11] = np.arange(frames)
    found = descriptor_statistics(values)
    assert np.isfinite(found).all()
    assert found[70 + 1] == pytest.approx(np.arange(frames).mean())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_any_clip_and_alone_as_in_a_batch():
    pytest.importorskip("opensmile")
    encoder = Acoustic(EncoderSpec(name="acoustic"))
    items = [Item(name, waveform=np.asarray(w, np.float32)) for name, w in HOSTILE.items()]
    for item, together in zip(items, encoder.encode(items), strict=True):
        (alone,) = encoder.encode([item])
        assert together.shape == (1, 425)
        assert np.isfinite(together).all(), item.id
        np.testing.assert_allclose(together, alone, atol=1e-4)
    about = describe_encoder(encoder)
    assert about["dim"] == 425
    assert "no commercial use" in str(about["provenance"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("option", ["granularity=frames", "pooling=stats", "layer=2", "dim=64"])
def test_options_that_it_lacks_are_refused(option):
    with pytest.raises(OptionError, match="no option"):
        load_encoder("audio", EncoderSpec.from_text(f"acoustic:{option}"))


def test_without_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'emofuse\[opensmile\]'"):
        load_encoder("audio", EncoderSpec(name="acoustic"))
