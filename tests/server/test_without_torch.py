"""An ONNX bundle is served by the same service where PyTorch is not installed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import pytest

from emofuse.cli.app import main
from emofuse.recognition.timeline import TimelineOptions
from emofuse.server.client import Client

pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
BLOCKED = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "onnx", "onnxscript"):
            raise ImportError(f"{name} is not to be had")
sys.meta_path.insert(0, Nothing())
from emofuse.cli.app import main
main()
"""


def test_the_service_answers_without_pytorch(
    bundle, recognizer, clip, meeting, voices, tmp_path, monkeypatch
):
    sound = tmp_path / "call.wav"
    sound.write_bytes(clip)
    words = ["emofuse", "export", bundle, "-o", tmp_path / "onnx", "--audio", sound]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    command = [sys.executable, "-c", BLOCKED, "serve", str(tmp_path / "onnx"), "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    lines = []
    try:
        for line in server.stderr:
            lines.append(line)
            if found := re.search(r"listening at (\S+)", line):
                break
        else:
            raise AssertionError(lines)
        with Client(found[1]) as client:
            expected = recognizer.recognise(clip, text="well then")
            answer = client.recognise(clip, text="well then")
            assert answer.probabilities == pytest.approx(expected.probabilities, abs=1e-3)
            assert answer.weights == pytest.approx(expected.weights, abs=1e-3)
            assert all(one.emotion for one in client.recognise_many([clip, meeting, clip]))
            spans = [(one.start, one.end) for one in client.timeline(meeting).segments]
            options = TimelineOptions(delay=30.0)
            assert spans == [
                (s.start, s.end) for s in recognizer.timeline(meeting, options).segments
            ]
            with client.stream(16_000) as stream:
                segments = stream.send(voices["long"]) + stream.finish()
            assert [(one.start, one.end) for one in segments] == spans
    finally:
        server.send_signal(signal.SIGTERM)
        lines += server.stderr.readlines()
        server.wait(60)
        server.stderr.close()
    assert server.returncode == 0
    assert json.loads(lines[-1])["event"] == "stopped"
