"""Windows speak for every sample of a stretch, once, and smoothing is what it says."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emofuse.errors import OptionError
from emofuse.recognition.answer import Recognition, Word
from emofuse.recognition.timeline import TimelineOptions
from emofuse.recognition.timeline_segments import SegmentBuilder, Step
from emofuse.recognition.timeline_windows import WindowPlan


@given(
    start=st.integers(0, 50),
    length=st.integers(1, 400),
    window=st.integers(5, 60),
    hop=st.integers(1, 60),
    seen=st.lists(st.integers(1, 400), max_size=5),
)
def test_windows_speak_for_all_of_a_stretch(start, length, window, hop, seen):
    hop = min(hop, window)
    plan = WindowPlan(start, window, hop)
    end = start + length
    found = []
    for place in sorted(min(start + one, end) for one in seen):
        assert plan.needed >= start
        found += plan.reach(place)
    found += plan.close(end)
    assert found == WindowPlan(start, window, hop).close(end)
    assert found[0].first == start
    assert found[-1].until == end
    assert [one.last for one in found] == [False] * (len(found) - 1) + [True]
    for one, other in itertools.pairwise(found):
        assert one.until == other.first
        assert one.start < other.start
    for one in found:
        assert start <= one.start < one.end <= end
        assert one.end - one.start == min(window, length)
        assert one.start <= one.first < one.until or one.first == one.until == one.start
        assert one.until <= one.end


def answer(*shares: float, vad=None, error=None) -> Recognition:
    if error:
        return Recognition(id="x", error=error)
    named = dict(zip("abc", shares, strict=True))
    return Recognition(
        id="x",
        emotion=max(named, key=lambda k: named[k]),
        probabilities=named,
        vad=vad,
        weights={"audio": 1.0},
    )


def builder(smoothing=1.0, longest=10.0):
    return SegmentBuilder(tuple("abc"), smoothing, longest, lambda shares: None)


def test_smoothing_against_the_formula():
    draw = np.random.default_rng(0)
    given = draw.dirichlet(np.ones(3), size=12)
    vads = draw.uniform(1, 5, size=12)
    for tau in (0.0, 0.7, 5.0):
        made = builder(tau, 600.0)
        found = []
        for n in range(12):
            step = Step(n, n + 1, answer(*given[n], vad={"valence": vads[n]}), last=n == 11)
            found += made.push(step)
        state, dim, rows = given[0], vads[0], [(given[0], vads[0])]
        gain = 1.0 if tau == 0 else 1 - math.exp(-1 / tau)
        for n in range(1, 12):
            state, dim = state + gain * (given[n] - state), dim + gain * (vads[n] - dim)
            rows.append((state, dim))
        best = [int(np.argmax(row)) for row, _ in rows]
        changes = [0, *(n for n in range(1, 12) if best[n] != best[n - 1]), 12]
        assert [(one.start, one.end) for one in found] == list(itertools.pairwise(changes))
        for one in found:
            part = rows[int(one.start) : int(one.end)]
            mean = np.mean([row for row, _ in part], axis=0)
            np.testing.assert_allclose(list(one.probabilities.values()), mean, atol=1e-12)
            assert one.vad == {"valence": pytest.approx(np.mean([d for _, d in part]))}


def test_a_pause_starts_anew_and_a_cut_does_not():
    first = Step(0, 1, answer(1.0, 0.0, 0.0), last=True)
    then = Step(2, 3, answer(0.0, 1.0, 0.0), last=True)
    made = builder(5.0)
    (a,), (b,) = made.push(first), made.push(then)
    assert (a.emotion, b.emotion, b.confidence) == ("a", "b", 1.0)
    made = builder(5.0)
    assert made.push(Step(0, 1, answer(1.0, 0.0, 0.0), last=True, cut=True)) == []
    (one,) = made.push(Step(1, 2, answer(0.0, 1.0, 0.0), last=True))
    assert (one.start, one.end, one.emotion) == (0, 2, "a")


def test_a_window_without_an_answer_leaves_a_gap():
    made = builder()
    made.push(Step(0, 1, answer(1.0, 0.0, 0.0)))
    (before,) = made.push(Step(1, 2, answer(error="no")))
    (after,) = made.push(Step(2, 3, answer(1.0, 0.0, 0.0), last=True))
    assert [(before.start, before.end), (after.start, after.end)] == [(0, 1), (2, 3)]


def test_long_segments_are_closed():
    made = builder(longest=4.0)
    found = [s for n in range(10) for s in made.push(Step(n, n + 1, answer(1.0, 0.0, 0.0)))]
    assert [(one.start, one.end) for one in found] == [(0, 4), (4, 8)]


def test_words_go_where_their_middle_is():
    made = builder(0.0)
    words = [
        Word(start=s, end=e, text=t) for s, e, t in ((0, 0.8, "x"), (0.7, 1.1, "y"), (1, 2, "z"))
    ]
    made.hear(words)
    first = made.push(Step(0, 1, answer(1.0, 0.0, 0.0)))
    both = first + made.push(Step(1, 2, answer(0.0, 1.0, 0.0), last=True))
    assert [one.text for one in both] == ["x y", "z"]


def test_options_that_do_not_fit():
    with pytest.raises(OptionError, match="longer than window"):
        TimelineOptions.parse({"window": 1.0, "hop": 2.0})
    with pytest.raises(OptionError, match="did you mean 'window'"):
        TimelineOptions.parse({"windo": 1.0})
