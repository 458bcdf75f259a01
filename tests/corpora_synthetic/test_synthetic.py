from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emofuse.corpora import CORPORA
from emofuse.corpora.sentences import MIX, PREDICATES, Sentences
from emofuse.corpora.voice import Manner, Voice, speak, spell
from emofuse.errors import CorpusError, OptionError
from emofuse.manifest import Manifest
from emofuse.media.audio import probe, read_audio
from emofuse.media.text import normalise_text
from emofuse.storage import sha256_file

SMALL = {"speakers": 3, "per_emotion": 2}
REST = Manner(0, 2, -2, 1, 0, 0, 0.01, 0.3, 0.4)


def prepare(root: Path, **options: int) -> Manifest:
    return CORPORA.load("synthetic").prepare(root, **options).manifest


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return prepare(tmp_path_factory.mktemp("made") / "synthetic")


def test_balanced_and_said_to_be_synthetic(corpus: Manifest) -> None:
    assert len(corpus) == 384
    assert set(Counter(u.emotion for u in corpus).values()) == {96}
    assert set(Counter(u.gender for u in corpus).values()) == {192}
    assert len({u.session for u in corpus}) == 4
    assert all(u.corpus == "synthetic" and u.extra["synthetic"] is True for u in corpus)
    described = CORPORA.load("synthetic").describe()
    assert described["licence"] == "CC0-1.0"
    assert "made by a program" in described["about"]


def test_every_file_is_sound(corpus: Manifest) -> None:
    infos = [probe(corpus.path(str(u.audio))) for u in corpus]
    assert {(i.sample_rate, i.channels, i.subtype) for i in infos} == {(16000, 1, "PCM_16")}
    assert 1.2 < np.mean([i.seconds for i in infos]) < 2.0
    peaks = [float(np.abs(read_audio(corpus.path(str(u.audio)))).max()) for u in corpus]
    assert min(peaks) > 0.02
    assert max(peaks) < 0.99


def test_no_sentence_is_shared_by_speakers(corpus: Manifest) -> None:
    owners = defaultdict(set)
    for utterance in corpus:
        owners[normalise_text(str(utterance.text))].add(utterance.speaker)
    assert all(len(speakers) == 1 for speakers in owners.values())


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path: Path) -> None:
    first, second = prepare(tmp_path / "a", **SMALL), prepare(tmp_path / "b", **SMALL)
    other = prepare(tmp_path / "c", seed=1, **SMALL)
    assert [u.model_dump() for u in first] == [u.model_dump() for u in second]
    for u in first:
        name = str(u.audio)
        assert sha256_file(first.path(name)) == sha256_file(second.path(name))
        assert sha256_file(first.path(name)) != sha256_file(other.path(name))


def test_more_utterances_keep_the_voices(tmp_path: Path) -> None:
    prepare(tmp_path / "a", **SMALL)
    more = prepare(tmp_path / "b", speakers=4, per_emotion=2)
    assert len(more) == 32
    assert {u.speaker for u in more} == {"s01", "s02", "s03", "s04"}


def test_made_again_only_where_lacking(tmp_path: Path) -> None:
    manifest = prepare(tmp_path / "a", **SMALL)
    paths = [manifest.path(str(u.audio)) for u in manifest]
    before = [sha256_file(p) for p in paths]
    times = [p.stat().st_mtime_ns for p in paths]
    paths[3].unlink()
    prepare(tmp_path / "a", **SMALL)
    assert [sha256_file(p) for p in paths] == before
    assert [p.stat().st_mtime_ns == t for p, t in zip(paths, times, strict=True)].count(False) == 1


def test_refuses_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(CorpusError, match="is not empty"):
        prepare(tmp_path, **SMALL)
    prepare(tmp_path / "a", **SMALL)
    with pytest.raises(CorpusError, match="made otherwise"):
        prepare(tmp_path / "a", seed=5, **SMALL)
    with pytest.raises(CorpusError, match="is a file"):
        prepare(tmp_path / "mine.txt")
    with pytest.raises(OptionError, match="speakers"):
        prepare(tmp_path / "b", speakers=1)


