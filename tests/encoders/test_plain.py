from __future__ import annotations

import re
import sys
from zlib import crc32

import numpy as np
import pytest
import torch
from scipy.fft import dct
from scipy.signal import get_window, stft

from emofuse.corpora import CORPORA
from emofuse.encoders import ENCODERS
from emofuse.encoders.batching import make_batches, split_evenly
from emofuse.encoders.build import describe_encoder, load_encoder
from emofuse.encoders.contract import EncoderSpec, Item
from emofuse.encoders.pooling import pool
from emofuse.encoders.prosody import NAMES
from emofuse.encoders.provenance import LEDGER, look_up
from emofuse.encoders.workers import parallel_map
from emofuse.errors import EncoderError, MissingExtraError, OptionError
from emofuse.features.keys import encoder_space

HOSTILE = {
    "silent": np.zeros(8000),
    "one sample": np.array([0.3]),
    "short": np.full(300, 0.2),
    "clipped": np.sign(np.sin(np.arange(9000) / 7)),
    "quiet": 1e-7 * np.sin(np.arange(9000) / 7),
    "constant": np.ones(5000),
}


def audio(text, *waves):
    items = [Item(str(i), waveform=np.asarray(w, np.float32)) for i, w in enumerate(waves)]
    return load_encoder("audio", EncoderSpec.from_text(text)).encode(items)


def text(spec, *texts):
    items = [Item(str(i), text=t) for i, t in enumerate(texts)]
    return load_encoder("text", EncoderSpec.from_text(spec)).encode(items)


def scipy_log_mel(wave):
    """The documented formula again, in float64, by scipy's short-time transform."""
    frames = 1 + max(0, -(-(len(wave) - 400) // 160))
    padded = np.pad(wave.astype(np.float64), (0, (frames - 1) * 160 + 400 - len(wave)))
    window = get_window("hann", 400)
    _, _, spectrum = stft(
        padded, window=window, nperseg=400, noverlap=240, nfft=512, boundary=None, padded=False
    )
    power = np.abs(spectrum * window.sum()) ** 2
    mel = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 8000 / 700), 66)
    edges = 700 * (10 ** (mel / 2595) - 1)
    hertz = np.arange(257) * 16000 / 512
    filters = np.array(
        [np.interp(hertz, edges[i : i + 3], [0, 1, 0], left=0, right=0) for i in range(64)]
    )
    return np.log(power.T @ filters.T + 1e-6)


@pytest.mark.parametrize("samples", [400, 401, 560, 12345])
def test_log_mel_against_scipy(samples):
    wave = (np.random.default_rng(0).normal(size=samples) * 0.1).astype(np.float32)
    (ours,) = audio("logmel:granularity=frames", wave)
    np.testing.assert_allclose(ours, scipy_log_mel(wave), atol=2e-4)


def test_log_mel_peaks_where_the_tone_is():
    wave = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    (frames,) = audio("logmel:granularity=frames", wave)
    centres = 700 * (
        10 ** (np.linspace(2595 * np.log10(1 + 20 / 700), 2840.02, 66)[1:-1] / 2595) - 1
    )
    assert abs(centres[frames.mean(0).argmax()] - 1000) < 40


@pytest.mark.parametrize("name", ["logmel:pooling=stats", "logmel:granularity=frames", "prosody",
                                  "prosody:granularity=frames"])  # fmt: skip
def test_plain_audio_encoders_take_anything(name):
    rng = np.random.default_rng(1)
    waves = [*HOSTILE.values(), rng.normal(size=20_000) * 0.1]
    together = audio(name, *waves)
    for wave, batched in zip(waves, together, strict=True):
        (alone,) = audio(name, wave)
        assert np.isfinite(alone).all()
        np.testing.assert_allclose(batched, alone, atol=1e-4)


def test_pooling_against_numpy():
    frames = np.random.default_rng(2).normal(size=(50, 3)).astype(np.float32)
    np.testing.assert_allclose(
        pool(frames, "mean+std")[0], [*frames.mean(0), *frames.std(0)], rtol=1e-5
    )
    np.testing.assert_array_equal(pool(frames, "max")[0], frames.max(0))
    np.testing.assert_array_equal(pool(frames, "cls")[0], frames[0])
    stats = pool(frames, "stats")[0].reshape(9, 3)
    np.testing.assert_allclose(stats[4], np.median(frames, axis=0), rtol=1e-5)
    np.testing.assert_allclose(stats[7], np.diff(frames, axis=0).std(0), rtol=1e-5)
    assert pool(frames[:1], "stats")[0].reshape(9, 3)[1].tolist() == [0, 0, 0]


