"""Videos through the store: encoded, sliced, shared, quarantined."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.encoders.test_clip_video import save
from tests.media.clips import write_clip
from typer.testing import CliRunner

from emofuse.cli.app import app
from emofuse.encoders.build import load_encoder
from emofuse.encoders.contract import EncoderSpec, Item
from emofuse.features.encode import encode_manifest, load_table
from emofuse.features.store import FeatureStore
from emofuse.manifest import Manifest, Utterance


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    folder = save("CLIPModel", tmp_path_factory.mktemp("clip"))
    return EncoderSpec(name=str(folder), granularity="frames", every=5)


@pytest.fixture
def videos(tmp_path):
    write_clip(tmp_path / "a.mp4")
    write_clip(tmp_path / "b.mkv", frames=12, sound=False)
    (tmp_path / "bad.mp4").write_text("words")
    (tmp_path / "pointer.mp4").write_text("version https://git-lfs.github.com/spec/v1\n")
    rows = [
        Utterance(id="a", video="a.mp4"),
        Utterance(id="slice", video="a.mp4", start=0.5, end=1.0),
        Utterance(id="late", video="a.mp4", start=7.0),
        Utterance(id="b", video="b.mkv"),
        Utterance(id="bad", video="bad.mp4"),
        Utterance(id="pointer", video="pointer.mp4"),
        Utterance(id="words", text="no video here"),
    ]
    return Manifest(rows, tmp_path)


def test_videos_are_encoded_once_and_bad_ones_named(videos, spec, tmp_path):
    store = FeatureStore(tmp_path / "s")
    events = []
    report = encode_manifest(videos, "video", spec, store, events.append)
    assert (report.done, report.absent) == (3, 1)
    assert set(report.quarantined) == {"late", "bad", "pointer"}
    assert "there is no video from 7 s on" in report.quarantined["late"]
    assert "Git-LFS pointer" in report.quarantined["pointer"]
    assert {event.stage for event in events} == {"check video", "encode video"}
    again = encode_manifest(videos, "video", spec, FeatureStore(tmp_path / "s"))
    assert (again.done, again.skipped) == (0, 3)


def test_the_table_holds_what_the_encoder_gives(videos, spec, tmp_path):
    table = load_table(videos, {"video": spec}, FeatureStore(tmp_path / "s"))
    part = table.modalities["video"]
    assert part.lengths.tolist() == [6, 2, 0, 3, 0, 0, 0]
    encoder = load_encoder("video", spec)
    (whole,) = encoder.encode([Item("x", video=videos.path("a.mp4"))])
    np.testing.assert_allclose(part.values[:6].numpy(), whole, atol=1e-4)
    assert table.encoders["video"]["spec"]["every"] == 5


def test_options_of_frames_are_part_of_the_key(videos, spec, tmp_path):
    store = FeatureStore(tmp_path / "s")
    for update in ({}, {"every": 6}, {"crop": "left"}, {"fps": 2.0}, {"max_frames": 1}):
        other = spec.model_copy(update=update)
        assert encode_manifest(videos, "video", other, store).done == 3


def test_the_command_takes_arrays(tmp_path):
    np.save(tmp_path / "u.npy", np.ones((5, 8), np.float32))
    rows = [Utterance(id="u", video="u.npy", emotion="anger")]
    Manifest(rows, tmp_path).save(tmp_path / "m.jsonl")
    call = ["encode", str(tmp_path / "m.jsonl"), "--video", "arrays:dim=8", "--json"]
    found = CliRunner().invoke(app, [*call, "--store", str(tmp_path / "s")])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["video"]["done"] == 1
