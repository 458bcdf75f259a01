from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from emofuse.cli.app import app
from emofuse.encoders.build import load_encoder
from emofuse.encoders.contract import Encoder, EncoderSpec, Item
from emofuse.errors import EncoderError, FeatureError, MediaError
from emofuse.features import plan, session
from emofuse.features.encode import encode_manifest, load_table
from emofuse.features.store import FeatureStore
from emofuse.manifest import Manifest, ManifestFile, Utterance
from emofuse.media.audio import read_audio

LOGMEL = EncoderSpec(name="logmel", pooling="mean+std")
NGRAMS = EncoderSpec(name="ngrams", dim=64)


def test_encode_then_skip(corpus, tmp_path):
    store = FeatureStore(tmp_path / "s")
    events = []
    report = encode_manifest(corpus, "audio", LOGMEL, store, events.append)
    assert (report.done, report.skipped, report.absent) == (12, 0, 0)
    assert report.audio_seconds > 1
    assert events[-1].stage == "encode audio"
    assert (events[-1].done, events[-1].total) == (12, 12)
    assert "x real time" in events[-1].values
    again = encode_manifest(corpus, "audio", LOGMEL, FeatureStore(tmp_path / "s"))
    assert (again.done, again.skipped) == (0, 12)
    text = encode_manifest(corpus, "text", NGRAMS, store)
    assert (text.done, text.skipped) == (5, 7)  # five sentences, each encoded once


def test_the_table_holds_what_the_encoder_gives(corpus, tmp_path):
    table = load_table(corpus, {"audio": LOGMEL, "text": NGRAMS}, FeatureStore(tmp_path / "s"))
    assert table.ids == corpus.ids
    assert table.dims == {"audio": 128, "text": 64}
    encoder = load_encoder("audio", LOGMEL)
    for row, utterance in enumerate(corpus):
        wave = read_audio(corpus.path(utterance.audio))
        (expected,) = encoder.encode([Item("x", waveform=wave)])
        np.testing.assert_allclose(table.modalities["audio"].values[row][None], expected, atol=1e-4)
    assert table.encoders["audio"]["spec"]["pooling"] == "mean+std"
    assert not table.quarantined


def test_content_not_names_decides(corpus, tmp_path):
    store = FeatureStore(tmp_path / "s")
    encode_manifest(corpus, "audio", LOGMEL, store)
    (corpus.root / "000.wav").rename(corpus.root / "moved.wav")
    moved = [u.model_copy(update={"id": "new", "audio": "moved.wav"}) for u in corpus[:1]]
    assert encode_manifest(Manifest(moved, corpus.root), "audio", LOGMEL, store).done == 0
    soundfile.write(corpus.root / "moved.wav", np.zeros(8000), 16000)
    assert encode_manifest(Manifest(moved, corpus.root), "audio", LOGMEL, store).done == 1


def test_slices_of_one_file(tmp_path):
    wave = np.random.default_rng(0).normal(size=32000) * 0.1
    soundfile.write(tmp_path / "long.wav", wave, 16000, subtype="FLOAT")
    times = ((0.0, 0.5), (0.5, 1.0), (1.0, None), (None, None))
    utterances = [
        Utterance(id=f"s{i}", audio="long.wav", start=a, end=b) for i, (a, b) in enumerate(times)
    ]
    manifest = Manifest(utterances, tmp_path)
    spec = EncoderSpec(name="logmel", granularity="frames")
    table = load_table(manifest, {"audio": spec}, FeatureStore(tmp_path / "s"))
    assert table.modalities["audio"].lengths.tolist() == [49, 49, 99, 199]


@pytest.fixture
def broken(corpus):
    root = corpus.root
    (root / "empty.wav").write_bytes(b"")
    (root / "lfs.wav").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0")
    (root / "text.wav").write_text("not audio")
    (root / "cut.wav").write_bytes((root / "000.wav").read_bytes()[:44])
    soundfile.write(root / "nan.wav", np.full(500, np.nan), 16000, subtype="FLOAT")
    names = ("empty", "lfs", "text", "cut", "nan", "missing")
    bad = [Utterance(id=name, audio=f"{name}.wav") for name in names]
    bad.append(Utterance(id="late", audio="001.wav", start=60.0, end=61.0))
    bad.append(Utterance(id="only-text", text="hello"))
    return Manifest([*corpus, *bad], root)


