"""What the service answers: the recogniser's own answers, and every error in one shape."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
from httpx2 import Client as Http
from httpx2 import post

from emofuse.recognition.timeline import TimelineOptions
from emofuse.server.problems import CODES, ErrorAnswer


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def error_of(answer) -> tuple[int, str]:
    note = ErrorAnswer.model_validate_json(answer.content).error
    assert answer.status_code == CODES[note.code][0]
    assert note.request_id == answer.headers["x-request-id"]
    assert "\n" not in note.message
    return answer.status_code, note.code


def close(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("text", [None, "you are late again"])
@pytest.mark.parametrize("way", ["form", "json"])
def test_answers_are_the_recognisers_own(address, recognizer, clip, way, text):
    expected = recognizer.recognise(clip, text=text, id="call")
    fields = {"id": "call"} | ({} if text is None else {"text": text})
    if way == "form":
        answer = post(f"{address}/v1/recognize", files={"file": ("any", clip)}, data=fields)
    else:
        answer = post(f"{address}/v1/recognize", json={"audio": b64(clip), **fields})
    assert answer.status_code == 200
    found = answer.json()
    close(found.pop("probabilities"), expected.probabilities)
    close(found.pop("weights"), expected.weights)
    plain = expected.model_dump(mode="json", exclude={"probabilities", "weights", "confidence"})
    assert {name: found[name] for name in plain} == plain


def test_text_alone_is_answered(address, recognizer):
    answer = post(f"{address}/v1/recognize", json={"text": "the house feels empty"})
    assert answer.json()["emotion"] == recognizer.recognise(text="the house feels empty").emotion


@pytest.mark.parametrize(
    ("form", "subtype"), [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("AIFF", "PCM_24")]
)
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44_100, 2), (48_000, 3)])
def test_any_format_rate_and_number_of_channels(
    address, recognizer, voices, as_wav, form, subtype, rate, channels
):
    wave = np.repeat(voices["short"][:, None], channels, 1)
    data = as_wav(wave, rate, form, subtype)
    expected = recognizer.recognise(data)
    answer = post(f"{address}/v1/recognize", files={"file": ("a", data)}).json()
    close(answer["probabilities"], expected.probabilities)
    assert answer["seconds"] == pytest.approx(expected.seconds, abs=1e-3)


def test_a_batch_is_answered_in_order_and_says_what_failed(address, recognizer, clip, meeting):
    files = [("file", ("a", clip)), ("file", ("b", b"no audio")), ("file", ("c", meeting))]
    answer = post(f"{address}/v1/recognize/batch", files=files, data={"id": ["x", "y", "z"]})
    assert answer.status_code == 200
    found = answer.json()["answers"]
    assert [one["id"] for one in found] == ["x", "y", "z"]
    assert "not audio" in found[1]["error"]
    close(found[0]["probabilities"], recognizer.recognise(clip).probabilities)
    close(found[2]["probabilities"], recognizer.recognise(meeting).probabilities)


def test_a_timeline_is_the_recognisers_own(address, recognizer, meeting):
    options = TimelineOptions(window=2.0, hop=0.5, delay=30.0)
    expected = recognizer.timeline(meeting, options, id="m").model_dump(mode="json")
    asked = {"audio": b64(meeting), "id": "m", "settings": {"window": 2.0, "hop": 0.5}}
    found = post(f"{address}/v1/timeline", json=asked).json()
    assert found == json.loads(json.dumps(expected))
    assert found["segments"]


@pytest.mark.parametrize(
    ("form", "kind", "start"),
    [
        ("srt", "application/x-subrip", "1\n00:00:00,"),
        ("vtt", "text/vtt", "WEBVTT"),
        ("csv", "text/csv", "start,end,emotion"),
        ("rttm", "text/plain", "SPEAKER m 1 0."),
        ("html", "text/html", "<!doctype html>"),
    ],
)
def test_a_timeline_in_other_formats(address, meeting, form, kind, start):
    answer = post(
        f"{address}/v1/timeline",
        files={"file": ("a", meeting)},
        data={"format": form, "id": "m", "settings": '{"hop": 1}'},
    )
    assert answer.headers["content-type"].startswith(kind)
    assert answer.text.startswith(start)


BAD = [
    ({}, "bad_options", "neither audio nor text"),
    ({"audio": "***"}, "bad_options", "audio is not base64"),
    ({"audo": ""}, "bad_options", "did you mean 'audio'"),
    ({"audio": b64(b"RIFF")}, "bad_audio", "not audio"),
    ({"audio": ""}, "bad_audio", "not audio"),
    ({"text": "x" * 10_001}, "too_long", "10001 characters; at most 10000"),
    ({"text": 3}, "bad_options", "text = 3"),
    ({"text": "  "}, "bad_options", "neither audio nor text"),
]


@pytest.mark.parametrize(("body", "code", "line"), BAD)
def test_a_mistake_is_one_clear_line(address, body, code, line):
    answer = post(f"{address}/v1/recognize", json=body)
    assert error_of(answer)[1] == code
    assert line in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"{", "application/json", "bad_request"),
        (b"[" * 100_000, "application/json", "bad_request"),
        (b"[]", "application/json", "bad_options"),
        (b"\xff", "application/json", "bad_request"),
        (b"", "application/json", "bad_request"),
        (b"a=1", "application/x-www-form-urlencoded", "bad_type"),
        (b"x", "text/plain", "bad_type"),
        (b"x", "multipart/form-data", "bad_request"),
        (b"x", "multipart/form-data; boundary=y", "bad_request"),
        (b"--y\r\n\r\n\r\n--y--", "multipart/form-data; boundary=y", "bad_request"),
        (
            b'--y\r\nContent-Disposition: form-data; name="text"\r\n\r\n',
            "multipart/form-data; boundary=y",
            None,
        ),
    ],
)
def test_bodies_that_are_none(address, content, kind, code):
    answer = post(f"{address}/v1/recognize", content=content, headers={"content-type": kind})
    status, found = error_of(answer)
    assert 400 <= status < 500
    assert code is None or found == code


def test_settings_name_the_nearest_legal_key(address, meeting):
    for settings, line in [
        ({"windw": 1}, "did you mean 'window'"),
        ({"silero_file": "/etc/passwd"}, "unknown key 'silero_file'"),
        ({"hop": 20}, "hop 20 is longer than window 3"),
        ({"window": "x"}, "window"),
    ]:
        answer = post(f"{address}/v1/timeline", json={"audio": b64(meeting), "settings": settings})
        assert error_of(answer) == (422, "bad_options")
        assert line in answer.json()["error"]["message"]


def test_other_addresses_and_methods(address):
    with Http(base_url=address) as http:
        assert error_of(http.get("/v1/nothing")) == (404, "not_found")
        assert error_of(http.get("/page/../../etc/passwd")) == (404, "not_found")
        refused = http.get("/v1/recognize")
        assert error_of(refused) == (405, "bad_method")
        assert refused.headers["allow"] == "POST"


def test_the_document_describes_every_error_with_examples(address):
    with Http(base_url=address) as http:
        document = http.get("/openapi.json").json()
    work = [one for path in document["paths"].values() for one in path.values()]
    assert len(work) == 7
    for operation in work:
        for status, answer in operation["responses"].items():
            content = answer["content"]
            assert any({"example", "examples"} & kind.keys() for kind in content.values()), (
                operation["operationId"],
                status,
            )
        if "requestBody" in operation:
            assert operation["requestBody"]["content"]["application/json"]["examples"]
            assert {"413", "422", "429", "504"} <= operation["responses"].keys()


def test_examples_of_the_document_are_taken(address):
    with Http(base_url=address) as http:
        document = http.get("/openapi.json").json()
        for path, operations in document["paths"].items():
            for kind, operation in operations.items():
                body = operation.get("requestBody", {}).get("content", {}).get("application/json")
                for example in (body or {"examples": {"": {"value": None}}})["examples"].values():
                    given = {} if example["value"] is None else {"json": example["value"]}
                    assert http.request(kind, path, **given).status_code == 200, path


def test_counters_move_and_name_no_content(address, clip):
    with Http(base_url=address) as http:
        pattern = r'emofuse_requests_total\{route="/v1/recognize",status="200"\} ([0-9.]+)'

        def count() -> float:
            found = re.search(pattern, http.get("/metrics").text)
            return float(found[1]) if found else 0.0

        before = count()
        http.post("/v1/recognize", files={"file": ("secret-name.wav", clip)}, data={"text": "hush"})
        assert count() == before + 1
        text = http.get("/metrics").text
        assert "secret-name" not in text
        assert "hush" not in text
        assert re.search(r"emofuse_batch_size_count [1-9]", text)
        assert "emofuse_waiting 0.0" in text
