from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from emofuse.errors import BundleError, OptionError, WorkError
from emofuse.models.build import build_model, parse_model_options
from emofuse.models.bundle import ModelNote, write_bundle
from emofuse.progress import ProgressEvent
from emofuse.recognition.query import Query
from emofuse.recognition.recognizer import Recognition, Recognizer


@pytest.fixture(scope="module")
def recognizer(trained: Any) -> Recognizer:
    return Recognizer.load(trained.bundle)


def softmax(logits: torch.Tensor) -> np.ndarray:
    return torch.softmax(logits.double(), dim=-1).numpy()


def values(answer: Recognition) -> list[float]:
    return list(answer.probabilities.values())


def ua(gold: list[str], found: list[str | None]) -> float:
    classes = sorted(set(gold))
    return float(
        np.mean(
            [np.mean([f == c for g, f in zip(gold, found, strict=True) if g == c]) for c in classes]
        )
    )


def queries(trained: Any, *modalities: str) -> list[Query]:
    return [
        Query(
            trained.manifest[row].id,
            trained.audio(row) if "audio" in modalities else None,
            text=trained.manifest[row].text if "text" in modalities else None,
        )
        for row in trained.test
    ]


def test_says_what_the_trainer_says(trained: Any, recognizer: Recognizer) -> None:
    rows = trained.test
    for modalities in (("audio", "text"), ("audio",), ("text",)):
        answers = recognizer.recognise_many(queries(trained, *modalities))
        expected = softmax(trained.logits(rows, *modalities))
        np.testing.assert_allclose([values(a) for a in answers], expected, atol=1e-5)
        assert [a.id for a in answers] == [trained.manifest[row].id for row in rows]
        for answer, row in zip(answers, expected, strict=True):
            assert answer.emotion == recognizer.classes[int(row.argmax())]
            assert sum(values(answer)) == pytest.approx(1)
            assert tuple(answer.weights) == answer.modalities == modalities
            assert sum(answer.weights.values()) == pytest.approx(1, abs=1e-5)


def test_alone_and_in_company(trained: Any, recognizer: Recognizer) -> None:
    together = recognizer.recognise_many(queries(trained, "audio", "text"))
    mixed = [
        Query(q.id, q.audio if n % 3 else None, text=q.text if n % 2 or not n % 3 else None)
        for n, q in enumerate(queries(trained, "audio", "text"))
    ]
    answers = recognizer.recognise_many(mixed)
    for place in (0, 5, 6, 7, 20):
        query = queries(trained, "audio", "text")[place]
        alone = recognizer.recognise(query.audio, query.text, query.id)
        np.testing.assert_allclose(values(alone), values(together[place]), atol=1e-4)
        one = mixed[place]
        alone = recognizer.recognise(one.audio, one.text, one.id)
        np.testing.assert_allclose(values(alone), values(answers[place]), atol=1e-4)
        assert alone.notes == answers[place].notes


def test_both_beat_either_and_either_beats_chance(trained: Any, recognizer: Recognizer) -> None:
    gold = [trained.manifest[row].emotion for row in trained.test]

    def score(*modalities: str) -> float:
        answers = recognizer.recognise_many(queries(trained, *modalities))
        return ua(gold, [a.emotion for a in answers])

    both, audio, text = score("audio", "text"), score("audio"), score("text")
    assert both > max(audio, text)
    assert min(audio, text) > 0.35  # chance is 0.25


def test_says_what_is_missing(trained: Any, recognizer: Recognizer, tmp_path: Path) -> None:
    answer = recognizer.recognise(trained.audio(0))
    assert (answer.missing, answer.modalities) == (("text",), ("audio",))
    assert answer.notes == ("trained on audio+text; text missing: answered from audio alone",)
    assert answer.seconds == pytest.approx(soundfile.info(str(trained.audio(0))).duration)
    blank = recognizer.recognise(trained.audio(0), "  \n")
    assert blank.missing == ("text",)
    spoken = recognizer.recognise(text="this makes me furious")
    assert (spoken.missing, spoken.seconds) == (("audio",), None)
    both = recognizer.recognise(trained.audio(0), "so it goes")
    assert (both.missing, both.notes) == ((), ())
    write_bundle(
        tmp_path, trained.model, trained.config.model_copy(update={"trained_with_dropout": False})
    )
    frail = Recognizer.load(tmp_path).recognise(trained.audio(0))
    assert "less reliable" in frail.notes[0]