def test_bad_files_are_quarantined_by_name(broken, tmp_path):
    store = FeatureStore(tmp_path / "s")
    report = encode_manifest(broken, "audio", LOGMEL, store)
    assert report.done == 12
    assert report.absent == 1
    assert sorted(report.quarantined) == sorted(
        ["empty", "lfs", "text", "cut", "nan", "missing", "late"]
    )
    assert "Git-LFS" in report.quarantined["lfs"]
    assert "NaN" in report.quarantined["nan"]
    table = load_table(broken, {"audio": LOGMEL}, store)
    lengths = dict(zip(table.ids, table.modalities["audio"].lengths.tolist(), strict=True))
    assert lengths["empty"] == lengths["only-text"] == 0
    assert lengths["u000"] == 1
    assert set(table.quarantined["audio"]) == set(report.quarantined)


def test_strict_makes_a_bad_file_fatal(broken, tmp_path):
    with pytest.raises(MediaError, match="such"):
        encode_manifest(broken, "audio", LOGMEL, FeatureStore(tmp_path / "s"), strict=True)


class Moody(Encoder):
    """Fails on loud items, and gives NaN for long ones."""

    modality, revision, dim, sample_rate = "audio", "moody", 2, 16000

    def __init__(self, spec):
        self.spec = spec

    def encode(self, items):
        if any(len(item.waveform) % 2 for item in items):
            raise EncoderError(f"{items[0].id}: odd")
        return [
            np.full((1, 2), np.nan if len(i.waveform) > 20000 else 1, np.float32) for i in items
        ]


def test_the_item_to_blame_is_found(tmp_path, monkeypatch):
    spec = EncoderSpec(name="moody")
    monkeypatch.setattr("emofuse.features.encode.load_encoder", lambda *a: Moody(spec))
    for name, samples in (("even", 4000), ("odd", 4001), ("long", 22000), ("fine", 6000)):
        soundfile.write(tmp_path / f"{name}.wav", np.full(samples, 0.1), 16000)
    names = ("even", "odd", "long", "fine")
    manifest = Manifest([Utterance(id=n, audio=f"{n}.wav") for n in names], tmp_path)
    report = encode_manifest(manifest, "audio", spec, FeatureStore(tmp_path / "s"))
    assert report.done == 2
    assert sorted(report.quarantined) == ["long", "odd"]
    assert "NaN" in report.quarantined["long"]


def test_a_manifest_without_the_modality(corpus, tmp_path):
    silent = Manifest([u.model_copy(update={"audio": None}) for u in corpus], corpus.root)
    with pytest.raises(FeatureError, match="no utterance of the manifest has audio"):
        load_table(silent, {"audio": LOGMEL}, FeatureStore(tmp_path / "s"))


def test_a_damaged_shard_is_encoded_again(corpus, tmp_path):
    store = FeatureStore(tmp_path / "s")
    first = load_table(corpus, {"audio": LOGMEL}, store)
    (shard,) = (tmp_path / "s").rglob("shard-*.safetensors")
    data = bytearray(shard.read_bytes())
    data[-5] ^= 255
    shard.write_bytes(data)
    fresh = FeatureStore(tmp_path / "s")
    second = load_table(corpus, {"audio": LOGMEL}, fresh)
    np.testing.assert_array_equal(
        first.modalities["audio"].values.numpy(), second.modalities["audio"].values.numpy()
    )
    assert len(fresh.damaged) == 1


def test_windows_hold_everything_once_and_stay_small():
    from emofuse.features.plan import Work

    works = [Work("a", "a", str(i), float(1 + i % 50)) for i in range(500)]
    windows = session.make_windows(works, "audio")
    assert sorted(w.content for window in windows for w in window) == sorted(map(str, range(500)))
    for window in windows:
        assert len(window) == 1 or sum(w.size for w in window) <= session.WINDOW_SECONDS
        assert max(w.size for w in window) - min(w.size for w in window) <= 10


