"""A model of voice and picture recognises video files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.encoders.test_clip_video import save
from tests.media.clips import write_clip
from typer.testing import CliRunner

from emofuse.cli.app import app
from emofuse.errors import WorkError
from emofuse.manifest import Manifest, Utterance
from emofuse.media.audio import write_wav
from emofuse.media.video import read_sound_track
from emofuse.recognition.inputs import find_queries
from emofuse.recognition.recognizer import Recognizer
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train

EMOTIONS = ("anger", "happiness", "neutral", "sadness")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """24 clips of 6 speakers: the longer, the sadder."""
    folder = tmp_path_factory.mktemp("videos")
    rows = []
    for number in range(24):
        kind, speaker = number % 4, number // 4
        name = f"clip{number:02d}"
        write_clip(folder / f"{name}.mp4", frames=8 + 10 * kind + speaker % 2)
        write_wav(folder / f"{name}.wav", read_sound_track(folder / f"{name}.mp4"))
        rows.append(
            Utterance(
                id=name,
                corpus="clips",
                audio=f"{name}.wav",
                video=f"{name}.mp4",
                emotion=EMOTIONS[kind],
                speaker=f"s{speaker}",
            )
        )
    Manifest(rows, folder).save(folder / "clips.jsonl")
    return folder


@pytest.fixture(scope="module")
def run(videos, tmp_path_factory):
    clip = save("CLIPModel", tmp_path_factory.mktemp("clip") / "tiny")
    recipe = {
        "name": "clips",
        "data": {
            "manifest": [str(videos / "clips.jsonl")],
            "scheme": "basic4",
            "store": str(videos / "store"),
        },
        "encoders": {
            "audio": "logmel:granularity=frames,stride=10",
            "video": f"{clip}:granularity=frames,every=4,max_frames=180",
        },
        "model": {"name": "foal-net", "projection": 16, "positions": ["video"]},
        "objective": [
            {"name": "cross-entropy"},
            {"name": "avel"},
            {"name": "mem", "weight": 0.1},
        ],
        "protocol": {"name": "group-kfold", "k": 3, "allow": ["audio"]},
        "trainer": {"epochs": 6, "batch_size": 8, "sampler": "balanced", "patience": None},
        "seeds": [0],
    }
    return train(parse_recipe(recipe), tmp_path_factory.mktemp("run") / "run")


def test_it_trains(run):
    rows = (run.folder / "jobs").rglob("history*")
    assert run.metrics["speaker_independent"] == "yes"
    assert any(rows)


def test_a_video_file_is_voice_and_picture(run, videos):
    recognizer = Recognizer.load(run.folder)
    answer = recognizer.recognise(video=videos / "clip05.mp4")
    assert answer.modalities == ("audio", "video")
    assert not answer.missing
    assert answer.seconds == pytest.approx(0.95, abs=0.1)
    assert sum(answer.weights.values()) == pytest.approx(1.0)
    sound = (read_sound_track(videos / "clip05.mp4"), 16_000)
    both = recognizer.recognise(sound, video=videos / "clip05.mp4")
    for name, value in both.probabilities.items():
        assert answer.probabilities[name] == pytest.approx(value, abs=1e-6)


def test_the_command_takes_videos_and_folders(run, videos, tmp_path):
    write_clip(tmp_path / "mute.mkv", sound=False)
    (tmp_path / "bad.mp4").write_text("words")
    call = ["predict", str(tmp_path), str(videos / "clip01.mp4"), "--format", "json"]
    found = CliRunner().invoke(app, [*call, "--model", str(run.folder)])
    assert found.exit_code == 1
    answers = {line["id"].rpartition("/")[2]: line for line in map(json.loads, lines(found))}
    assert "not video that can be read" in answers["bad.mp4"]["error"]
    assert answers["mute.mkv"]["modalities"] == ["video"]
    assert answers["mute.mkv"]["missing"] == ["audio"]
    assert answers["clip01.mp4"]["modalities"] == ["audio", "video"]


def lines(found):
    return [line for line in found.stdout.splitlines() if line.startswith("{")]


def test_the_manifest_gives_what_training_saw(run, videos):
    queries = find_queries([str(videos / "clips.jsonl")])
    assert all(query.video is not None and query.audio is not None for query in queries)
    answers = Recognizer.load(run.folder).recognise_many(queries[:4])
    assert all(answer.modalities == ("audio", "video") for answer in answers)


def test_voice_and_picture_of_one_name_are_one_query(videos, tmp_path):
    queries = find_queries([str(videos)])
    assert len(queries) == 24
    assert all(query.video.suffix == ".mp4" for query in queries)
    table = tmp_path / "t.csv"
    table.write_text(
        f"id,video,start,end,text\nu,{videos / 'clip03.mp4'},0.5,1.0,hello\n", encoding="utf-8"
    )
    (query,) = find_queries([str(table)])
    assert (query.id, query.start, query.end, query.text) == ("u", 0.5, 1.0, "hello")
    assert query.audio == query.video
    listed = tmp_path / "l.txt"
    listed.write_text(f"{videos / 'clip03.mp4'}\thello\n", encoding="utf-8")
    (query,) = find_queries([str(listed)])
    assert (query.text, query.video.name) == ("hello", "clip03.mp4")


def test_a_slice_of_a_video(run, videos):
    recognizer = Recognizer.load(run.folder)
    (query,) = find_queries([str(videos / "clip03.mp4")])
    from dataclasses import replace

    whole, part = recognizer.recognise_many([query, replace(query, start=0.2, end=0.6)])
    assert part.seconds == pytest.approx(0.4, abs=0.01)
    values = [list(one.probabilities.values()) for one in (whole, part)]
    assert np.abs(np.subtract(*values)).max() > 1e-6


def test_a_missing_video_is_named(run, tmp_path):
    with pytest.raises(WorkError, match="is missing, not a video file"):
        Recognizer.load(run.folder).recognise(video=tmp_path / "none.mp4")
