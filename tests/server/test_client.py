"""The client against a real service: typed answers, typed errors."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from emofuse.errors import OptionError, WorkError
from emofuse.recognition.timeline import TimelineOptions
from emofuse.server.client import Client, ServiceError
from emofuse.server.options import ServerOptions
from emofuse.server.running import in_thread
from emofuse.server.service import Service


@pytest.fixture
def opened():
    """Close a client at the end."""
    with ExitStack() as stack:
        yield stack.enter_context


def test_client_gives_what_the_recogniser_gives(address, recognizer, clip, meeting, tmp_path):
    file = tmp_path / "one.wav"
    file.write_bytes(clip)
    with Client(address) as client:
        assert client.ready()
        assert client.models().models[0].classes == recognizer.classes
        expected = recognizer.recognise(clip, text="well")
        for audio in (file, str(file), clip):
            found = client.recognise(audio, text="well")
            assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
        with file.open("rb") as stream:
            assert client.recognise(stream).emotion == recognizer.recognise(clip).emotion
        first, second = client.recognise_many([clip, b"no audio"], ["yes", None])
        assert first.emotion is not None
        assert second.error is not None
        options = TimelineOptions(delay=30.0, window=2.0)
        segments = recognizer.timeline(meeting, options).segments
        assert client.timeline(meeting, window=2.0).segments == segments
        assert client.timeline_text(meeting, "vtt").startswith("WEBVTT")


def test_client_streams(address, recognizer, voices):
    expected = recognizer.timeline((voices["long"], 16_000), TimelineOptions(delay=0.5)).segments
    with Client(address).stream(16_000) as stream:
        found = []
        for first in range(0, len(voices["long"]), 5000):
            found += stream.send(voices["long"][first : first + 5000])
        found += stream.finish()
        assert stream.finish() == []
        assert stream.final.segments == len(expected)
    assert [(one.start, one.end) for one in found] == [(one.start, one.end) for one in expected]


def test_errors_of_the_client_are_typed(address, serve, clip, opened):
    client = opened(Client(address))
    with pytest.raises(ServiceError, match="not audio") as caught:
        client.recognise(b"junk")
    assert (caught.value.status, caught.value.code) == (422, "bad_audio")
    with pytest.raises(ServiceError, match="No such file"):
        client.recognise("nowhere.wav")
    with pytest.raises(OptionError, match="2 texts for 1"):
        client.recognise_many([clip], ["a", "b"])
    with pytest.raises(OptionError, match="no address"):
        Client("ftp://x")
    with pytest.raises(ServiceError, match="no answer from 127.0.0.1:9"):
        Client("http://127.0.0.1:9").recognise(clip)
    assert not Client("http://127.0.0.1:9").ready()
    with pytest.raises(WorkError, match="unknown key"), client.stream(16_000, windw=1):
        pass
    with serve(keys=("a-key-of-more-than-sixteen",)) as (_, place):
        with pytest.raises(ServiceError, match="give an API key") as caught:
            opened(Client(place)).recognise(clip)
        assert caught.value.status == 401
        assert opened(Client(place, key="a-key-of-more-than-sixteen")).recognise(clip).emotion


def test_client_asks_again_when_the_service_is_busy(serve, clip, monkeypatch, opened):
    pauses: list[float] = []
    with serve(queue=1, max_items=1) as (service, address):
        service.queue.take()

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            service.queue.give()

        monkeypatch.setattr("emofuse.server.client.time.sleep", pause)
        assert opened(Client(address)).recognise(clip).emotion
        assert pauses == [1.0]
        service.queue.take()
        with pytest.raises(ServiceError, match="queue is full") as caught:
            opened(Client(address, retries=0)).recognise(clip)
        assert (caught.value.status, caught.value.retry_after) == (429, 1.0)
        service.queue.give()


def test_a_client_outlives_a_connection_that_was_closed(recognizer, clip, opened):
    service = Service(recognizer, ServerOptions(port=0))
    running, address, thread = in_thread(service)
    client = opened(Client(address))
    first = client.recognise(clip)
    running.ask_to_stop()
    thread.join(60)
    port = int(address.rpartition(":")[2])
    running, _, thread = in_thread(Service(recognizer, ServerOptions(port=port)))
    try:
        assert client.recognise(clip) == first
    finally:
        running.ask_to_stop()
        thread.join(60)