SLOW = """
import sys, time
from pathlib import Path
from emofuse.encoders.contract import EncoderSpec
from emofuse.encoders.logmel import LogMel
from emofuse.features import encode, session
from emofuse.features.store import FeatureStore
from emofuse.manifest import Manifest

class Slow(LogMel):
    def encode(self, items):
        time.sleep(0.02)
        return super().encode(items)

session.FLUSH_SECONDS, session.WINDOW_ITEMS, session.MANY_SHARDS = 0.0, 2, 3
encode.load_encoder = lambda modality, spec, device: Slow(spec)
encode.encode_manifest(
    Manifest.load(Path(sys.argv[1])), "audio", EncoderSpec(name="logmel"), FeatureStore(sys.argv[2])
)
"""


def test_killed_at_any_moment_nothing_is_lost(tmp_path, make_corpus):
    manifest = make_corpus(tmp_path / "corpus", 40, seconds=0.1)
    manifest.save(tmp_path / "m.jsonl")
    spec = EncoderSpec(name="logmel")
    undisturbed = load_table(manifest, {"audio": spec}, FeatureStore(tmp_path / "whole"))
    counts = []
    for delay in (0.0, 0.013, 0.031, 0.007):
        before = set((tmp_path / "s").rglob("shard-*"))
        child = subprocess.Popen(
            [sys.executable, "-c", SLOW, str(tmp_path / "m.jsonl"), str(tmp_path / "s")]
        )
        while child.poll() is None and set((tmp_path / "s").rglob("shard-*")) <= before:
            time.sleep(0.002)
        time.sleep(delay)
        child.kill()
        child.wait()
        report_store = FeatureStore(tmp_path / "s")
        counts.append(sum(u is not None for u in _peek(manifest, spec, report_store)))
        assert not report_store.damaged
    assert counts == sorted(counts)
    assert counts[-1] > 0
    resumed = FeatureStore(tmp_path / "s")
    report = encode_manifest(manifest, "audio", spec, resumed)
    assert report.done == 40 - counts[-1]
    table = load_table(manifest, {"audio": spec}, resumed)
    np.testing.assert_allclose(
        table.modalities["audio"].values.numpy(),
        undisturbed.modalities["audio"].values.numpy(),
        atol=1e-4,
    )


def _peek(manifest, spec, store):
    from emofuse.features.keys import FeatureKey, encoder_space
    from emofuse.media.audio import audio_key

    space = encoder_space(load_encoder("audio", spec))
    return [store.get(FeatureKey(space, audio_key(manifest.path(u.audio)))) for u in manifest]


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_command_line(broken, tmp_path):
    broken.save(tmp_path / "m.jsonl")
    result = run("encode", tmp_path / "m.jsonl", "--audio", "logmel", "--text", "ngrams:dim=64",
                 "--store", tmp_path / "s", "--device", "cpu", "--json")  # fmt: skip
    assert result.exit_code == 1
    data = json.loads(result.stdout)
    assert data["audio"]["done"] == 12
    assert len(data["audio"]["quarantined"]) == 7
    assert data["text"]["quarantined"] == {}
    shown = run("encode", tmp_path / "m.jsonl", "--audio", "logmel", "--store", tmp_path / "s",
                "--device", "cpu")  # fmt: skip
    assert "already there" in shown.stdout
    assert "lfs.wav" in shown.stderr


def test_command_line_without_an_encoder(corpus, tmp_path):
    corpus.save(tmp_path / "m.jsonl")
    result = run("encode", tmp_path / "m.jsonl")
    assert "give --audio" in str(result.exception)


def test_help_shows_an_example():
    for verb in ("encode", "import"):
        assert "Example" in run(verb, "--help").stdout


