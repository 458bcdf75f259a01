"""One recording in every shape a caller may have it in; threads, channels, event loops."""

from __future__ import annotations

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from emofuse.errors import MediaError, OptionError, WorkError
from emofuse.media.blocks import gather, open_blocks
from emofuse.recognition.query import Query
from emofuse.recognition.recognizer import Recognizer

av = pytest.importorskip("av")


@pytest.fixture(scope="module")
def recognizer(trained):
    return Recognizer.load(trained.bundle)


def encoded(samples, rate, form, codec):
    """Encode ``(samples, channels)`` with FFmpeg."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as box:
        stream = box.add_stream(codec, rate=rate)
        stream.layout = "mono" if samples.shape[1] == 1 else "stereo"
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T, np.float32), format="fltp", layout=stream.layout.name
        )
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            box.mux(packet)
    return file.getvalue()


def test_path_bytes_file_and_samples_agree(trained, recognizer):
    path = trained.audio(3)
    data = path.read_bytes()
    samples, rate = soundfile.read(path, dtype="float32")
    expected = recognizer.recognise(path, id="x")
    assert expected.confidence == max(expected.probabilities.values())
    assert (expected.start, expected.end) == (0.0, pytest.approx(expected.seconds))
    assert expected.model.startswith("late-fusion ")
    assert expected.licence.startswith("data: CC0-1.0; encoders: ")
    with path.open("rb") as file:
        found = [
            recognizer.recognise(given, id="x")
            for given in (data, io.BytesIO(data), file, bytearray(data), (samples, rate), str(path))
        ]
    for one in found:
        assert one == expected


@pytest.mark.parametrize(
    ("form", "codec"), [("mp4", "aac"), ("webm", "libopus"), ("matroska", "pcm_s16le")]
)
def test_what_ffmpeg_reads(trained, recognizer, form, codec, tmp_path):
    samples, rate = soundfile.read(trained.audio(3), dtype="float32", always_2d=True)
    if codec == "libopus":
        rate = 48_000 if rate not in (8000, 12000, 16000, 24000, 48000) else rate
    data = encoded(samples, rate, form, codec)
    path = tmp_path / "clip.m4b"
    path.write_bytes(data)
    found = recognizer.recognise(data)
    assert found.seconds == pytest.approx(len(samples) / rate, abs=0.15)
    assert recognizer.recognise(path).probabilities == found.probabilities
    expected = recognizer.recognise((samples, rate))
    got, want = (list(one.probabilities.values()) for one in (found, expected))
    np.testing.assert_allclose(got, want, atol=1e-3 if codec == "pcm_s16le" else 0.35)


def test_blocks_are_the_whole(trained):
    path = trained.audio(1)
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    found, got = gather(path)
    assert got == rate
    np.testing.assert_array_equal(found, samples)
    part, _ = gather(path.read_bytes(), 0.1, 0.3)
    np.testing.assert_array_equal(part, samples[round(0.1 * rate) : round(0.3 * rate)])
    with pytest.raises(MediaError, match="over 0.1 seconds"):
        gather(path, limit=0.1)


def test_what_is_no_audio(recognizer, tmp_path):
    for data in (b"", b"#EXTM3U\nfile:///etc/passwd\n", b"\0" * 100, b"RIFF\0\0\0\0WAVE"):
        with pytest.raises(WorkError):
            recognizer.recognise(data)
    with (
        pytest.raises(MediaError, match="playlist"),
        open_blocks(b"ffconcat version 1.0\nfile '/etc/passwd'\n"),
    ):
        pass
    with pytest.raises(OptionError, match="int is no audio"):
        recognizer.recognise(3)
    with pytest.raises(OptionError, match="open as text"):
        recognizer.recognise(io.StringIO("a"))


def test_channels_mixed_or_each(trained, recognizer, tmp_path):
    one, rate = soundfile.read(trained.audio(0), dtype="float32")
    other, _ = soundfile.read(trained.audio(7), dtype="float32")
    size = min(len(one), len(other))
    pair = np.stack([one[:size], other[:size]], axis=1)
    soundfile.write(tmp_path / "pair.wav", pair, rate, subtype="FLOAT")
    for given in ((pair, rate), tmp_path / "pair.wav", (tmp_path / "pair.wav").read_bytes()):
        left, right = recognizer.recognise_channels(given, id="p")
        assert (left.id, left.channel, right.id, right.channel) == ("p#0", 0, "p#1", 1)
        for found, wave in ((left, pair[:, 0]), (right, pair[:, 1])):
            alone = recognizer.recognise((wave, rate))
            assert found.probabilities == pytest.approx(alone.probabilities, abs=1e-4)
        mixed = recognizer.recognise(given)
        mean = recognizer.recognise((pair.mean(axis=1), rate))
        assert mixed.probabilities == pytest.approx(mean.probabilities, abs=1e-4)
    (single,) = recognizer.recognise_channels((one, rate), id="m")
    assert (single.id, single.channel) == ("m", None)
    broken = recognizer.recognise_many([b"no"], channels="each")
    assert broken[0].error


def test_many_takes_anything_and_reports(trained, recognizer):
    events = []
    path = trained.audio(0)
    items = [path, path.read_bytes(), str(path), Query("words", text="this makes me furious")]
    answers = recognizer.recognise_many(items, events.append)
    assert [one.error for one in answers] == [None] * 4
    assert (events[-1].stage, events[-1].done, events[-1].total) == ("recognise", 4, 4)


def test_threads_get_what_they_get_alone(trained):
    recognizer = Recognizer.load(trained.bundle)  # nothing loaded yet: the threads race for it
    rows = list(trained.test)[:12] * 3
    alone = {
        row: recognizer.recognise(trained.audio(row), trained.manifest[row].text) for row in rows
    }
    fresh = Recognizer.load(trained.bundle)
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(lambda r: fresh.recognise(trained.audio(r), trained.manifest[r].text), rows)
        )
    for row, one in zip(rows, found, strict=True):
        assert one == alone[row]


def test_in_an_event_loop(trained, recognizer):
    async def work():
        return await asyncio.gather(
            *(recognizer.arecognise(trained.audio(row)) for row in range(4)),
            recognizer.arecognise_many([trained.audio(4)]),
        )

    *singles, many = asyncio.run(work())
    assert singles == [recognizer.recognise(trained.audio(row)) for row in range(4)]
    assert many == [recognizer.recognise(trained.audio(4))]
