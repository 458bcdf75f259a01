from __future__ import annotations

import sys

import numpy as np
import pytest
from tests.media.clips import SIZE, write_clip

from emofuse.errors import MediaError, MissingExtraError
from emofuse.media.arrays import read_array
from emofuse.media.video import (
    has_sound_track,
    probe_video,
    read_frames,
    read_sound_track,
)


def numbers(frames):
    """Which frames these are, by the brightness of their right half."""
    return [round((float(f[:, SIZE[0] // 2 + 4 :].mean()) - 20) / 5) for f in frames]


def test_header(clip, mute_clip):
    info = probe_video(clip)
    assert (info.width, info.height, info.fps, info.sound) == (64, 48, 20.0, True)
    assert info.seconds == pytest.approx(1.5, abs=0.06)
    assert has_sound_track(clip)
    assert not has_sound_track(mute_clip)


def test_every_frame(clip):
    frames = list(read_frames(clip))
    assert numbers(frames) == list(range(30))
    assert frames[0].shape == (48, 64, 3)
    assert frames[0].dtype == np.uint8
    left = frames[20][:, :28].reshape(-1, 3).mean(axis=0)
    assert left[0] > 80 > 40 > max(left[1:])  # red is first


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"every": 7}, [0, 7, 14, 21, 28]),
        ({"most": 3}, [0, 1, 2]),
        ({"every": 10, "most": 2}, [0, 10]),
        ({"fps": 5.0}, [0, 4, 8, 12, 16, 20, 24, 28]),
        ({"fps": 8.0}, [0, 3, 5, 8, 10, 13, 15, 18, 20, 23, 25, 28]),
        ({"fps": 50.0}, list(range(30))),
        ({"start": 0.5, "end": 0.8}, [10, 11, 12, 13, 14, 15]),
        ({"start": 1.0, "fps": 4.0}, [20, 25]),
        ({"start": 0.42, "end": 0.5}, [9]),
    ],
)
def test_which_frames(clip, options, expected):
    options = dict(options)
    span = (options.pop("start", None), options.pop("end", None))
    assert numbers(read_frames(clip, *span, **options)) == expected


def test_sound_track(clip):
    wave = read_sound_track(clip)
    assert wave.dtype == np.float32
    assert len(wave) / 16_000 == pytest.approx(1.5, abs=0.1)
    spectrum = np.abs(np.fft.rfft(wave[4000:20000]))
    assert np.argmax(spectrum) == pytest.approx(440, abs=2)  # of 16,000 samples: hertz
    part = read_sound_track(clip, 22_050, 0.5, 0.75)
    assert len(part) == round(0.75 * 22_050) - round(0.5 * 22_050)


def test_bad_files_are_named(clip, mute_clip, tmp_path):
    pointer = tmp_path / "pointer.mp4"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    text = tmp_path / "text.mp4"
    text.write_text("not a video at all, only words")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    short = tmp_path / "short.mp4"
    short.write_bytes(clip.read_bytes()[:400])
    for path, message in [
        (pointer, "is a Git-LFS pointer, not video; run: git lfs pull"),
        (text, "is not video that can be read: Invalid data"),
        (empty, r"is empty \(0 bytes\)"),
        (short, "is not video that can be read"),
        (tmp_path, "is a folder, not a video file"),
        (tmp_path / "none.mp4", "is missing, not a video file"),
    ]:
        with pytest.raises(MediaError, match=message):
            probe_video(path)
        with pytest.raises(MediaError, match=message):
            list(read_frames(path))
    with pytest.raises(MediaError, match="has no sound track"):
        read_sound_track(mute_clip)
    with pytest.raises(MediaError, match=r"no video frame in \[9, end\] s"):
        list(read_frames(clip, 9.0))
    with pytest.raises(MediaError, match="no sound in the span"):
        read_sound_track(clip, start=9.0)


def test_sound_alone_is_no_video(tmp_path):
    import soundfile

    path = tmp_path / "tone.wav"
    soundfile.write(path, np.zeros(8000, np.float32), 16_000)
    with pytest.raises(MediaError, match="has no video track"):
        probe_video(path)
    assert len(read_sound_track(path)) == 8000


def test_a_video_without_frames(tmp_path):
    with pytest.raises(MediaError):
        probe_video(write_clip(tmp_path / "none.mkv", frames=0, sound=False))


def test_frames_beyond_8k_are_refused(clip, monkeypatch):
    from emofuse.media import video

    monkeypatch.setattr(video, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(MediaError, match="frames of 64 x 48 pixels"):
        next(read_frames(clip))


def test_without_pyav(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'emofuse\[video\]'"):
        probe_video(clip)
    with pytest.raises(MissingExtraError, match=r"pip install 'emofuse\[video\]'"):
        read_sound_track(clip)


def test_arrays(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 4), np.float16))
    np.save(tmp_path / "one.npy", np.ones(4))
    np.save(tmp_path / "none.npy", np.ones((0, 4)))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert read_array(tmp_path / "a.npy").shape == (3, 4)
    assert read_array(tmp_path / "one.npy").shape == (1, 4)
    (tmp_path / "pointer.npy").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "text.npy").write_text("words")
    for name, message in [
        ("none.npy", "holds no frame"),
        ("objects.npy", "no .npy array that can be read"),
        ("pointer.npy", "Git-LFS pointer"),
        ("text.npy", "no .npy array that can be read"),
        ("missing.npy", "No such file"),
    ]:
        with pytest.raises(MediaError, match=message):
            read_array(tmp_path / name)
