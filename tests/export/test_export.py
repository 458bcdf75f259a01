"""``emofuse export`` from end to end: PyTorch and ONNX answer alike, and ONNX needs no PyTorch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.export.conftest import write_drawn

from emofuse.cli.app import main
from emofuse.errors import BundleError, OptionError, WorkError
from emofuse.models.bundle import read_bundle
from emofuse.models.bundle_config import read_config
from emofuse.recognition.exporting import export as exporting
from emofuse.recognition.recognizer import Query, Recognizer

TEXT = "i am so happy"
BLOCKED = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "onnx", "onnxscript", "scipy"):
            raise ImportError(f"{name} is not to be had")
sys.meta_path.insert(0, Nothing())
"""


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory,
    checkpoint: Callable[[str], Path],
    voices: list[Path],
) -> tuple[Path, Path]:
    """A bundle over a Whisper and a BERT, and what the command makes of it."""
    home = tmp_path_factory.mktemp("export")
    encoders = {
        "audio": f"{checkpoint('whisper')}:layer=mean,pooling=mean+std",
        "text": str(checkpoint("bert")),
    }
    plain = write_drawn(home / "run" / "bundle", encoders, calibration=rules())
    words = ["export", home / "run", "-o", home / "onnx", "--utterances", "4"]
    status = call([*words, *(w for v in voices[:4] for w in ("--audio", v))])
    assert status == 0
    return plain, home / "onnx"


def rules() -> dict[str, object]:
    """Answer rules as training would have left them."""
    from emofuse.evaluation.rules import HeldOutItems, ScoreOptions, fit_rules

    rng = np.random.default_rng(0)
    labels = np.arange(80) % 4
    logits = 2.0 * np.eye(4)[labels] + rng.standard_normal((80, 4))
    names = [f"s{n % 8}" for n in range(80)]
    held = HeldOutItems(logits, labels, [None] * 80, names, "dev")
    found = fit_rules(held, ("anger", "happiness", "neutral", "sadness"), ScoreOptions())
    return found.model_dump(mode="json")