def test_samples_in_memory(trained: Any, recognizer: Recognizer) -> None:
    path = trained.audio(3)
    samples, rate = soundfile.read(path, dtype="float32")
    from_file = values(recognizer.recognise(path))
    integers = soundfile.read(path, dtype="int16")[0]
    for given in (samples, samples.astype(np.float64), integers, np.stack([samples] * 2, axis=1)):
        answer = recognizer.recognise((given, rate))
        np.testing.assert_allclose(values(answer), from_file, atol=1e-5)
        assert answer.seconds == pytest.approx(len(samples) / rate)


def test_a_slice_is_the_slice(trained: Any, recognizer: Recognizer) -> None:
    path = trained.audio(3)
    samples, rate = soundfile.read(path, dtype="float32")
    cut = samples[round(0.2 * rate) : round(0.9 * rate)]
    sliced = next(recognizer.recognise_each([Query("x", path, 0.2, 0.9)]))
    np.testing.assert_allclose(values(sliced), values(recognizer.recognise((cut, rate))), atol=1e-5)
    assert sliced.seconds == pytest.approx(0.7)


BAD_SOUNDS: dict[str, tuple[Any, str]] = {
    "NaN": (np.full(800, np.nan, np.float32), "NaN or infinity"),
    "empty": (np.zeros(0, np.float32), "no audio"),
    "cube": (np.zeros((4, 4, 4), np.float32), "no audio"),
    "words": (np.array(["a"] * 800), "no audio"),
}


@pytest.mark.parametrize("case", BAD_SOUNDS)
def test_bad_samples(recognizer: Recognizer, case: str) -> None:
    samples, message = BAD_SOUNDS[case]
    with pytest.raises(WorkError, match=message):
        recognizer.recognise((samples, 16000))
    with pytest.raises(WorkError, match="sample rate is 0"):
        recognizer.recognise((np.zeros(16000, np.float32), 0))


def test_nothing_to_go_by(recognizer: Recognizer) -> None:
    with pytest.raises(WorkError, match="nothing to go by: the model knows audio and text"):
        recognizer.recognise()
    with pytest.raises(WorkError, match="nothing to go by"):
        recognizer.recognise(text=" ")


def test_silence_and_length_are_remarked(recognizer: Recognizer) -> None:
    quiet = recognizer.recognise((np.zeros(16000, np.float32), 16000))
    assert any("digital silence" in note for note in quiet.notes)
    draw = np.random.default_rng(0)
    long = recognizer.recognise((0.1 * draw.standard_normal(16000 * 31), 16000))
    assert any("31.0 s long" in note for note in long.notes)


