"""Rules fitted on dev: scaling by corpus, sets by utterance and by speaker, silence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from emofuse.evaluation.calibration import brier_score, calibration_error, fit_calibration
from emofuse.evaluation.conformal import (
    class_thresholds,
    conformal_sets,
    conformal_threshold,
    set_coverage,
)
from emofuse.evaluation.honesty import honesty_of
from emofuse.evaluation.rules import AnswerRules, HeldOutItems, ScoreOptions, fit_rules

CLASSES = ("anger", "happiness", "neutral", "sadness")


def items(count=600, heat=3.0, seed=0, corpora=("one",), speakers=20):
    random = np.random.default_rng(seed)
    honest = random.normal(scale=1.5, size=(count, 4))
    labels = np.array([random.choice(4, p=row) for row in softmax(honest, axis=1)])
    names = [corpora[n % len(corpora)] for n in range(count)]
    heats = np.array([heat * (1 + corpora.index(name)) for name in names])
    who = [None if speakers is None else f"s{n % speakers}" for n in range(count)]
    return HeldOutItems(honest * heats[:, None], labels, names, who, "dev")


def test_each_corpus_gets_the_scaling_of_its_own_items():
    held = items(corpora=("one", "two"))
    rules = fit_rules(held, CLASSES)
    for place, name in enumerate(("one", "two")):
        alone = fit_calibration(held.logits[place::2], held.labels[place::2])
        assert rules.corpora[name] == alone
        found = rules.probabilities(held.logits[place::2], [name] * 300)
        np.testing.assert_allclose(found, alone.apply(held.logits[place::2]))
    strange = rules.probabilities(held.logits[:4], ["three", None, "three", None])
    np.testing.assert_allclose(strange, rules.pooled.apply(held.logits[:4]))
    assert (rules.items, rules.speakers) == (600, 20 * 2 if 20 % 2 else 20)
    again = AnswerRules.parse(rules.model_dump(mode="json"))
    assert again == rules


def test_a_corpus_with_few_items_is_scaled_with_all():
    held = items(count=300, corpora=("one", "two"))
    keep = np.array([n % 2 == 0 or n < 40 for n in range(300)])
    few = HeldOutItems(
        held.logits[keep], held.labels[keep],
        [c for c, k in zip(held.corpora, keep, strict=True) if k],
        [c for c, k in zip(held.speakers, keep, strict=True) if k], "dev",
    )  # fmt: skip
    rules = fit_rules(few, CLASSES)
    assert list(rules.corpora) == ["one"]
    assert rules.notes == ("two has 20 utterances held out: scaled with all others",)


def test_thresholds_and_limit_by_hand():
    held = items()
    rules = fit_rules(held, CLASSES, ScoreOptions(scaling="none", miss=0.2, risk=0.3))
    shares = softmax(held.logits, axis=1)
    right = np.sort(shares[np.arange(600), held.labels])[::-1]
    rank = int(np.ceil(601 * 0.8))
    assert set(rules.thresholds.values()) == {right[rank - 1]}
    confidence, wrong = shares.max(axis=1), shares.argmax(axis=1) != held.labels
    answered = confidence >= rules.answer_above
    assert wrong[answered].mean() <= 0.3
    lower = np.sort(confidence[confidence < rules.answer_above])[::-1]
    assert all(wrong[confidence >= limit].mean() > 0.3 for limit in lower[:50])
    assert rules.answered == pytest.approx(answered.mean())
    assert rules.answers(shares).mean() == pytest.approx(answered.mean())


def test_speakers_count_alike_in_the_promise_by_speaker():
    """One talkative easy speaker must not buy a promise for all the others."""
    shares = np.array([[0.9, 0.1]] * 100 + [[0.4, 0.6]] * 9)
    labels = np.zeros(109, int)
    groups = [0] * 100 + list(range(1, 10))
    assert conformal_threshold(shares, labels, 0.2) == 0.9
    assert conformal_threshold(shares, labels, 0.2, groups) == 0.4
    singles = list(range(109))
    assert conformal_threshold(shares, labels, 0.2, singles) == 0.9
    assert conformal_threshold(shares, labels, 0.05, groups) == 0.0  # 10 speakers are too few


def test_the_promise_class_by_class():
    shares = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4], [0.7, 0.3]])
    labels = np.array([0, 0, 1, 1, 1])
    found = class_thresholds(shares, labels, 0.4)
    assert found.tolist() == [0.8, 0.3]
    held = items(count=4000)
    rules = fit_rules(held, CLASSES, ScoreOptions(sets_per_class=True))
    other = items(count=4000, seed=1)
    sets = rules.sets(rules.probabilities(other.logits, other.corpora))
    for place in range(4):
        mine = other.labels == place
        assert set_coverage(sets[mine], other.labels[mine])[0] == pytest.approx(0.9, abs=0.05)


def test_sets_take_a_threshold_a_class_and_an_item():
    shares = np.array([[0.5, 0.3, 0.2], [0.2, 0.7, 0.1]])
    assert conformal_sets(shares, [0.6, 0.25, 0.3]).tolist() == [
        [True, True, False],
        [False, True, False],
    ]
    one_each = conformal_sets(shares, np.array([[0.2] * 3, [0.9] * 3]))
    assert one_each.tolist() == [[True, True, True], [False, True, False]]


def test_unknown_speakers_promise_nothing_by_speaker():
    rules = fit_rules(items(speakers=None), CLASSES, ScoreOptions(sets_by="speaker"))
    assert rules.speakers is None
    assert any("not all known" in note for note in rules.notes)


def test_what_dev_promised_is_measured_on_test(make_frame):
    held, other = items(count=2000), items(count=1000, seed=5)
    rules = fit_rules(held, CLASSES)
    raw = softmax(other.logits, axis=1)
    calibrated = rules.probabilities(other.logits, other.corpora)
    frame = make_frame(speakers=20, per_speaker=50, seeds=1)
    frame["gold"] = [CLASSES[n] for n in other.labels]
    frame["predicted"] = [CLASSES[n] for n in raw.argmax(axis=1)]
    for place, name in enumerate(CLASSES):
        frame[f"p:{name}"], frame[f"c:{name}"] = raw[:, place], calibrated[:, place]
        frame[f"t:{name}"] = rules.thresholds[name]
    frame["answer_above"] = rules.answer_above
    found = honesty_of(frame, CLASSES, resamples=300)
    assert found.raw.calibration_error.value == calibration_error(raw, other.labels)
    assert found.calibrated.brier.value == brier_score(calibrated, other.labels)
    assert found.calibrated.calibration_error.value < 0.5 * found.raw.calibration_error.value
    for measured in (found.raw.brier, found.raw.likelihood, found.sets.coverage, found.sets.size):
        assert measured.interval.low < measured.value < measured.interval.high
    assert found.sets.coverage.value == pytest.approx(0.9, abs=0.05)
    assert found.silence.risk.value == pytest.approx(0.2, abs=0.05)
    spoken = calibrated.max(axis=1) >= rules.answer_above
    assert found.silence.answered.value == pytest.approx(spoken.mean())
    lowest = found.sets.by_speaker[0]
    assert len(found.sets.by_speaker) == 20
    covered = rules.sets(calibrated)[np.arange(1000), other.labels]
    mine = (frame["speaker"] == lowest[0]).to_numpy()
    assert lowest[1] == pytest.approx(covered[mine].mean())


def test_without_calibration_only_the_raw_probabilities_are_judged(make_frame):
    found = honesty_of(make_frame(), CLASSES, resamples=50)
    assert (found.calibrated, found.sets, found.silence) == (None, None, None)


def test_items_of_predictions_are_their_rows():
    table = pd.DataFrame(
        {"p:a": [0.9, 0.0], "p:b": [0.1, 1.0], "gold": ["b", "a"], "speaker": ["x", None]}
    )
    found = HeldOutItems.of_predictions(table, ["a", "b"])
    np.testing.assert_allclose(np.exp(found.logits), [[0.9, 0.1], [1e-12, 1.0]])
    assert found.labels.tolist() == [1, 0]
    assert (list(found.corpora), list(found.speakers)) == ([None, None], ["x", None])
