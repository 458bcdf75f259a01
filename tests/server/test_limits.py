"""What a service refuses: too much, too long, too many, too late, too far away."""

from __future__ import annotations

import io
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from httpx2 import get, post

from emofuse.errors import OptionError
from emofuse.recognition.query import Query
from emofuse.recognition.reading import Loaded
from emofuse.recognition.recognizer import Recognizer
from emofuse.server.batching import Batcher
from emofuse.server.keys import Keys, load_keys
from emofuse.server.options import ServerOptions
from emofuse.server.problems import ErrorAnswer
from emofuse.server.running import check_open
from emofuse.server.service import Service

EVERYWHERE = "0.0.0.0"  # noqa: S104
KEY = "a-key-of-more-than-sixteen"


def code_of(answer) -> str:
    return ErrorAnswer.model_validate_json(answer.content).error.code


class Slow:
    """A recogniser that waits for a permission before each batch."""

    def __init__(self, inner: Recognizer) -> None:
        self._inner, self.free, self.sizes = inner, threading.Event(), []

    def __getattr__(self, name: str):
        return getattr(self._inner, name)

    def answer_loaded(self, asked):
        if asked[0].query.id != "warm-up":
            self.free.wait(60)
            self.sizes.append(len(asked))
        return self._inner.answer_loaded(asked)


def job_of(name: str, seconds: float) -> Loaded:
    return Loaded(Query(name), seconds, waveform=np.zeros(1, np.float32))


def flac_of_silence(seconds: int, rate: int = 16_000) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate, 1, format="FLAC", subtype="PCM_16") as file:
        for _ in range(seconds // 60):
            file.write(np.zeros(60 * rate, np.int16))
    return buffer.getvalue()


def with_length(flac: bytes, samples: int) -> bytes:
    """Write another number of samples into the header (36 bits, 21 bytes after the mark)."""
    place = 4 + 4 + 10
    head = int.from_bytes(flac[place : place + 8], "big")
    changed = (head & ~((1 << 36) - 1)) | samples
    return flac[:place] + changed.to_bytes(8, "big") + flac[place + 8 :]


def test_a_body_that_is_too_large_is_not_read_to_its_end(serve, as_wav):
    with serve(max_upload_mb=1) as (service, address):
        small = as_wav(np.zeros(400_000))
        assert post(f"{address}/v1/recognize", files={"file": ("a", small)}).status_code == 200
        answer = post(f"{address}/v1/recognize", files={"file": ("a", bytes(3 << 20))})
        assert code_of(answer) == "too_large"

        def endless():
            yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            for _ in range(1000):
                yield bytes(1 << 16)

        answer = post(f"{address}/v1/recognize", content=endless(), headers=FORM)
        assert code_of(answer) == "too_large"
        assert service.held.taken == 0
        assert service.queue.taken == 0


FORM = {"content-type": "multipart/form-data; boundary=x"}


def test_a_claim_of_a_day_is_refused_at_once_and_a_lie_while_it_is_decoded(serve):
    silence = flac_of_silence(600)
    assert len(silence) < 1 << 20
    with serve(max_seconds=30, timeline_seconds=60) as (_, address):
        for place in ("recognize", "timeline"):
            for samples in (86_400 * 16_000, 600 * 16_000, 0):
                data = with_length(silence, samples)
                answer = post(f"{address}/v1/{place}", files={"file": ("a", data)})
                assert code_of(answer) == "too_long", samples
        short = with_length(silence, 16_000)  # claims a second and holds ten minutes
        assert post(f"{address}/v1/recognize", files={"file": ("a", short)}).status_code < 500


def test_headers_with_absurd_figures(serve, as_wav):
    wav = bytearray(as_wav(np.zeros(1600)))
    with serve() as (_, address):
        for rate in (0, 1, 3999, 800_000, 2**31 - 1, 2**32 - 1):
            wav[24:28] = struct.pack("<I", rate)
            answer = post(f"{address}/v1/recognize", files={"file": ("a", bytes(wav))})
            assert code_of(answer) == "bad_audio", rate
        many = as_wav(np.zeros((50, 64)))
        answer = post(f"{address}/v1/recognize", files={"file": ("a", many)})
        assert code_of(answer) == "bad_audio"
        nan = as_wav(np.full(1600, np.nan), subtype="FLOAT")
        answer = post(f"{address}/v1/recognize", files={"file": ("a", nan)})
        assert code_of(answer) == "bad_audio"


def test_a_full_queue_says_when_to_come_again(serve, recognizer, clip):
    slow = Slow(recognizer)
    with (
        serve(slow, queue=3, max_items=2, max_batch=2) as (service, address),
        ThreadPoolExecutor(8) as pool,
    ):

        def ask(_: int):
            return post(f"{address}/v1/recognize", files={"file": ("a", clip)}, timeout=60)

        accepted = [pool.submit(ask, n) for n in range(3)]
        while service.queue.taken < 3:
            time.sleep(0.01)
        refused = ask(0)
        assert code_of(refused) == "busy"
        assert int(refused.headers["retry-after"]) >= 1
        assert get(f"{address}/healthz").status_code == 200
        slow.free.set()
        assert [one.result().status_code for one in accepted] == [200] * 3
        assert sum(slow.sizes) == 3
        assert max(slow.sizes) <= 2


def test_requests_that_wait_together_are_answered_together(serve, recognizer, clip):
    slow = Slow(recognizer)
    with serve(slow, max_batch=4) as (service, address), ThreadPoolExecutor(10) as pool:
        asked = [
            pool.submit(post, f"{address}/v1/recognize", files={"file": ("a", clip)}, timeout=60)
            for _ in range(9)
        ]
        while service.batcher.waiting < 5:  # the first batch took four at most
            time.sleep(0.01)
        slow.free.set()
        assert [one.result().status_code for one in asked] == [200] * 9
        assert max(slow.sizes) == 4


def test_an_answer_that_comes_too_late_is_a_timeout(serve, recognizer, clip):
    slow = Slow(recognizer)
    with serve(slow, time_limit=0.3) as (service, address):
        answer = post(f"{address}/v1/recognize", files={"file": ("a", clip)}, timeout=60)
        assert (answer.status_code, code_of(answer)) == (504, "timeout")
        slow.free.set()
        assert service.queue.taken == 0


def test_a_body_that_comes_too_slowly(serve):
    with serve(time_limit=0.3) as (service, address):
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 30) as line:
            head = f"POST /v1/recognize HTTP/1.1\r\nHost: {host}\r\n"
            kind = "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
            line.sendall((head + kind).encode())
            assert line.recv(100).startswith(b"HTTP/1.1 408")
        assert service.queue.taken == 0


