"""Channels each by themselves, and the picture of a video: as the recogniser takes them."""

from __future__ import annotations

import numpy as np
import pytest
from httpx2 import post
from tests.server.test_limits import code_of

from emofuse.recognition.recognizer import Recognizer
from emofuse.server.client import Client

RATE = 44_100


@pytest.fixture(scope="module")
def stereo(voices, as_wav) -> bytes:
    first = voices["short"]
    return as_wav(np.stack([first, 0.3 * np.roll(first, 4000)], 1), RATE)


def test_every_channel_has_its_answer(address, recognizer, stereo, clip):
    expected = recognizer.recognise_channels(stereo, id="call", text="no")
    ways = [
        post(
            f"{address}/v1/recognize",
            files={"file": ("a", stereo)},
            data={"channels": "each", "id": "call", "text": "no"},
        ).json()["answers"],
    ]
    with Client(address) as client:
        ways.append(
            [one.model_dump() for one in client.recognise_channels(stereo, "no", id="call")]
        )
        (only,) = client.recognise_channels(clip)
    for found in ways:
        assert [(one["id"], one["channel"]) for one in found] == [("call#0", 0), ("call#1", 1)]
        for one, other in zip(found, expected, strict=True):
            assert one["probabilities"] == pytest.approx(other.probabilities, abs=1e-4)
            assert one["seconds"] == pytest.approx(other.seconds, abs=1e-3)
    assert (only.id, only.channel) == ("utterance", None)
    mixed = post(f"{address}/v1/recognize", files={"file": ("a", stereo)}).json()
    shares = [mixed["probabilities"]["anger"], *(one.probabilities["anger"] for one in expected)]
    assert len({round(share, 4) for share in shares}) == 3


def test_what_cannot_be_heard_channel_by_channel_is_said(serve, clip, as_wav):
    with serve(queue=2, max_items=2) as (service, address):
        place = f"{address}/v1/recognize"
        each = {"channels": "each"}
        assert code_of(post(place, json={"text": "yes", **each})) == "bad_options"
        assert code_of(post(place, json={"text": "yes", "channels": "left"})) == "bad_options"
        nine = as_wav(np.zeros((1600, 9)))
        refused = post(place, files={"file": ("a", nine)}, data=each)
        assert code_of(refused) == "bad_audio"
        assert "9 channels; at most 8" in refused.json()["error"]["message"]
        three = as_wav(np.zeros((1600, 3)))
        assert code_of(post(place, files={"file": ("a", three)}, data=each)) == "busy"
        answer = post(f"{place}/batch", files={"file": ("a", clip)}, data=each)
        assert code_of(answer) == "bad_options"
        assert service.queue.taken == 0


def test_the_picture_of_a_video_counts_where_the_model_sees(serve, tmp_path):
    pytest.importorskip("av", reason="PyAV is not installed")
    from tests.encoders.test_clip_video import save
    from tests.export.conftest import write_drawn
    from tests.media.clips import write_clip

    eye = f"{save('CLIPModel', tmp_path / 'clip')}:every=4"
    bundle = write_drawn(tmp_path / "b", {"audio": "logmel", "video": eye}, "late-fusion")
    seeing = Recognizer.load(bundle, lanes=2)
    film, mute = tmp_path / "film.mp4", tmp_path / "mute.mkv"
    write_clip(film, frames=20)
    write_clip(mute, frames=20, sound=False)
    with serve(seeing, max_seconds=1.5) as (service, address):
        for path, modalities in ((film, ["audio", "video"]), (mute, ["video"])):
            expected = seeing.recognise(video=path)
            found = post(f"{address}/v1/recognize", files={"file": ("a", path.read_bytes())}).json()
            assert found["modalities"] == modalities
            assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
        form = {"file": ("a", b"#EXTM3U\n/etc/passwd")}
        assert code_of(post(f"{address}/v1/recognize", files=form)) == "bad_audio"
        long = tmp_path / "long.mp4"
        write_clip(long, frames=38)
        refused = post(f"{address}/v1/recognize", files={"file": ("a", long.read_bytes())})
        assert code_of(refused) == "too_long"
        draw = np.random.default_rng(5)
        for number in range(40):  # torn and damaged films: an answer or a reason, never a 5xx
            data = bytearray(film.read_bytes())
            for place in draw.integers(0, len(data), 1 + 10 * number):
                data[place] = draw.integers(0, 256)
            data = data[: draw.integers(1, len(data))] if number % 3 else data
            form = {"file": ("a", bytes(data))}
            answer = post(f"{address}/v1/recognize", files=form, timeout=60)
            assert answer.status_code in {200, 413, 422}, answer.text
            assert str(tmp_path) not in answer.text
        assert service.queue.taken == service.held.taken == 0
