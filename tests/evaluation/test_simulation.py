"""What intervals, sets and tests promise, checked by drawing worlds whose truth is known.

The fast versions draw few worlds and allow what binomial luck allows; the slow ones hold the
promise itself: nominal 95 % lies in 93 - 97 %.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binom

from emofuse.evaluation.conformal import conformal_sets, conformal_threshold, set_coverage
from emofuse.evaluation.intervals import Clusters, bootstrap
from emofuse.evaluation.paired import clustered_mcnemar, mcnemar, swap_test

RECALLS = np.array([0.8, 0.6, 0.7])
SPEAKERS, UTTERANCES, SPREAD = 60, 30, 0.12
FAST = 150


def luck(worlds, share, level=0.9999):
    """How far a share of so many worlds may lie from the true one."""
    low, high = binom.interval(level, worlds, share)
    return low / worlds, high / worlds


def world(random, speakers=SPEAKERS):
    """Confusion matrices of speakers who differ; each class is hit with its recall on average."""
    skill = random.uniform(-SPREAD, SPREAD, (speakers, 1))
    hit = np.clip(RECALLS + skill, 0, 1)
    counts = np.zeros((speakers, 1, 3, 3))
    support = random.multinomial(UTTERANCES, [0.3, 0.3, 0.4], speakers)
    right = random.binomial(support, hit)
    other = random.binomial(support - right, 0.5)
    for place in range(3):
        counts[:, 0, place, place] = right[:, place]
        counts[:, 0, place, (place + 1) % 3] = other[:, place]
        counts[:, 0, place, (place + 2) % 3] = (support - right - other)[:, place]
    return counts


def bootstrap_coverage(worlds, by="speaker"):
    random = np.random.default_rng(7)
    truths = {"ua": RECALLS.mean(), "wa": float(RECALLS @ [0.3, 0.3, 0.4])}
    held = dict.fromkeys(truths, 0)
    for number in range(worlds):
        counts = world(random)
        if by == "utterance":
            whole = counts.sum(axis=(0, 1)).astype(int)
            rows = np.repeat(np.arange(9), whole.ravel())
            counts = np.zeros((len(rows), 1, 3, 3))
            counts.reshape(len(rows), 9)[np.arange(len(rows)), rows] = 1
        found = bootstrap(Clusters("speaker", counts), tuple(truths), 600, seed=number)
        for name, true in truths.items():
            held[name] += found[name].low <= true <= found[name].high
    return {name: count / worlds for name, count in held.items()}


def conformal_coverage(worlds, by):
    """Coverage for an utterance of a new speaker, averaged over calibrations."""
    random = np.random.default_rng(3)
    covered = []
    for _ in range(worlds):
        sizes = random.integers(2, 40, 120) if by == "speaker" else np.ones(200, int)
        groups = np.repeat(np.arange(len(sizes)), sizes)
        shares, labels = _answers(random, random.normal(0, 1.5, len(sizes))[groups])
        given = groups if by == "speaker" else None
        threshold = conformal_threshold(shares, labels, 0.05, given)
        shares, labels = _answers(random, random.normal(0, 1.5, 40))
        covered.append(set_coverage(conformal_sets(shares, threshold), labels)[0])
    return float(np.mean(covered))


def _answers(random, skill):
    """Probabilities and labels; the higher the skill, the surer the right class."""
    labels = random.integers(0, 5, len(skill))
    logits = random.normal(0, 1, (len(skill), 5))
    logits[np.arange(len(skill)), labels] += 1.5 + skill
    return softmax(logits, axis=1), labels


def false_alarms(worlds, test):
    """How often two systems that are equally good are told apart at the 5 % level."""
    random = np.random.default_rng(11)
    alarms = 0
    for number in range(worlds):
        both, speakers = [], 40
        skill = random.uniform(-SPREAD, SPREAD, (2, speakers))
        codes = np.repeat(np.arange(speakers), UTTERANCES)
        gold = random.integers(0, 3, len(codes))
        for mine in skill:
            right = random.random(len(codes)) < 0.7 + mine[codes]
            said = np.where(right, gold, (gold + random.integers(1, 3, len(codes))) % 3)
            both.append(said)
        if test == "swap":
            matrices = [_matrices(codes, gold, said, speakers) for said in both]
            p = swap_test(*matrices, "ua", draws=499, seed=number)[0]
        else:
            hits = [(said == gold).astype(float) for said in both]
            p = mcnemar(*hits)[2] if test == "mcnemar" else clustered_mcnemar(*hits, codes)
        alarms += p < 0.05
    return alarms / worlds


def _matrices(codes, gold, said, speakers):
    found = np.zeros((speakers, 3, 3))
    np.add.at(found, (codes, gold, said), 1.0)
    return found


def test_intervals_hold_the_truth():
    low, high = luck(FAST, 0.945)
    assert all(low <= share <= high for share in bootstrap_coverage(FAST).values())


def test_drawing_utterances_one_by_one_is_too_narrow():
    assert bootstrap_coverage(FAST, by="utterance")["wa"] < 0.92


@pytest.mark.parametrize("by", ["utterance", "speaker"])
def test_sets_hold_the_right_emotion(by):
    assert 0.93 <= conformal_coverage(FAST, by) <= 0.97


@pytest.mark.parametrize("test", ["swap", "clustered"])
def test_equal_systems_are_seldom_told_apart(test):
    low, high = luck(FAST, 0.05)
    assert low <= false_alarms(FAST, test) <= high


def test_mcnemar_is_fooled_by_speakers():
    """Taking utterances for independent tells equal systems apart far too often."""
    assert false_alarms(FAST, "mcnemar") > 0.08


@pytest.mark.slow
def test_nominal_95_lies_in_93_to_97():
    assert all(0.93 <= share <= 0.97 for share in bootstrap_coverage(2000).values())
    assert 0.93 <= conformal_coverage(3000, "utterance") <= 0.97
    assert 0.93 <= conformal_coverage(3000, "speaker") <= 0.97
    for test in ("swap", "clustered"):
        assert 0.03 <= false_alarms(2000, test) <= 0.07