def test_sentences_are_mixed_as_promised() -> None:
    sentences = Sentences(np.random.default_rng(0))
    dealt = sentences.deal("anger", 100)
    assert len(set(dealt)) == 100
    own = sum(any(text.endswith(p) for p in PREDICATES["anger"]) for text in dealt)
    mood = sum(any(text.endswith(p) for p in PREDICATES["bad"]) for text in dealt)
    assert abs(own - 100 * MIX["own"]) <= 1
    assert abs(mood - 100 * MIX["mood"]) <= 1
    assert sum(MIX.values()) == pytest.approx(1)
    with pytest.raises(CorpusError, match="no sentences left"):
        sentences.deal("anger", 100_000)


def pitch_of(waveform: np.ndarray) -> float:
    """Pitch by autocorrelation of the loudest 60 ms, in hertz."""
    best = int(np.argmax(np.convolve(waveform**2, np.ones(960), mode="valid")))
    part = waveform[best : best + 960]
    spectrum = np.abs(np.fft.rfft(part - part.mean(), 4096)) ** 2
    correlation = np.fft.irfft(spectrum)[: 16000 // 70]
    low = 16000 // 350
    return 16000 / (low + int(np.argmax(correlation[low:])))


@pytest.mark.parametrize("pitch", [100.0, 140.0, 220.0])
def test_a_voice_has_the_pitch_it_was_given(pitch: float) -> None:
    voice = Voice(pitch, 1.0, 0.8, 0.0, 1.0)
    flat = Manner(0, 0, 0, 1, 0, 0, 0, 0, 0.4)
    waveform = speak("my my my my", voice, flat, np.random.default_rng(0))
    assert pitch_of(waveform) == pytest.approx(pitch, rel=0.04)


def test_manner_is_heard() -> None:
    voice = Voice(120, 1.0, 0.55, 0.01, 1.0)

    def say(**changes: float) -> np.ndarray:
        manner = Manner(**{**vars(REST), **changes})
        return speak("so the letter came on time", voice, manner, np.random.default_rng(0))

    assert len(say(rate=1.3)) < 0.85 * len(say())
    assert np.std(say(level=6.0)) == pytest.approx(2.0 * np.std(say()), rel=0.05)
    spectra = [np.abs(np.fft.rfft(say(tilt=t))) ** 2 for t in (-0.3, 0.1)]
    frequencies = [np.fft.rfftfreq(2 * (len(s) - 1), 1 / 16000) for s in spectra]
    bright, dark = (s[f > 1500].sum() / s.sum() for s, f in zip(spectra, frequencies, strict=True))
    assert bright > 1.3 * dark


def test_text_without_vowels_is_still_a_sound() -> None:
    waveform = speak("... 42 ß", Voice(120, 1, 0.8, 0, 1), REST, np.random.default_rng(0))
    assert waveform.size > 1000
    assert np.isfinite(waveform).all()
    assert spell("") == ()


def log_bands(waveform: np.ndarray) -> np.ndarray:
    """Mean and deviation of 32 log band energies: independent of the project's encoders."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform, 400)[::160] * np.hanning(400)
    power = np.abs(np.fft.rfft(frames, 512)) ** 2
    edges = np.unique(np.geomspace(2, 257, 33).astype(int))
    bands = np.log(np.add.reduceat(power, edges[:-1], axis=1) + 1e-8)
    return np.concatenate([bands.mean(0), bands.std(0)])


def test_neither_modality_suffices_and_both_do_better(corpus: Manifest) -> None:
    labels = np.array([u.emotion for u in corpus])
    speakers = np.array([u.speaker for u in corpus])
    audio = np.stack([log_bands(read_audio(corpus.path(str(u.audio)))) for u in corpus])
    hashing = HashingVectorizer(n_features=512, ngram_range=(1, 2))
    text = hashing.transform([str(u.text) for u in corpus]).toarray()

    def probabilities(features: np.ndarray, strength: float) -> np.ndarray:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500))
        return cross_val_predict(
            model, features, labels, groups=speakers, cv=LeaveOneGroupOut(), method="predict_proba"
        )

    def ua(p: np.ndarray) -> float:
        return float(recall_score(labels, np.unique(labels)[p.argmax(1)], average="macro"))

    from_audio, from_text = probabilities(audio, 0.01), probabilities(text, 0.01)
    alone = [ua(from_audio), ua(from_text)]
    both = ua(np.log(from_audio) + np.log(from_text))
    assert min(alone) > 0.45
    assert max(alone) < 0.78
    assert both > max(alone) + 0.08