def test_prosody_finds_the_pitch_and_ignores_the_level():
    time = np.arange(32000) / 16000
    voice = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 8)) * 0.05
    voice += np.random.default_rng(8).normal(size=len(voice)) * 0.005
    (plain,), (loud,) = audio("prosody", voice)[0], audio("prosody", 4 * voice)[0]
    figures = dict(zip(NAMES, plain, strict=True))
    assert len(NAMES) == len(set(NAMES)) == 106
    assert np.exp(figures["pitch.mean"]) == pytest.approx(150, rel=0.02)
    assert figures["voiced.share"] > 0.95
    assert figures["active.seconds"] == pytest.approx(2.0, abs=0.05)
    np.testing.assert_allclose(plain, loud, rtol=0.02, atol=0.05)


def test_prosody_cepstra_against_scipy():
    wave = (np.random.default_rng(3).normal(size=9000) * 0.1).astype(np.float32)
    (curves,) = audio("prosody:granularity=frames", wave)
    (bands,) = audio("logmel:granularity=frames", wave)
    assert len(curves) == len(bands)
    np.testing.assert_allclose(curves[:, :20], dct(bands, norm="ortho")[:, :20], atol=1e-3)


def test_ngrams_are_stable_and_of_unit_length():
    first, second, other = text("ngrams", "I am SO happy!", "i am so  happy", "I am sad")
    np.testing.assert_array_equal(first, second)
    assert float(np.linalg.norm(first)) == pytest.approx(1.0, abs=1e-6)
    assert float((first * other).sum()) < 0.6
    (one,) = text("ngrams:dim=4096,granularity=frames", "oh")
    grams = ["w oh", "c  oh", "c oh ", "c  oh "]
    expected = np.zeros(4096)
    for gram in grams:
        expected[crc32(gram.encode()) % 4096] += 1 if crc32(gram.encode()) >> 31 else -1
    np.testing.assert_allclose(one[0], expected / 2.0, atol=1e-6)


@pytest.mark.parametrize("odd", ["?!", "…", "ęóż", "\ud800", "a" * 5000, "😀"])
def test_ngrams_of_odd_texts_are_not_zero(odd):
    (vector,) = text("ngrams", odd)
    assert float(np.linalg.norm(vector)) == pytest.approx(1.0, abs=1e-5)


def test_ngram_rows_follow_the_words():
    (rows,) = text("ngrams:granularity=frames,dim=128", "three little words")
    assert rows.shape == (3, 128)


@pytest.mark.parametrize(
    ("modality", "spec", "words"),
    [
        ("audio", "logmel:layer=mean", "no option 'layer'"),
        ("audio", "ngrams", "is for text, not for audio"),
        ("text", "logmel", "is for audio, not for text"),
        ("audio", "logmel:pool=max", "unknown key 'pool'"),
        ("audio", "prosody:pooling=max", "no option 'pooling'"),
        ("video", "logmel", "is for audio, not for video"),
    ],
)
def test_wrong_specs_are_named(modality, spec, words):
    with pytest.raises(OptionError, match=words):
        load_encoder(modality, EncoderSpec.from_text(spec))


def test_imported_names_are_no_encoders():
    with pytest.raises(EncoderError, match="nothing to encode new files with"):
        load_encoder("audio", EncoderSpec(name="imported:old"))


def test_devices_are_checked():
    with pytest.raises(OptionError, match="unknown device"):
        load_encoder("audio", EncoderSpec(name="logmel"), "gpu9")


def test_items_without_content_are_refused():
    encoder = load_encoder("audio", EncoderSpec(name="logmel"))
    for wave in (None, np.zeros(0), np.zeros((2, 3)), np.array([np.inf])):
        with pytest.raises(EncoderError, match="'a'"):
            encoder.encode([Item("a", waveform=wave)])
    with pytest.raises(EncoderError, match="no text"):
        text("ngrams", "  ")


