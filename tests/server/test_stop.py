"""Asked to stop under load: what was accepted is answered, the rest is told, the exit is 0."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from emofuse.cli.app import main


@contextmanager
def process(*arguments: str, env: dict[str, str] | None = None):
    """Run ``emofuse serve``; give the process, its address and the lines of its log."""
    command = [sys.executable, "-m", "emofuse", "serve", *arguments, "--port", "0"]
    started = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env
    )
    lines: list[str] = []
    try:
        for line in started.stderr:
            lines.append(line)
            if found := re.search(r"listening at (\S+)", line):
                break
        else:
            raise AssertionError(lines)
        reader = threading.Thread(target=lambda: lines.extend(started.stderr))
        reader.start()
        yield started, found[1], lines
        started.wait(60)
        reader.join(60)
    finally:
        started.kill()
        started.wait()
        started.stderr.close()


def test_a_signal_under_load_loses_no_accepted_request(bundle, clip, tmp_path):
    seen: Counter[object] = Counter()
    lock = threading.Lock()
    going = threading.Event()

    def client(address: str) -> None:
        with httpx2.Client(base_url=address, timeout=60) as http:
            while True:
                try:
                    answer = http.post("/v1/recognize", files={"file": ("a.wav", clip)})
                except httpx2.ConnectError:
                    kind: object = "refused"
                except httpx2.HTTPError as error:
                    kind = type(error).__name__
                else:
                    kind = answer.status_code
                    if kind == 200:
                        assert answer.json()["emotion"]
                        going.set()
                with lock:
                    seen[kind] += 1
                if kind != 200:
                    return

    with process(str(bundle)) as (server, address, lines):
        clients = [threading.Thread(target=client, args=(address,)) for _ in range(16)]
        for one in clients:
            one.start()
        assert going.wait(60)
        time.sleep(0.3)
        server.send_signal(signal.SIGTERM)
        for one in clients:
            one.join(60)
    assert server.returncode == 0
    assert set(seen) <= {200, 503, "refused"}, seen
    assert seen[200] > 0
    log = [json.loads(line) for line in lines if line.startswith("{")]
    answered = [one for one in log if one["event"] == "request" and one["status"] == 200]
    assert len(answered) == seen[200]
    assert next(one for one in log if one["event"] == "stopped")["taken"] == 0


def test_a_stream_gets_its_last_segments_when_the_service_stops(bundle, voices):
    wave = (voices["long"] * 32767).astype("<i2").tobytes()
    with process(str(bundle)) as (server, address, _):  # noqa: SIM117
        with connect(address.replace("http", "ws", 1) + "/v1/stream") as line:
            line.send('{"rate": 16000}')
            assert json.loads(line.recv(timeout=60))["type"] == "ready"
            for first in range(0, len(wave), 32_000):
                line.send(wave[first : first + 32_000])
            while json.loads(line.recv(timeout=60)).get("seconds", 0) < 9:
                pass
            server.send_signal(signal.SIGTERM)
            found = []
            with pytest.raises(ConnectionClosed):
                while True:
                    found.append(json.loads(line.recv(timeout=60)))
            assert found[-1]["type"] == "final"
            assert found[-1]["reason"] == "stopping"
            assert found[-1]["segments"] == 3
            assert line.close_code == 1012
    assert server.returncode == 0


def test_logs_are_json_without_content(bundle, clip):
    words = "a very private sentence"
    with process(str(bundle)) as (server, address, lines):
        form = {"files": {"file": ("private-name.wav", clip)}, "data": {"text": words}}
        assert httpx2.post(f"{address}/v1/recognize", **form).status_code == 200
        assert httpx2.post(f"{address}/v1/recognize", json={"id": words, "x": 1}).status_code == 422
        assert httpx2.get(f"{address}/{words}").status_code == 404
        server.send_signal(signal.SIGINT)
    text = "".join(lines)
    assert "private" not in text
    events = [json.loads(line)["event"] for line in lines if line.startswith("{")]
    assert events == ["started", *["request"] * 3, "stopping", "stopped"]
    assert len(lines) == len(events) + 1  # and the line that says where it listens


def called(monkeypatch, capfd, *arguments: str) -> tuple[int, str]:
    """Call ``emofuse serve`` in this process; give its status and what it complained of."""
    monkeypatch.setattr(sys, "argv", ["emofuse", "serve", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code, capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--host", "0.0.0.0"), "there are no API keys"),  # noqa: S104
        (("--queue", "4"), "max_items 32 is more than queue 4"),
        (("--max-seconds", "-1"), "max_seconds = -1.0"),
        (("--keys-file", "nowhere"), "cannot read the API keys in nowhere"),
    ],
)
def test_a_mistake_in_the_call_is_one_line(bundle, monkeypatch, capfd, arguments, line):
    status, complaint = called(monkeypatch, capfd, str(bundle), *arguments)
    assert status == 2
    assert line in complaint
    assert complaint.count("\n") == 1


def test_a_port_that_is_taken_is_said(bundle, address, monkeypatch, capfd):
    port = address.rpartition(":")[2]
    capfd.readouterr()
    status, complaint = called(monkeypatch, capfd, str(bundle), "--port", port)
    assert status == 1
    assert f"cannot listen at 127.0.0.1 port {port}" in complaint
