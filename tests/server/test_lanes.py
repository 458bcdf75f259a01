"""Several batches at once: the same answers, every asker in turn, streams among requests."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from httpx2 import get, post
from tests.server.test_stream import END, talk

from emofuse.encoders import workers
from emofuse.errors import OptionError, WorkError
from emofuse.recognition.lanes import Lanes
from emofuse.recognition.query import Query
from emofuse.recognition.reading import Loaded
from emofuse.recognition.recognizer import Recognizer
from emofuse.recognition.timeline import TimelineOptions
from emofuse.server.batching import Batcher


@pytest.fixture(scope="module")
def wide(bundle) -> Recognizer:
    return Recognizer.load(bundle, lanes=3)


def job_of(name: str, seconds: float = 1.0) -> Loaded:
    return Loaded(Query(name), seconds)


def test_a_lane_takes_its_share_and_all_work_at_once():
    together = threading.Barrier(3)  # breaks unless three batches are answered at the same time
    sizes = []

    def answer(asked):
        sizes.append(len(asked))
        if len(sizes) <= 3:
            together.wait(60)
        return [one.query.id for one in asked]

    batcher = Batcher(answer, max_batch=16, gather=0.0, lanes=3)
    jobs = [batcher.submit(job_of(str(n))) for n in range(6)]
    batcher.start()
    assert [job.result(60) for job in jobs] == [str(n) for n in range(6)]
    batcher.stop()
    assert sorted(sizes[:3]) == [1, 2, 2]
    assert sum(sizes) == 6


def test_one_who_asks_a_lot_does_not_delay_who_asks_once():
    order = []

    def answer(asked):
        order.extend(one.query.id for one in asked)
        return [one.query.id for one in asked]

    batcher = Batcher(answer, max_batch=2, gather=0.0)
    jobs = [batcher.submit(job_of(f"many{n}"), "one stream") for n in range(8)]
    jobs += [batcher.submit(job_of("other0"), "another"), batcher.submit(job_of("alone"))]
    jobs += [batcher.submit(job_of("other1"), "another")]
    batcher.start()
    batcher.stop()
    assert order[:5] == ["many0", "other0", "alone", "many1", "other1"]
    assert order[5:] == [f"many{n}" for n in range(2, 8)]
    assert all(job.done() for job in jobs)


def test_who_comes_after_the_end_is_told():
    batcher = Batcher(lambda asked: [one.query.id for one in asked])
    batcher.start()
    batcher.stop()
    with pytest.raises(WorkError, match="being shut down"):
        batcher.answer([job_of("late")], "x")


def test_nobody_waits_for_company_that_is_not_on_its_way():
    batcher = Batcher(lambda asked: ["yes"] * len(asked), gather=3600.0, coming=lambda: 0)
    batcher.start()
    assert batcher.submit(job_of("alone")).result(60) == "yes"
    batcher.stop()


def test_a_pass_that_is_alone_has_all_cores_and_several_share_them(monkeypatch):
    monkeypatch.setattr("emofuse.recognition.lanes.cores", lambda: 8)
    threads = torch.get_num_threads()
    lanes = Lanes(4)
    seen = []
    try:
        with lanes.take():
            seen.append((workers.cores(), torch.get_num_threads(), lanes.busy))

            def other():
                with lanes.take():
                    seen.append((workers.cores(), torch.get_num_threads(), lanes.busy))

            one = threading.Thread(target=other)
            one.start()
            one.join()
        with Lanes(1).take():
            assert workers.cores() == torch.get_num_threads()
    finally:
        torch.set_num_threads(threads)
    assert seen == [(8, 8, 1), (2, 2, 2)]
    assert lanes.busy == 0


def test_answers_of_lanes_are_those_of_the_recogniser(serve, wide, recognizer, voices, as_wav):
    rng = np.random.default_rng(0)
    clips = [as_wav(voices["long"][: int(rng.integers(4000, 90_000))]) for _ in range(24)]
    expected = [recognizer.recognise(clip) for clip in clips]
    with serve(wide, max_batch=4) as (service, address), ThreadPoolExecutor(12) as pool:
        assert service.recognizer.lanes == 3

        def ask(clip: bytes):
            return post(f"{address}/v1/recognize", files={"file": ("a", clip)}, timeout=60).json()

        found = list(pool.map(ask, clips))
        assert service.queue.taken == service.batcher.waiting == 0
        assert get(f"{address}/readyz").status_code == 200
    for answer, one in zip(found, expected, strict=True):
        assert answer["probabilities"] == pytest.approx(one.probabilities, abs=1e-5)


def test_streams_among_requests_give_the_segments_of_the_file(
    serve, wide, recognizer, voices, as_wav, clip
):
    wave = np.round(voices["long"] * 32767).astype("<i2")
    chunks = [wave[n : n + 4000].tobytes() for n in range(0, len(wave), 4000)]
    live = recognizer.timeline((wave, 16_000), TimelineOptions(delay=0.5)).segments
    file = as_wav(voices["long"])
    whole = recognizer.timeline(file, TimelineOptions(delay=30.0)).segments
    sizes = []
    with serve(wide, streams=4) as (service, address), ThreadPoolExecutor(8) as pool:
        noted = service.batcher._noted
        service.batcher._noted = lambda size, *rest: (sizes.append(size), noted(size, *rest))
        streams = [pool.submit(talk, address, {"rate": 16_000}, [*chunks, END]) for _ in range(4)]
        form = {"file": ("a", file)}
        timeline = pool.submit(post, f"{address}/v1/timeline", files=form, timeout=60)
        asked = [
            pool.submit(post, f"{address}/v1/recognize", files={"file": ("a", clip)}, timeout=60)
            for _ in range(8)
        ]
        assert {one.result().status_code for one in asked} == {200}
        for one in streams:
            found = [m["segment"] for m in one.result()[0] if m["type"] == "segment"]
            same(found, live)
        same(json.loads(timeline.result().content)["segments"], whole)
        assert service.batcher.waiting == 0
    assert max(sizes) > 1  # windows went with others
    assert sum(sizes) > 8 + 5 * len(live)


def same(found, expected):
    assert [(one["start"], one["end"], one["emotion"]) for one in found] == [
        (one.start, one.end, one.emotion) for one in expected
    ]
    for one, other in zip(found, expected, strict=True):
        assert one["probabilities"] == pytest.approx(other.probabilities, abs=1e-4)


def test_an_onnx_bundle_has_its_own_precision():
    with pytest.raises(OptionError, match=r"computes as it was exported \(.*--precision"):
        Recognizer.load(precision="bf16")
    assert Recognizer.load(precision="auto", lanes=2).lanes == 2