def test_what_is_held_in_memory_is_limited_and_given_back(serve, recognizer, clip):
    slow = Slow(recognizer)
    with (
        serve(slow, max_upload_mb=0.05, held_mb=0.05, max_batch=1) as (service, address),
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(
            post, f"{address}/v1/recognize", files={"file": ("a", clip)}, timeout=60
        )
        while service.held.taken < len(clip):
            time.sleep(0.01)
        refused = post(f"{address}/v1/recognize", files={"file": ("a", clip)})
        assert code_of(refused) == "busy"
        assert "held in memory" in refused.json()["error"]["message"]
        slow.free.set()
        assert first.result().status_code == 200
        assert post(f"{address}/v1/recognize", files={"file": ("a", clip)}).status_code == 200
        assert service.held.taken == 0


def test_too_many_items_and_texts(serve, clip):
    with serve(max_items=2, max_text=5) as (_, address):
        batch = f"{address}/v1/recognize/batch"
        answer = post(batch, json={"items": [{"text": "a"}] * 3})
        assert code_of(answer) == "too_long"
        answer = post(batch, files=[("file", ("a", clip))] * 3)
        assert code_of(answer) == "bad_request"
        answer = post(batch, json={"items": [{"text": "abcdef"}, {"text": "abc"}]})
        assert [one["error"] is None for one in answer.json()["answers"]] == [False, True]
        answer = post(batch, files=[("file", ("a", clip))] * 2, data={"text": "one"})
        assert code_of(answer) == "bad_options"


def test_keys_open_and_nothing_else_does(serve, clip):
    with serve(keys=(KEY, "another-key-of-sixteen")) as (_, address):
        for headers, status in [
            ({}, 401),
            ({"x-api-key": KEY}, 200),
            ({"authorization": f"Bearer {KEY}"}, 200),
            ({"authorization": "bearer another-key-of-sixteen"}, 200),
            ({"authorization": f"Basic {KEY}"}, 401),
            ({"x-api-key": KEY[:-1]}, 401),
            ({"x-api-key": ""}, 401),
        ]:
            form = {"file": ("a", clip)}
            answer = post(f"{address}/v1/recognize", files=form, headers=headers)
            assert answer.status_code == status, headers
            assert get(f"{address}/metrics", headers=headers).status_code == status
            assert get(f"{address}/v1/models", headers=headers).status_code == status
        refused = get(f"{address}/v1/models")
        assert refused.headers["www-authenticate"] == "Bearer"
        for place in ("/healthz", "/readyz", "/", "/openapi.json"):
            assert get(address + place).status_code == 200
        schemes = get(f"{address}/openapi.json").json()["components"]["securitySchemes"]
        assert set(schemes) == {"bearer", "header"}


def test_other_pages_and_other_names_are_kept_out(serve, clip):
    form = {"files": {"file": ("a", clip)}}
    with serve() as (_, address):
        place = f"{address}/v1/recognize"
        assert post(place, **form, headers={"origin": "https://evil.example"}).status_code == 403
        assert post(place, **form, headers={"origin": "null"}).status_code == 403
        assert post(place, **form, headers={"host": "evil.example"}).status_code == 421
        assert post(place, **form, headers={"origin": address}).status_code == 200
        answer = post(place, **form, headers={"origin": address})
        assert "access-control-allow-origin" not in answer.headers
    with serve(allow_origin=("https://good.example",)) as (_, address):
        place = f"{address}/v1/recognize"
        answer = post(place, **form, headers={"origin": "https://good.example"})
        assert answer.headers["access-control-allow-origin"] == "https://good.example"
        assert post(place, **form, headers={"origin": "https://evil.example"}).status_code == 403


def test_strangers_are_not_let_in_by_accident():
    open_host = ServerOptions(host=EVERYWHERE)
    with pytest.raises(OptionError, match="there are no API keys: give --keys-file"):
        check_open(open_host, Keys())
    check_open(open_host, Keys((KEY,)))
    check_open(ServerOptions(host=EVERYWHERE, open=True), Keys())
    check_open(ServerOptions(host="::1"), Keys())


def test_keys_are_read_from_file_and_environment(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{KEY}\n\n")
    keys = load_keys(file, {"EMOFUSE_API_KEYS": "from-the-environment, , x234567890123456"})
    assert keys.admits(KEY)
    assert keys.admits("from-the-environment")
    assert not keys.admits("# ours")
    assert not keys.admits("")
    assert not keys.admits(None)
    file.write_text("short\n")
    with pytest.raises(OptionError, match="under 16 characters"):
        load_keys(file, {})
    file.write_text("# none\n")
    with pytest.raises(OptionError, match="holds no API key"):
        load_keys(file, {})
    with pytest.raises(OptionError, match="cannot read the API keys"):
        load_keys(tmp_path / "nothing", {})


def test_options_name_the_nearest_and_what_does_not_fit():
    with pytest.raises(OptionError, match="did you mean 'max_batch'"):
        ServerOptions.parse({"max_bach": 3})
    with pytest.raises(OptionError, match="max_items 32 is more than queue 8"):
        ServerOptions.parse({"queue": 8})


def test_one_query_that_breaks_does_not_break_its_neighbours():
    def answer(asked):
        words = [one.query.id for one in asked]
        for one in asked:
            assert one.waveform is not None  # what a broken batch took away is there again
            one.waveform = None
        if "bad" in words:
            raise RuntimeError("broken")
        return [word.upper() for word in words]

    batcher = Batcher(answer, max_batch=4, gather=0.2)
    jobs = [batcher.submit(job_of(word, 1.0)) for word in ("a", "bad", "c")]
    batcher.start()
    assert jobs[0].result(60) == "A"
    assert jobs[2].result(60) == "C"
    with pytest.raises(RuntimeError, match="broken"):
        jobs[1].result(60)
    batcher.stop()
    assert not batcher.alive


def test_batches_hold_so_many_and_so_long_in_order():
    sizes: list[int] = []
    done: list[int] = []

    def answer(asked):
        sizes.append(len(asked))
        done.extend(int(one.query.id) for one in asked)
        return asked

    batcher = Batcher(answer, max_batch=4, max_seconds=10.0, gather=0.0)
    lengths = [4.0] * 6 + [0.1] * 3 + [100.0]
    jobs = [batcher.submit(job_of(str(n), length)) for n, length in enumerate(lengths)]
    assert jobs[4].cancel()
    batcher.start()
    batcher.stop()
    assert done == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert max(sizes) <= 4
    assert sizes[0] == 2
    assert sizes[-1] == 1


def test_a_failure_of_the_model_is_told_without_its_message(recognizer, serve, clip, caplog):
    class Broken(Slow):
        def answer_loaded(self, asked):
            if asked[0].query.id != "warm-up":
                raise RuntimeError("secret words of somebody")
            return self._inner.answer_loaded(asked)

    with serve(Broken(recognizer)) as (service, address):
        answer = post(f"{address}/v1/recognize", files={"file": ("a", clip)})
        assert (answer.status_code, code_of(answer)) == (500, "internal")
        assert "secret" not in answer.text
        assert service.batcher.alive
        assert get(f"{address}/readyz").status_code == 200


def test_service_is_not_ready_without_its_thread(recognizer):
    assert not Service(recognizer).ready