def test_egemaps_without_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'emofuse\[opensmile\]'"):
        load_encoder("audio", EncoderSpec(name="egemaps"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_egemaps():
    pytest.importorskip("opensmile")
    for wave, vector in zip(HOSTILE.values(), audio("egemaps", *HOSTILE.values()), strict=True):
        assert vector.shape == (1, 88), wave
        assert np.isfinite(vector).all()
    (frames,) = audio("egemaps:granularity=frames", np.sin(np.arange(16000) / 9))
    assert frames.shape[1] == 25
    about = describe_encoder(load_encoder("audio", EncoderSpec(name="egemaps")))
    assert "research licence" in str(about["provenance"])


def test_every_built_in_describes_itself():
    for name in ENCODERS.names():
        if name in {"egemaps", "acoustic", "arrays", "vggish"}:  # see their own tests
            continue
        modality = "text" if name == "ngrams" else "audio"
        about = describe_encoder(load_encoder(modality, EncoderSpec(name=name)))
        assert about["revision"]
        assert about["dim"]
        assert about["modality"] == modality


def test_batches_hold_every_item_once_within_the_budget():
    lengths = np.random.default_rng(4).integers(1, 300, 200).tolist()
    batches = make_batches(lengths, 600)
    assert sorted(place for batch in batches for place in batch) == list(range(200))
    for batch in batches:
        assert len(batch) * max(lengths[p] for p in batch) <= 600
    assert split_evenly(7, 10) == [(0, 7)]
    assert max(b - a for a, b in split_evenly(1001, 100)) <= 100


def test_the_ledger_knows_what_saw_labels():
    assert "iemocap" in look_up("emotion2vec/emotion2vec_plus_large").labelled_on
    assert look_up("microsoft/wavlm-large").labelled_on == ()
    assert look_up("whisper-tiny.en").licence == "MIT"
    assert all(entry.source and entry.known for entry in LEDGER.values())


def test_the_ledger_says_when_its_sources_were_read():
    for pattern, entry in LEDGER.items():
        assert re.fullmatch(r"\d{4}-\d\d-\d\d(, licence unverified)?", entry.checked), pattern
    assert look_up("somebody/something").checked == ""


@pytest.mark.parametrize(
    ("name", "pretrained", "labelled"),
    [
        ("facebook/data2vec-audio-large", ("libri-light",), ()),
        ("facebook/data2vec-audio-large-960h", ("libri-light", "librispeech"), ()),
        ("superb/hubert-base-superb-er", ("librispeech",), ("iemocap",)),
        ("superb/wav2vec2-large-superb-er", ("libri-light",), ("iemocap",)),
        ("sentence-transformers/all-MiniLM-L6-v2", None, ()),
    ],
)
def test_one_pattern_alone_fits_a_name(name, pretrained, labelled):
    own = name.rpartition("/")[2]
    fits = [one for one in LEDGER if re.fullmatch(one, own, re.IGNORECASE)]
    assert len(fits) == 1
    assert pretrained in (None, look_up(name).pretrained_on)
    assert look_up(name).labelled_on == labelled


def test_the_corpora_of_emobox_are_those_of_the_readers():
    seen = set(look_up("emotion2vec_plus_seed").labelled_on)
    assert len(seen) == 32
    mine = {"cremad", "emodb", "esd", "iemocap", "meld", "ravdess", "savee", "tess"}
    assert mine <= set(CORPORA.names()) & seen


def test_workers_leave_the_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    found = parallel_map(lambda x: (x, torch.get_num_threads()), list(range(20)), cost=float)
    assert [value for value, _ in found] == list(range(20))
    assert torch.get_num_threads() == before
    if before > 1:
        assert {threads for _, threads in found} == {1}
    with pytest.raises(ZeroDivisionError):
        parallel_map(lambda x: 1 / x, [1, 0, 2])


@pytest.mark.parametrize("name", ["ngrams", "checkpoint"])
def test_annotators_events_are_stripped_where_asked(name, checkpoint):
    folder = name if name == "ngrams" else str(checkpoint("bert"))
    plain, stripped = (
        load_encoder("text", EncoderSpec(name=folder, strip_events=strip))
        for strip in (False, True)
    )
    noted, bare = Item("a", text="well [LAUGHTER] yes"), Item("b", text="well yes")
    only = Item("c", text="[LAUGHTER]")

    def same(one, other):
        return np.array_equal(one, other)

    expected = plain.encode([bare])[0]
    assert not same(plain.encode([noted])[0], expected)
    assert same(stripped.encode([noted])[0], expected)
    assert same(stripped.encode([only])[0], plain.encode([only])[0])
    assert encoder_space(plain) != encoder_space(stripped)
