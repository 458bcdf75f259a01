"""One file for each thing that can be wrong, and any bytes at all."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from emofuse.cli.app import app
from emofuse.corpora.doctor import KINDS, Diagnosis, examine
from emofuse.corpora.doctor_checks import check_text
from emofuse.errors import ManifestError
from emofuse.manifest import Manifest, Utterance
from emofuse.progress import ProgressEvent

ASSETS = os.environ.get("EMOFUSE_ASSETS")
RATE = 16_000


def sound(seed: int = 0, seconds: float = 1.0, level: float = 0.1) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    envelope = np.interp(
        np.arange(int(RATE * seconds)), np.arange(0, 2 * RATE, 1600), rng.random(20)
    )
    return level * envelope * rng.standard_normal(int(RATE * seconds)).clip(-3, 3)


def wav(samples: np.ndarray[Any, Any], rate: int = RATE, subtype: str = "PCM_16") -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format="WAV", subtype=subtype)
    return stream.getvalue()


def holed() -> np.ndarray[Any, Any]:
    samples = sound().astype(np.float32)
    samples[100:103] = [np.nan, np.inf, -np.inf]
    return samples


def stereo(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bytes:
    return wav(np.stack([left, right], axis=1))


CASES: dict[str, tuple[bytes, list[str]]] = {
    "well": (wav(sound()), []),
    "quiet": (wav(sound(level=0.003), subtype="PCM_24"), []),
    "empty": (b"", ["empty"]),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ["lfs-pointer"]),
    "page": (b"<html>404</html>", ["unreadable"]),
    "noise of bytes": (bytes(range(256)) * 8, ["unreadable"]),
    "header alone": (wav(np.zeros(0)), ["no-samples"]),
    "cut off": (wav(sound())[:20_000], ["length"]),
    "short": (wav(sound(seconds=0.05)), ["too-short"]),
    "long": (wav(np.tile(sound(), 61)), ["too-long"]),
    "silent": (wav(np.zeros(RATE)), ["silent"]),
    "hum": (wav(np.full(RATE, 2e-4)), ["silent"]),
    "clipped": (wav((40 * sound()).clip(-1, 1)), ["clipped"]),
    "holed": (wav(holed(), subtype="FLOAT"), ["not-finite"]),
    "telephone": (wav(sound(), 8_000), ["low-rate"]),
    "offset": (wav(0.3 + 0.1 * sound()), ["offset"]),
    "stereo": (stereo(sound(1), sound(2)), ["channels"]),
    "twice": (stereo(sound(), sound()), ["channels"]),
    "left": (stereo(sound(), np.zeros(RATE)), ["one-channel"]),
    "cancelling": (stereo(sound(), -sound()), ["channels-cancel"]),
}


def diagnose(folder: Path, **files: bytes) -> Diagnosis:
    for name, data in files.items():
        (folder / f"{name}.wav").write_bytes(data)
    return examine(
        Manifest(
            (
                Utterance(id=name, audio=f"{name}.wav", emotion="anger", speaker="s")
                for name in files
            ),
            folder,
        )
    )


@pytest.mark.parametrize("name", list(CASES))
def test_each_illness_by_its_name(name: str, tmp_path: Path) -> None:
    data, kinds = CASES[name]
    diagnosis = diagnose(tmp_path, one=data)
    assert [finding.kind for finding in diagnosis.findings] == kinds
    for finding in diagnosis.findings:
        assert finding.severity == KINDS[finding.kind]
        assert (finding.id, finding.path) == ("one", "one.wav")
        assert finding.detail
        assert "\n" not in finding.detail
    readable = not {"empty", "lfs-pointer", "unreadable", "no-samples"} & set(kinds)
    assert diagnosis.summary.heard == readable


def test_one_bad_file_stops_nothing(tmp_path: Path) -> None:
    files = {f"f{n}": data for n, (data, _) in enumerate(CASES.values())}
    diagnosis = diagnose(tmp_path, **files)
    found = {(f.id, f.kind) for f in diagnosis.findings}
    for n, (_, kinds) in enumerate(CASES.values()):
        assert {(f"f{n}", kind) for kind in kinds} <= found
    assert diagnosis.ill()
    severities = [("error", "warning", "note").index(f.severity) for f in diagnosis.findings]
    assert severities == sorted(severities)
    json.dumps(diagnosis.model_dump(mode="json"), allow_nan=False)


def test_number_of_workers_does_not_matter(tmp_path: Path) -> None:
    files = {f"f{n}": data for n, (data, _) in enumerate(CASES.values())}
    diagnose(tmp_path, **files)
    manifest = Manifest((Utterance(id=n, audio=f"{n}.wav") for n in files), tmp_path)
    assert examine(manifest, workers=1) == examine(manifest, workers=8)


def test_slices_count_as_slices(tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(wav(np.concatenate([sound(1), np.zeros(RATE), sound(2)])))
    manifest = Manifest(
        (
            Utterance(id=name, audio="talk.wav", start=a, end=b, emotion="anger", speaker="s")
            for name, a, b in (
                ("first", 0.0, 1.0),
                ("pause", 1.1, 1.9),
                ("beyond", 2.5, 4.0),
                ("outside", 5.0, 6.0),
                ("sliver", 0.2, 0.25),
                ("again", 0.0, 1.0),
            )
        ),
        tmp_path,
    )
    found = {(f.id, f.kind) for f in examine(manifest).findings}
    assert found == {
        ("pause", "silent"),
        ("beyond", "length"),
        ("outside", "no-samples"),
        ("sliver", "too-short"),
        ("first", "copies"),
    }
    assert examine(manifest).summary.seconds["max"] == pytest.approx(1.0)


def test_copies_that_agree_are_a_note_and_those_that_do_not_a_warning(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(sound(1)))
    (tmp_path / "b.wav").write_bytes(wav(sound(1)))
    soundfile.write(tmp_path / "c.flac", 0.5 * sound(1), RATE)
    (tmp_path / "d.wav").write_bytes(wav(sound(9)))
    rows = [("a", "a.wav", "anger"), ("b", "b.wav", "anger"), ("d", "d.wav", "anger")]

    def look(extra: list[tuple[str, str, str]]) -> Diagnosis:
        return examine(
            Manifest(
                (
                    Utterance(id=i, audio=path, emotion=emotion, speaker="s")
                    for i, path, emotion in rows + extra
                ),
                tmp_path,
            )
        )

    (finding,) = look([]).findings
    assert (finding.kind, finding.id, finding.others) == ("copies", "a", ("b",))
    assert "the same samples" in finding.detail
    assert not look([]).ill()
    assert look([]).ill(strict=True)
    (finding,) = look([("c", "c.flac", "sadness")]).findings
    assert (finding.kind, finding.count) == ("copies-disagree", 3)
    assert "emotion differ" in finding.detail
    assert "stored another way" in finding.detail


def test_paths_that_lead_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.wav").write_bytes(wav(sound()))
    (root / "link.wav").symlink_to(tmp_path / "secret.wav")
    (root / "folder.wav").mkdir()
    (root / "loop.wav").symlink_to(root / "loop.wav")
    names = ("link.wav", "folder.wav", "loop.wav", "absent.wav", "x" * 300 + ".wav")
    manifest = Manifest((Utterance(id=n[:20], audio=n) for n in names), root)
    found = {f.id: f.kind for f in examine(manifest).findings if f.severity == "error"}
    assert found["link.wav"] == "outside-root"
    assert found["folder.wav"] == "unreadable"
    assert found["absent.wav"] == "missing"
    assert found["loop.wav"] in ("unreadable", "missing", "outside-root")
    assert found["x" * 20] in ("unreadable", "missing")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    data=st.one_of(
        st.binary(max_size=400),
        st.tuples(
            st.sampled_from([b"RIFF", b"fLaC", b"OggS", b"FORM", b".snd", b"ID3", b"\xff\xfb"]),
            st.binary(max_size=300),
        ).map(b"".join),
        st.tuples(
            st.sampled_from([wav(sound(seconds=0.02)), wav(sound(seconds=0.02), 8000, "FLOAT")]),
            st.lists(st.tuples(st.integers(0, 100), st.integers(0, 255)), max_size=6),
            st.integers(0, 800),
        ).map(lambda v: _damage(*v)),
    ),
    start=st.sampled_from([None, 0.0, 0.005, 1e9]),
)
def test_any_bytes_at_all(data: bytes, start: float | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x.wav").write_bytes(data)
        manifest = Manifest([Utterance(id="x", audio="x.wav", start=start)], Path(folder))
        diagnosis = examine(manifest, workers=1)
        json.dumps(diagnosis.model_dump(mode="json"), allow_nan=False)
        assert diagnosis.summary.heard in (0, 1)


def _damage(data: bytes, edits: list[tuple[int, int]], cut: int) -> bytes:
    damaged = bytearray(data)
    for place, value in edits:
        damaged[min(place, len(damaged) - 1)] = value
    return bytes(damaged[: len(damaged) - cut] if cut < len(damaged) else damaged)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60), seconds=st.one_of(st.none(), st.floats(0.001, 1e4)))
def test_any_text_at_all(text: str, seconds: float | None) -> None:
    for fault in check_text(text, seconds):
        assert KINDS[fault.kind] in ("warning", "note")


@pytest.mark.parametrize(
    ("text", "seconds", "kinds"),
    [
        ("I am fine.", 1.0, []),
        ("Das ist schön – „sehr“ größer, às três", 3.0, []),
        ("Да, 你好, መልካም, ÄÖÜ, Ã, â", 2.0, []),
        ("   ", 1.0, ["blank-text"]),
        ("lost \ufffd here", 1.0, ["encoding"]),
        ("I\x92m fine", 1.0, ["encoding"]),
        ("schÃ¶n", 1.0, ["encoding"]),
        ("itâ€™s", 1.0, ["encoding"]),
        ("ðŸ˜€", 1.0, ["encoding"]),
        ("word " * 40, 1.0, ["speaking-rate"]),
        ("no", 20.0, ["slow-text"]),
    ],
)
def test_texts(text: str, seconds: float, kinds: list[str]) -> None:
    assert [fault.kind for fault in check_text(text, seconds)] == kinds


def test_a_corpus_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(sound(1)))
    (tmp_path / "b.wav").write_bytes(wav(sound(2)))
    (tmp_path / "c.wav").write_bytes(wav(sound(3), 22_050))
    steps: list[ProgressEvent] = []
    manifest = Manifest(
        [
            Utterance(id="Anna", audio="a.wav", emotion="anger", speaker="x"),
            Utterance(id="anna", audio="b.wav", emotion="sadness", speaker="x"),
            Utterance(id="otto", audio="c.wav"),
            Utterance(id="mute", text="no sound", emotion="anger", speaker="y"),
        ],
        tmp_path,
    )
    diagnosis = examine(manifest, progress=steps.append)
    assert diagnosis.counts() == {
        "ids-alike": 2,
        "mixed-rates": 1,
        "no-emotion": 1,
        "no-speaker": 1,
    }
    assert (steps[-1].done, steps[-1].total) == (4, 4)
    summary = diagnosis.summary
    assert (summary.utterances, summary.heard) == (4, 3)
    assert summary.sample_rates == {"16000": 2, "22050": 1}
    assert summary.formats == {"WAV/PCM_16": 3}
    assert summary.emotions == {"anger": 2, "sadness": 1}
    assert summary.speakers["x"] == {"utterances": 2, "seconds": pytest.approx(2.0)}
    assert summary.hours == pytest.approx((2 + RATE / 22_050) / 3600)
    reference = 20 * np.log10(np.sqrt(np.mean(soundfile.read(tmp_path / "a.wav")[0] ** 2)))
    lonely = examine(manifest.select(["Anna"])).summary.loudness["median"]
    assert lonely == pytest.approx(reference, abs=1e-3)


def test_command_line(tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["doctor", *arguments])
        return result.exit_code, result.stdout

    (tmp_path / "a.wav").write_bytes(wav(sound(1)))
    (tmp_path / "b.wav").write_bytes(b"")
    good = Utterance(id="a", audio="a.wav", emotion="anger")
    Manifest([good], tmp_path).save(tmp_path / "good.jsonl")
    Manifest([good, Utterance(id="b", audio="b.wav")], tmp_path).save(tmp_path / "bad.jsonl")
    code, shown = run(str(tmp_path / "good.jsonl"))
    assert (code, "no-speaker" in shown) == (0, True)
    assert run(str(tmp_path / "good.jsonl"), "--strict")[0] == 1
    code, shown = run(str(tmp_path / "bad.jsonl"))
    assert code == 1
    assert "b.wav is empty" in shown
    code, shown = run(str(tmp_path / "bad.jsonl"), "--json", "--workers", "1")
    assert code == 1
    assert json.loads(shown)["summary"]["heard"] == 1
    assert run(str(tmp_path / "good.jsonl"), "--root", str(tmp_path / "no"))[0] == 1
    assert run("--help")[0] == 0
    with pytest.raises(ManifestError):
        CliRunner().invoke(app, ["doctor", str(tmp_path / "no.jsonl")], catch_exceptions=False)


@pytest.mark.skipif(not ASSETS, reason="EMOFUSE_ASSETS names no folder")
@pytest.mark.parametrize(
    ("corpus", "pattern", "expected"),
    [
        ("emodb", "wav/*.wav", {}),
        ("ravdess", "Actor_0[5-8]/*.flac", {"copies": 2}),
        ("nemo", "samples/*.flac", {}),
    ],
)
def test_healthy_corpora_are_not_called_ill(
    corpus: str, pattern: str, expected: dict[str, int]
) -> None:
    root = Path(ASSETS or "") / "data" / corpus
    paths: Callable[[], Any] = lambda: sorted(root.glob(pattern))  # noqa: E731
    manifest = Manifest(
        (
            Utterance(id=p.stem, audio=p.relative_to(root).as_posix(), emotion="e", speaker="s")
            for p in paths()
        ),
        root,
    )
    diagnosis = examine(manifest)
    assert diagnosis.counts() == expected
    assert not diagnosis.ill()
    assert diagnosis.summary.heard == len(manifest) > 0