def call(words: list[object]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["emofuse", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
    return int(caught.value.code or 0)


def test_answers_are_those_of_pytorch(pair: tuple[Path, Path], voices: list[Path]) -> None:
    plain, onnx = (Recognizer.load(folder) for folder in pair)
    queries = [Query("text", text=TEXT)]
    queries += [
        Query(str(n), voice, text=t) for n, voice in enumerate(voices) for t in (None, TEXT)
    ]
    alone = [onnx.recognise_many([query])[0] for query in queries]
    for one, two, three in zip(
        plain.recognise_many(queries), onnx.recognise_many(queries), alone, strict=True
    ):
        assert one.error is None
        assert two.probabilities == pytest.approx(one.probabilities, abs=1e-5)
        assert two.weights == pytest.approx(one.weights, abs=1e-5)
        assert three.probabilities == pytest.approx(two.probabilities, abs=1e-6)
        same = ("id", "emotion", "emotion_set", "too_unsure", "calibrated", "missing", "notes")
        assert [getattr(one, key) for key in same] == [getattr(two, key) for key in same]
        assert two.calibrated
        assert two.model == f"{one.model} onnx fp32"
    assert (onnx.needs, onnx.classes) == (plain.needs, plain.classes)
    assert (onnx.modalities, onnx.sample_rate) == (plain.modalities, plain.sample_rate)


def test_a_timeline_is_that_of_pytorch(pair: tuple[Path, Path], voices: list[Path]) -> None:
    one, two = (Recognizer.load(folder).timeline(voices[0]) for folder in pair)
    assert one.segments
    assert [(s.start, s.end, s.emotion) for s in one.segments] == [
        (s.start, s.end, s.emotion) for s in two.segments
    ]


def test_the_bundle_says_what_it_is(pair: tuple[Path, Path]) -> None:
    config, note = read_config(pair[1]), read_config(pair[1]).onnx
    assert note is not None
    assert set(config.hashes) == {
        "model.onnx",
        "encoder.audio.onnx",
        "encoder.text.onnx",
        "tokenizer.json",
    }
    assert note.source == read_config(pair[0]).hashes["model.safetensors"]
    assert (note.check.answers, note.check.agreed) == (12, 1.0)  # whole, no text, no audio
    assert 0.0 <= note.check.largest <= note.check.tolerance == 1e-3
    card = (pair[1] / "README.md").read_text()
    assert "## Export" in card
    assert "not part of the bundle" not in card
    with pytest.raises(BundleError, match="is an ONNX bundle"):
        read_bundle(pair[1])
    for name in config.hashes:  # nothing of this machine travels along
        assert str(Path.home()).encode() not in (pair[1] / name).read_bytes()
        assert b"site-packages" not in (pair[1] / name).read_bytes()


def test_it_answers_where_pytorch_is_not_installed(
    pair: tuple[Path, Path], voices: list[Path], tmp_path: Path
) -> None:
    script = tmp_path / "without.py"
    script.write_text(
        BLOCKED
        + """
import json
import numpy as np
from emofuse import Recognizer
from emofuse.recognition.recognizer import Query
recognizer = Recognizer.load(sys.argv[1])
audio, text = sys.argv[2], "i am so happy"
answers = [recognizer.recognise(audio, text), recognizer.recognise(audio)]
answers += [recognizer.recognise(text=text)]
stereo = np.stack([np.sin(np.arange(16000) / n) for n in (9, 20)], axis=1) / 3
answers += list(recognizer.recognise_channels((stereo, 16000)))
segments = recognizer.timeline(audio).segments
stream = recognizer.stream(16000)
streamed = stream.feed(stereo) + stream.finish()
assert not {"torch", "transformers", "scipy", "pandas"} & set(sys.modules)
print(json.dumps([len(segments), len(streamed), [a.model_dump() for a in answers]]))
"""
    )
    words = [sys.executable, script, pair[1], voices[0]]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    segments, _, answers = json.loads(done.stdout)
    plain = Recognizer.load(pair[0])
    assert segments == len(plain.timeline(voices[0]).segments)
    assert answers[0]["probabilities"] == pytest.approx(
        plain.recognise(voices[0], TEXT).probabilities, abs=1e-5
    )
    assert [a["missing"] for a in answers[:3]] == [[], ["text"], ["audio"]]
    assert [a["channel"] for a in answers[3:]] == [0, 1]
    assert all(a["emotion_set"] and a["too_unsure"] is not None for a in answers)


def test_predict_answers_where_pytorch_is_not_installed(
    pair: tuple[Path, Path], voices: list[Path], tmp_path: Path
) -> None:
    script = tmp_path / "without.py"
    script.write_text(BLOCKED + "from emofuse.cli.app import main\nmain()\n")
    words = [sys.executable, script, "predict", *voices[:2], "-m", pair[1], "--format", "json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["id"] for one in found] == [str(voice) for voice in voices[:2]]
    assert all(one["emotion"] for one in found)


def test_a_graph_that_is_too_far_is_refused(
    pair: tuple[Path, Path],
    voices: list[Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = write_drawn(tmp_path / "run" / "bundle", {"audio": "logmel", "text": "ngrams"})
    real = exporting.fusion_graph

    def spoilt(*words: object) -> object:
        from onnx import numpy_helper

        found = real(*words)  # type: ignore[arg-type]
        for tensor in found.model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.ndim == 2:
                tensor.CopyFrom(
                    numpy_helper.from_array(values * values.dtype.type(1.1), tensor.name)
                )
        return found

    words = ["export", plain.parent, "-o", tmp_path / "onnx", "--audio", voices[0]]
    monkeypatch.setattr(exporting, "fusion_graph", spoilt)
    assert call(words) == 1
    told = capfd.readouterr().err
    assert "is too far from PyTorch on 1 utterances given" in told
    assert told.count("\n") == 1
    assert [one.name for one in tmp_path.iterdir()] == ["run"]
    monkeypatch.setattr(exporting, "fusion_graph", real)
    assert call(words) == 0
    files = {one.name for one in (tmp_path / "onnx").iterdir()}
    assert files == {"README.md", "config.json", "model.onnx"}  # formulas need no graph
    assert call(words) == 0  # an ONNX bundle may be written again


def test_nothing_else_is_overwritten(
    pair: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(["export", pair[0].parent, "-o", pair[0]]) == 1
    assert "is there and is no ONNX bundle" in capfd.readouterr().err
    assert call(["export", pair[0].parent, "--format", "tflite"]) == 2
    assert call(["export", pair[0].parent, "--int8", "--precision", "fp16"]) == 2
    assert call(["export", pair[1]]) == 2
    assert "say where the new one shall go" in capfd.readouterr().err
    before = sorted(one.name for one in pair[1].iterdir())
    assert call(["export", pair[1], "-o", pair[1], "--precision", "fp16"]) == 1
    assert "is what is exported; choose another folder" in capfd.readouterr().err
    assert sorted(one.name for one in pair[1].iterdir()) == before


def test_damage_and_wrong_calls_are_told(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="an ONNX bundle runs on the processor"):
        Recognizer.load(pair[1], device="cuda")
    with pytest.raises(OptionError, match="audio encoder is a part of the ONNX bundle"):
        Recognizer.load(pair[1], encoders={"audio": "elsewhere"})
    broken = tmp_path / "broken"
    shutil.copytree(pair[1], broken)
    data = (broken / "encoder.audio.onnx").read_bytes()
    (broken / "encoder.audio.onnx").write_bytes(data[:-1])
    with pytest.raises(BundleError, match="not the file that config.json describes"):
        Recognizer.load(broken).recognise((0.1 * np.ones(16000), 16000))
    (broken / "model.onnx").unlink()
    with pytest.raises(BundleError, match="it holds no model"):
        Recognizer.load(broken)


def test_a_video_encoder_is_refused(tmp_path: Path) -> None:
    plain = write_drawn(tmp_path / "bundle", {"audio": "vggish-patches"})
    with pytest.raises(WorkError, match="vggish-patches cannot be exported; what can"):
        exporting.export_onnx(plain, tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()