def test_a_bad_file_is_quarantined(trained: Any, recognizer: Recognizer, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF....")
    pointer = tmp_path / "pointer.wav"
    pointer.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    asked = [
        Query("good", trained.audio(0)),
        Query("broken", broken),
        Query("pointer", pointer),
        Query("gone", tmp_path / "gone.wav", text="furious"),
        Query("outside", error="the path leaves the root"),
        Query("words", text="this makes me furious"),
    ]
    answers = recognizer.recognise_many(asked)
    errors = {a.id: a.error for a in answers}
    assert errors["good"] is errors["words"] is None
    assert "not audio" in str(errors["broken"])
    assert "Git-LFS" in str(errors["pointer"])
    assert "missing" in str(errors["gone"])
    assert errors["outside"] == "the path leaves the root"
    assert all(a.emotion is None and not a.probabilities for a in answers if a.error)
    with pytest.raises(WorkError, match="not audio"):
        recognizer.recognise_many(asked, strict=True)


def test_streams_in_order_and_reports(
    trained: Any, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emofuse.recognition.reading.CHUNK_ITEMS", 7)
    monkeypatch.setattr("emofuse.recognition.reading.CHUNK_SECONDS", 6.0)
    asked = queries(trained, "audio", "text")[:20]
    events: list[ProgressEvent] = []
    stream = recognizer.recognise_each(asked, events.append)
    first = next(stream)
    assert 0 < events[-1].done < 20
    answers = [first, *stream]
    assert [a.id for a in answers] == [q.id for q in asked]
    assert (events[-1].done, events[-1].total) == (20, 20)
    assert recognizer.recognise_many([]) == []


def test_load_takes_run_or_bundle(trained: Any) -> None:
    assert Recognizer.load(str(trained.bundle.parent)).classes == trained.config.scheme.classes
    assert Recognizer.load(trained.bundle, device="auto").modalities == ("audio", "text")


def test_load_names_what_is_wrong(trained: Any, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is missing"):
        Recognizer.load(tmp_path / "none")
    (tmp_path / "recipe.yaml").write_text("name: x\n")
    with pytest.raises(BundleError, match="a run without a bundle"):
        Recognizer.load(tmp_path)
    with pytest.raises(OptionError, match="unknown device 'warp'"):
        Recognizer.load(trained.bundle, device="warp")
    with pytest.raises(OptionError, match="no 'video' encoder"):
        Recognizer.load(trained.bundle, encoders={"video": "x"})


def altered(trained: Any, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    shutil.copytree(trained.bundle, folder)
    record = json.loads((folder / "config.json").read_text())
    change(record)
    (folder / "config.json").write_text(json.dumps(record))
    return folder


def test_other_weights_are_refused(trained: Any, tmp_path: Path) -> None:
    path = altered(
        trained, tmp_path / "b", lambda r: r["encoders"]["audio"].update(revision="other")
    )
    recognizer = Recognizer.load(path)
    assert recognizer.recognise(text="this makes me furious").emotion == "anger"
    with pytest.raises(BundleError, match=r"fingerprint .* instead of other"):
        recognizer.recognise(trained.audio(0))


def test_gone_encoder_is_named(trained: Any, tmp_path: Path) -> None:
    path = altered(
        trained,
        tmp_path / "b",
        lambda r: r["encoders"]["audio"]["spec"].update(name="./no/such/folder"),
    )
    with pytest.raises(BundleError, match="the bundle's audio encoder: .*no/such/folder"):
        Recognizer.load(path).recognise(trained.audio(0))
    moved = Recognizer.load(path, encoders={"audio": "logmel"}).recognise(trained.audio(0))
    assert moved == Recognizer.load(trained.bundle).recognise(trained.audio(0))


def test_imported_features_cannot_encode(trained: Any, tmp_path: Path) -> None:
    def imported(record: dict[str, Any]) -> None:
        for name in record["encoders"]:
            record["encoders"][name]["spec"]["name"] = f"imported:{name}-vectors"

    path = altered(trained, tmp_path / "b", imported)
    with pytest.raises(BundleError, match="trained on imported vectors"):
        Recognizer.load(path)


def test_bad_encoder_description(trained: Any, tmp_path: Path) -> None:
    path = altered(trained, tmp_path / "b", lambda r: r["encoders"]["text"].update(spec=[1]))
    with pytest.raises(BundleError, match="text encoder"):
        Recognizer.load(path)


def test_one_modality(trained: Any, tmp_path: Path) -> None:
    from emofuse.models.contract import ModelSpec

    dim = trained.config.dims["text"]
    options = parse_model_options("linear", {}).model_dump(mode="json")
    model = build_model("linear", {}, ModelSpec({"text": dim}, 4))
    config = trained.config.model_copy(
        update={
            "model": ModelNote(name="linear", options=options),
            "dims": {"text": dim},
            "encoders": {"text": trained.config.encoders["text"]},
        }
    )
    write_bundle(tmp_path, model, config)
    recognizer = Recognizer.load(tmp_path)
    answer = recognizer.recognise(trained.audio(0), "so it goes")
    assert (answer.weights, answer.missing) == ({"text": 1.0}, ())
    assert answer.notes == ("the audio was not used: the model knows text alone",)
    with pytest.raises(WorkError, match="nothing to go by: the model knows text"):
        recognizer.recognise(trained.audio(0))