def test_paths_are_independent_of_the_current_folder(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    corpus.save(Path("m.jsonl"))
    assert run("encode", "m.jsonl", "--text", "ngrams").exit_code == 0
    assert (tmp_path / ".emofuse" / "features").is_dir()


def test_stretch_by_stretch_gives_what_one_go_gives(make_corpus, tmp_path, monkeypatch):
    manifest = make_corpus(tmp_path / "corpus", 12)
    twins = [u.model_copy(update={"id": f"twin-{u.id}"}) for u in manifest]
    (manifest.root / "bad.wav").write_text("not audio")
    bad = [Utterance(id=f"bad{i}", audio="bad.wav") for i in range(3)]
    late = [Utterance(id="late", audio="003.wav", start=60.0), Utterance(id="words", text="x")]
    listed = [*bad[:1], *manifest, *bad[1:], *twins, *late]
    Manifest(listed, manifest.root).save(tmp_path / "m.jsonl")
    reports, values = [], []
    for size in (2000, 5, 1):
        monkeypatch.setattr(plan, "WINDOW_UTTERANCES", size)
        monkeypatch.setattr(plan, "FILES_KNOWN", size)
        store, events = FeatureStore(tmp_path / f"s{size}"), []
        stream = ManifestFile(tmp_path / "m.jsonl")
        report = encode_manifest(stream, "audio", LOGMEL, store, events.append)
        reports.append((report.done, report.skipped, report.absent, dict(report.quarantined)))
        passed = [event.done for event in events if event.stage == "encode audio"]
        assert passed == sorted(passed)
        assert passed[-1] == events[-1].total == len(listed)
        whole = load_table(Manifest.load(tmp_path / "m.jsonl"), {"audio": LOGMEL}, store)
        values.append(whole.modalities["audio"].values.numpy())
    assert reports[0][:3] == (12, 12, 1)
    assert sorted(reports[0][3]) == ["bad0", "bad1", "bad2", "late"]
    assert reports[1] == reports[2] == reports[0]
    for other in values[1:]:
        np.testing.assert_allclose(other, values[0], atol=1e-4)


def test_a_content_that_failed_is_not_tried_again(tmp_path, monkeypatch):
    spec = EncoderSpec(name="moody")
    monkeypatch.setattr("emofuse.features.encode.load_encoder", lambda *a: Moody(spec))
    monkeypatch.setattr(plan, "WINDOW_UTTERANCES", 1)
    soundfile.write(tmp_path / "odd.wav", np.full(4001, 0.1), 16000)
    manifest = Manifest([Utterance(id=n, audio="odd.wav") for n in "abc"], tmp_path)
    report = encode_manifest(manifest, "audio", spec, FeatureStore(tmp_path / "s"))
    assert (report.done, report.skipped) == (0, 0)
    assert list(report.quarantined) == ["a", "b", "c"]


def test_what_is_finished_is_stored_when_a_later_stretch_ends_the_work(broken, tmp_path):
    store = FeatureStore(tmp_path / "s")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "WINDOW_UTTERANCES", 4)
        with pytest.raises(MediaError, match="such"):
            encode_manifest(broken, "audio", LOGMEL, store, strict=True)
    assert encode_manifest(broken, "audio", LOGMEL, FeatureStore(tmp_path / "s")).skipped == 12


def test_what_is_held_does_not_grow_with_the_manifest(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "WINDOW_UTTERANCES", 8)
    encoder, held = load_encoder("text", EncoderSpec(name="ngrams", dim=16)), []
    encode = encoder.encode

    def watched(items):
        kinds = (plan.Work, plan._Brief, Utterance, Item)
        held.append(sum(type(thing) in kinds for thing in gc.get_objects()))
        return encode(items)

    monkeypatch.setattr(encoder, "encode", watched)
    monkeypatch.setattr("emofuse.features.encode.load_encoder", lambda *a: encoder)
    most = []
    for count in (16, 80):
        listed = [Utterance(id=f"{count}-{i}", text=f"{count} words {i}") for i in range(count)]
        Manifest(listed, tmp_path).save(tmp_path / f"{count}.jsonl")
        del listed
        gc.collect()
        before = sum(type(thing) is Utterance for thing in gc.get_objects())
        stream, store = ManifestFile(tmp_path / f"{count}.jsonl"), FeatureStore(tmp_path / "s")
        assert encode_manifest(stream, "text", encoder.spec, store).done == count
        most.append(max(held) - before)
        held.clear()
    assert most[1] == most[0] > 0
