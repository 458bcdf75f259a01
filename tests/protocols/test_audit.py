"""The audit finds what it is meant to find."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from emofuse.cli.app import app
from emofuse.errors import OptionError, ProtocolError
from emofuse.manifest import Manifest, Utterance
from emofuse.media.audio import decode, to_mono, write_wav
from emofuse.media.fingerprint import Fingerprint, fingerprint, near_pairs, sound_shape
from emofuse.progress import ProgressEvent
from emofuse.protocols.audit import audit
from emofuse.protocols.build import make_folds
from emofuse.protocols.overlap import measure_overlap, text_keys
from emofuse.protocols.text_cue import measure_text_cue
from emofuse.protocols.words import foretell

ASSETS = os.environ.get("EMOFUSE_ASSETS")
needs_assets = pytest.mark.skipif(not ASSETS, reason="EMOFUSE_ASSETS names no folder")


def voice(seed: int, seconds: float = 1.5) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Noise whose bands come and go: a stand-in for speech that differs by seed."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(16_000 * seconds)) / 16_000
    tones = [
        np.sin(2 * np.pi * f * time + rng.uniform(0, 6))
        * np.clip(np.sin(2 * np.pi * rng.uniform(0.5, 4) * time + rng.uniform(0, 6)), 0, 1)
        for f in rng.uniform(200, 3200, 12)
    ]
    return (0.05 * np.sum(tones, axis=0)).astype(np.float32)


@pytest.fixture
def spoken(tmp_path: Path) -> Manifest:
    utterances = []
    for number in range(12):
        write_wav(tmp_path / f"{number}.wav", voice(number))
        utterances.append(
            Utterance(
                id=f"u{number}",
                audio=f"{number}.wav",
                text=f"line {number % 3}",
                emotion=("anger", "sadness")[number // 3 % 2],
                speaker=f"s{number // 4}",
            )
        )
    return Manifest(utterances, tmp_path)


def test_overlap_against_plain_sets() -> None:
    keys = {"a": ("", "x"), "b": ("", "y"), "c": ("", "x"), "d": ("", "z"), "e": ("", "y")}
    found = measure_overlap(keys, ["a"], ["b"], ["c", "d", "e", "nobody"])
    assert (found.known, found.utterances, found.share) == (3, 2, 0.5)
    assert (found.values, found.shared, found.by_train) == (3, 2, 1)
    assert found.examples == ("x", "y")


def test_no_overlap_is_clean(make: Any) -> None:
    manifest = make()
    protocol, folds = make_folds(manifest, {"name": "leave-one-speaker-out"})
    result = audit(manifest, protocol, folds)
    result.enforce()
    assert result.stamp == "leave-one-speaker-out · speaker-independent: yes"
    assert result.violations == ()
    assert result.text_cue.verdict == "none (scripted)"
    assert result.folds[0].test["text"].share == 1.0  # declared, and shown
    assert result.folds[0].balance["test"] == dict.fromkeys(
        ("anger", "happiness", "neutral", "sadness"), 5
    )


def test_random_is_stamped_speaker_dependent(make: Any) -> None:
    manifest = make()
    protocol, folds = make_folds(manifest, {"name": "random"})
    result = audit(manifest, protocol, folds)
    result.enforce()
    assert result.speaker_independent == "no"
    assert result.stamp == "random · SPEAKER-DEPENDENT (6 of 6 test speakers in train)"


def test_undeclared_overlap_stops(make: Any) -> None:
    manifest = make()  # two speakers a session: a session group keeps its speakers
    moved = Manifest(
        (
            u.model_copy(update={"session": "9"}) if u.id.endswith("anger-0") else u
            for u in manifest
        ),
        manifest.root,
    )
    protocol, folds = make_folds(moved, {"name": "leave-one-session-out"})
    result = audit(moved, protocol, folds)
    with pytest.raises(
        ProtocolError,
        match=r"leave-one-session-out: .* share their speaker .* allow=\[speaker, dialogue\]",
    ):
        result.enforce()
    assert result.violations[0].utterances == len(manifest)


def test_unknown_speakers_are_not_called_independent() -> None:
    manifest = Manifest(
        (
            Utterance(id=f"{d}{e}", text=f"{d}{e}", emotion=e, dialogue=str(d))
            for d in range(6)
            for e in ("anger", "sadness")
        ),
        Path(),
    )
    protocol, folds = make_folds(manifest, {"name": "group-kfold", "by": "dialogue", "k": 3})
    result = audit(manifest, protocol, folds)
    assert result.speaker_independent == "unknown"
    assert "speaker-independent: unknown" in result.stamp
    assert result.folds[0].unknown_speakers["test"] == 4
    assert result.folds[0].dev_by == "dialogue"


# ---------------------------------------------------------------- audio


def test_copies_are_found_and_never_silent(spoken: Manifest) -> None:
    write_wav(spoken.root / "5.wav", 0.5 * voice(0))  # speaker s1 with the voice of s0
    steps: list[ProgressEvent] = []
    protocol, folds = make_folds(spoken, {"name": "leave-one-speaker-out"})
    result = audit(spoken, protocol, folds, progress=steps.append)
    assert (steps[-1].done, steps[-1].total) == (12, 12)
    assert result.audio_compared == 12
    assert [(v.aspect, v.measure, v.utterances) for v in result.violations] == [
        ("audio", "near audio", 2)
    ]
    assert "2 test utterances are copies of training audio" in result.stamp
    with pytest.raises(ProtocolError, match=r"2 of 12 .* are copies .* allow=\[audio\]"):
        result.enforce()
    declared, folds = make_folds(spoken, {"name": "leave-one-speaker-out", "allow": ["audio"]})
    allowed = audit(spoken, declared, folds)
    allowed.enforce()
    assert "2 test utterances are copies" in allowed.stamp
    assert "allowed by the user: audio" in allowed.stamp
    unread = audit(spoken, protocol, folds, audio=False)
    assert unread.audio_compared == 0


def test_missing_files_are_counted(spoken: Manifest) -> None:
    (spoken.root / "3.wav").unlink()
    protocol, folds = make_folds(spoken, {"name": "leave-one-speaker-out"})
    result = audit(spoken, protocol, folds)
    assert result.audio_compared == 11
    assert any("1 recordings could not be compared" in one for one in result.warnings)


@pytest.mark.parametrize("codec", ["gain", "FLAC", "OGG", "MP3", "noise", "8 kHz", "stereo"])
def test_a_copy_is_known_however_it_is_stored(codec: str, tmp_path: Path) -> None:
    import soundfile
    import soxr

    sound, rng = voice(3), np.random.default_rng(0)
    write_wav(tmp_path / "a.wav", sound)
    other = tmp_path / "b.wav"
    if codec == "gain":
        write_wav(other, 0.2 * sound)
    elif codec == "noise":
        level = 0.03 * float(np.sqrt((sound**2).mean()))
        write_wav(other, sound + level * rng.standard_normal(sound.size).astype(np.float32))
    elif codec == "8 kHz":
        write_wav(other, soxr.resample(sound, 16_000, 8_000), 8_000)
    elif codec == "stereo":
        soundfile.write(other, np.stack([sound, sound], axis=1), 16_000)
    else:
        other = tmp_path / f"b.{codec.lower()}"
        stored, _ = soundfile.read(tmp_path / "a.wav", dtype="int16")
        soundfile.write(other, stored, 16_000, format=codec)
    write_wav(tmp_path / "c.wav", voice(4))
    prints = [fingerprint(tmp_path / "a.wav"), fingerprint(other), fingerprint(tmp_path / "c.wav")]
    assert near_pairs(prints) == [(0, 1)]
    assert (prints[0].digest == prints[1].digest) == (codec == "FLAC")


def test_silence_resembles_nothing_but_itself() -> None:
    silence = Fingerprint("a", 1.0, sound_shape(np.zeros(16_000, np.float32)))
    other = Fingerprint("b", 1.0, sound_shape(np.zeros(16_000, np.float32)))
    same = Fingerprint("a", 9.0, sound_shape(np.zeros(10, np.float32)))
    assert near_pairs([silence, other, same]) == [(0, 2)]
    assert near_pairs([]) == []


def test_near_pairs_against_every_pair() -> None:
    rng = np.random.default_rng(0)
    shapes = rng.standard_normal((700, 768)).astype(np.float32)
    shapes[1::7] = shapes[::7] + 0.05 * rng.standard_normal(shapes[::7].shape).astype(np.float32)
    shapes /= np.linalg.norm(shapes, axis=1, keepdims=True)
    lengths = rng.uniform(1, 5, 700)
    lengths[1::7] = lengths[::7] * rng.uniform(0.9, 1.1, 100)
    prints = [Fingerprint(str(i), float(lengths[i]), shapes[i]) for i in range(700)]
    expected = {
        (i, j)
        for i in range(700)
        for j in range(i + 1, 700)
        if abs(lengths[i] - lengths[j]) <= max(0.12, 0.03 * min(lengths[i], lengths[j]))
        and float(shapes[i] @ shapes[j]) >= 0.99
    }
    assert set(near_pairs(prints)) == expected
    assert 20 < len(expected) < 100


# ---------------------------------------------------------------- text


def corpus(rows: Iterator[tuple[str, str, str]]) -> list[Utterance]:
    return [
        Utterance(id=str(n), text=text, emotion=emotion, speaker=speaker)
        for n, (text, emotion, speaker) in enumerate(rows)
    ]


EMOTIONS = ("anger", "fear", "neutral", "sadness")


def test_scripted_text_tells_nothing() -> None:
    listed = corpus(
        (f"sentence {s}", e, f"p{p}") for s in range(4) for e in EMOTIONS for p in range(10)
    )
    cue = measure_text_cue(listed)
    assert cue.verdict == "none (scripted)"
    assert (cue.several_labels, cue.one_label, cue.known) == (1.0, 0.0, 1.0)
    assert cue.grouped_by == "speaker"


def test_text_that_gives_the_label_away() -> None:
    listed = corpus(
        (f"{e} {s}" if s < 5 else f"sentence {s}", e, f"p{p}")
        for s in range(7)
        for e in EMOTIONS
        for p in range(10)
    )
    cue = measure_text_cue(listed)
    assert cue.verdict == "gives the label away"
    assert cue.ua == pytest.approx((5 + 2 * cue.chance) / 7, abs=0.08)
    assert cue.one_label == pytest.approx(5 / 7)
    assert len(cue.telling) == 3


def test_a_sentence_number_stands_for_words_that_are_not_shipped() -> None:
    manifest = Manifest(
        (
            Utterance(
                id=f"{e}{s}{p}",
                corpus="numbers",
                audio="a.wav",
                emotion=e,
                speaker=f"p{p}",
                extra={"sentence": f"{e[0]}-{s}"},
            )
            for s in range(5)
            for e in EMOTIONS
            for p in range(5)
        ),
        Path(),
    )
    assert measure_text_cue(manifest).verdict == "gives the label away"
    protocol, folds = make_folds(manifest, {"name": "text-disjoint"})
    result = audit(manifest, protocol, folds, audio=False)
    assert not any(fold.test["text"].utterances for fold in result.folds)
    assert result.folds[0].test["text"].known == 20


def test_words_that_help_and_words_that_do_not() -> None:
    rng = np.random.default_rng(0)
    telling, blank = [], []
    for n in range(400):
        e = EMOTIONS[n % 4]
        words = [f"w{int(w)}" for w in rng.integers(0, 60, 8)]
        blank.append((" ".join(words), e, f"p{n % 10}"))
        telling.append((" ".join([*words, e[:3]] if rng.random() < 0.4 else words), e, f"p{n % 9}"))
    assert measure_text_cue(corpus(iter(telling))).verdict == "some"
    cue = measure_text_cue(corpus(iter(blank)))
    assert cue.verdict == "cannot tell"
    assert cue.note.startswith("sentences hardly recur")
    assert measure_text_cue([]).verdict == "no text"


def test_naive_bayes_against_scikit_learn() -> None:
    from sklearn.feature_extraction.text import CountVectorizer

    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 300)
    texts = [" ".join(f"w{w}" for w in rng.integers(0, 40, 5) + 7 * label) for label in labels]
    folds = rng.integers(0, 4, 300)
    ours = foretell(texts, labels.tolist(), folds.tolist())
    seen = CountVectorizer(binary=True).fit_transform(texts).toarray()
    for fold in range(4):
        train, test = folds != fold, folds == fold
        counts = np.stack([seen[train & (labels == c)].sum(axis=0) for c in range(3)])
        many = np.array([(train & (labels == c)).sum() for c in range(3)])
        weight = np.log((counts + 0.5) / (many[:, None] + 1.0))
        weight[:, counts.sum(axis=0) == 0] = 0
        scores = seen[test] @ weight.T
        assert (ours[test] == scores.argmax(axis=1)).mean() > 0.99


# ---------------------------------------------------------------- command line


def run(*arguments: str) -> tuple[int, str, BaseException | None]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.exception


def test_command_line(spoken: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    spoken.save(path)
    code, shown, _ = run("audit", str(path))
    assert code == 0
    assert "leave-one-speaker-out · speaker-independent: yes" in shown
    code, shown, _ = run("audit", str(path), "-p", "random", "k=2", "--json", "--no-audio")
    data = json.loads(shown)
    assert code == 0
    assert len(data["folds"]) == 2
    assert data["speaker_independent"] == "no"
    folds = tmp_path / "folds.json"
    folds.write_text(json.dumps({"folds": [{"test": ["0", "11"]}]}), encoding="utf-8")
    code, _, error = run("audit", str(path), "-p", "given", f"path={folds}")
    assert code == 1
    assert isinstance(error, ProtocolError)
    _, _, error = run("audit", str(path), "-p", "randm")
    assert isinstance(error, OptionError)
    code, shown, _ = run("audit", "--help")
    assert "Example" in shown


# ---------------------------------------------------------------- real corpora


@pytest.fixture(scope="module")
def data() -> Path:
    return Path(ASSETS or "") / "data"


@needs_assets
def test_emobox_emodb_shares_all_speakers(data: Path) -> None:
    emotions = dict(zip("WLEAFTN", "abcdefg", strict=True))
    manifest = Manifest(
        (
            Utterance(
                id=p.stem,
                audio=p.name,
                text=p.stem[2:5],
                emotion=emotions[p.stem[5]],
                speaker=p.stem[:2],
            )
            for p in sorted((data / "emodb/wav").glob("*.wav"))
        ),
        data / "emodb/wav",
    )
    spec = {"name": "given", "path": str(data / "folds/emodb.json")}
    protocol, folds = make_folds(manifest, spec)
    result = audit(manifest, protocol, folds)
    assert len(folds) == 5
    assert all(fold.test["speaker"].shared == 10 for fold in result.folds)
    assert all(fold.test["speaker"].share == 1.0 for fold in result.folds)
    assert result.stamp == "given · SPEAKER-DEPENDENT (10 of 10 test speakers in train)"
    assert result.text_cue.verdict == "none (scripted)"
    with pytest.raises(ProtocolError, match="535 of 535 test utterances share their speaker"):
        result.enforce()


@needs_assets
def test_emobox_ravdess_is_speaker_independent(data: Path) -> None:
    manifest = Manifest(
        (
            Utterance(
                id=p.stem,
                audio=f"{p.parent.name}/{p.name}",
                text=p.stem.split("-")[4],
                emotion=f"e{p.stem.split('-')[2]}",
                speaker=p.stem[-2:],
            )
            for p in sorted((data / "ravdess").glob("Actor_*/*.flac"))
        ),
        data / "ravdess",
    )
    spec = {"name": "given", "path": str(data / "folds/ravdess.json")}
    protocol, folds = make_folds(manifest, spec)
    result = audit(manifest, protocol, folds)
    result.enforce()  # sentences are shared, and tell nothing
    assert result.stamp == "given · speaker-independent: yes"
    assert result.text_cue.verdict == "none (scripted)"
    protocol, folds = make_folds(manifest, {"name": "random"})
    leaky = audit(manifest, protocol, folds, audio=False)
    assert leaky.stamp == "random · SPEAKER-DEPENDENT (24 of 24 test speakers in train)"


@needs_assets
def test_meld_official(data: Path) -> None:
    utterances = []
    for split in ("train", "dev", "test"):
        table = (data / f"meld/{split}_sent_emo.csv").read_text(encoding="utf-8").splitlines()
        utterances += [
            Utterance(
                id=f"{split}-{row['Dialogue_ID']}-{row['Utterance_ID']}",
                text=row["Utterance"],
                emotion=row["Emotion"],
                speaker=row["Speaker"],
                dialogue=f"{split}-{row['Dialogue_ID']}",
                split=split,  # type: ignore[arg-type]
            )
            for row in csv.DictReader(table)
        ]
    manifest = Manifest(utterances, data)
    protocol, (fold,) = make_folds(manifest, {"name": "official"})
    assert (len(fold.train), len(fold.dev), len(fold.test)) == (9989, 1109, 2610)
    result = audit(manifest, protocol, [fold])
    result.enforce()
    shared = result.folds[0].test
    assert shared["speaker"].by_train == 2501
    assert round(shared["speaker"].by_train / 2610, 3) == 0.958
    assert shared["exact text"].by_train == 331
    assert shared["dialogue"].utterances == 0
    assert result.text_cue.verdict == "some"
    assert "SPEAKER-DEPENDENT" in result.stamp
    assert set(text_keys(manifest)) >= {"speaker", "text"}


@needs_assets
def test_ased_sentences_give_the_label_away(data: Path) -> None:
    utterances = []
    for path in sorted((data / "ased").glob("0*/*.opus")):
        emotion, sentence, _, _, speaker = path.stem.split("-")
        own = "" if sentence in ("06", "07") else emotion.lower()
        utterances.append(
            Utterance(
                id=path.stem, text=f"{sentence} {own}", emotion=emotion.lower(), speaker=speaker
            )
        )
    cue = measure_text_cue(utterances)
    assert cue.verdict == "gives the label away"
    assert cue.one_label > 0.6


@needs_assets
def test_different_takes_are_not_called_copies(data: Path) -> None:
    """The same actor, sentence and emotion, twice: near, but two recordings."""
    paths = sorted((data / "ravdess/Actor_18").glob("*.flac"))
    prints = [fingerprint(path) for path in paths]
    assert near_pairs(prints) == []
    samples, rate = decode(paths[0])
    again = Fingerprint("x", prints[0].seconds, sound_shape(0.1 * to_mono(samples, rate)))
    assert near_pairs([*prints, again]) == [(0, len(prints))]
