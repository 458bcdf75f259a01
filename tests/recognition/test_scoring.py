"""Calibrated answers, sets and silence of a recogniser against the rules of its bundle."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.special import softmax

from emofuse.errors import BundleError, OptionError
from emofuse.evaluation.rules import HeldOutItems, ScoreOptions, fit_rules
from emofuse.models.bundle import CONFIG_NAME, write_bundle
from emofuse.recognition.recognizer import Recognizer
from emofuse.recognition.scoring import Scoring


def rules_of(classes, kind="temperature", heat=0.5, miss=0.1, risk=0.4):
    random = np.random.default_rng(0)
    honest = random.normal(scale=1.5, size=(400, len(classes)))
    labels = np.array([random.choice(len(classes), p=row) for row in softmax(honest, axis=1)])
    corpora = ["one"] * 200 + ["two"] * 200
    logits = honest / heat
    logits[200:] /= 2.0
    items = HeldOutItems(logits, labels, corpora, [f"s{n % 8}" for n in range(400)], "dev")
    return fit_rules(items, classes, ScoreOptions(scaling=kind, miss=miss, risk=risk))


@pytest.fixture
def bundle(trained, tmp_path):
    """The trained bundle with rules of its own."""

    def make(rules=None, **changes):
        note = None if rules is None else {**rules.model_dump(mode="json"), **changes}
        config = trained.config.model_copy(update={"calibration": note})
        write_bundle(tmp_path / "bundle", trained.model, config)
        return tmp_path / "bundle"

    return make


def test_answers_follow_the_rules_of_the_bundle(trained, bundle):
    classes = trained.config.scheme.classes
    rules = rules_of(classes)
    answer = Recognizer.load(bundle(rules)).recognise(text="I am furious with you", id="x")
    raw = Recognizer.load(bundle(rules), raw=True).recognise(text="I am furious with you", id="x")
    assert not raw.calibrated
    assert raw.emotion_set == ()
    assert raw.too_unsure is None
    logits = np.log(list(raw.probabilities.values()))
    expected = softmax(rules.pooled.scale[0] * logits)
    np.testing.assert_allclose(list(answer.probabilities.values()), expected, atol=1e-9)
    assert answer.calibrated
    assert answer.emotion == raw.emotion
    inside = [c for c, p in zip(classes, expected, strict=True) if p >= rules.thresholds[c]]
    assert set(answer.emotion_set) == {*inside, answer.emotion}
    assert answer.emotion_set[0] == answer.emotion
    assert answer.too_unsure == (max(expected) < rules.answer_above)


def test_each_corpus_has_its_own_scaling(trained, bundle):
    rules = rules_of(trained.config.scheme.classes)
    folder = bundle(rules)
    assert rules.corpora["one"].scale[0] < 0.7 * rules.corpora["two"].scale[0]
    said = {
        name: max(
            Recognizer.load(folder, corpus=name).recognise(text="so sad").probabilities.values()
        )
        for name in ("one", "two")
    }
    assert said["one"] < said["two"]
    with pytest.raises(OptionError, match="no scaling for 'three'"):
        Recognizer.load(folder, corpus="three")
    with pytest.raises(OptionError, match="leave it out"):
        Recognizer.load(folder, corpus="one", raw=True)


def test_a_bundle_without_rules_answers_as_before(trained, bundle):
    answer = Recognizer.load(bundle()).recognise(text="so sad")
    assert (answer.calibrated, answer.emotion_set, answer.too_unsure) == (False, (), None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thresholds": {"anger": 0.1}}, "of other classes"),
        ({"items": 0}, "items = 0"),
        ({"answer_above": "nan"}, "answer_above"),
        ({"strange": 1}, "unknown key 'strange'"),
    ],
)
def test_damaged_rules_are_one_clear_line(trained, bundle, change, message):
    folder = bundle(rules_of(trained.config.scheme.classes))
    note = json.loads((folder / CONFIG_NAME).read_text())
    note["calibration"] |= change
    (folder / CONFIG_NAME).write_text(json.dumps(note))
    with pytest.raises(BundleError, match=message) as caught:
        Recognizer.load(folder)
    assert "\n" not in str(caught.value)


def test_a_limit_that_nothing_reaches_marks_every_answer():
    classes = ("a", "b", "c")
    rules = rules_of(classes, risk=0.001)
    rules = rules.model_copy(update={"answer_above": 2.0})
    told = Scoring(classes, rules).tell(torch.tensor([50.0, 0.0, 0.0], dtype=torch.float64))
    assert told["too_unsure"] is True
    assert "no confidence" in Scoring(classes, rules).doubt()


def test_too_few_held_out_for_a_promise_gives_no_set():
    classes = ("a", "b")
    items = HeldOutItems(np.array([[2.0, 0.0]]), np.array([0]), ["x"], ["s"], "dev")
    rules = fit_rules(items, classes, ScoreOptions(miss=0.1))
    told = Scoring(classes, rules).tell(torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert told["emotion_set"] == ()
    assert any("too few held out" in note for note in rules.notes)
