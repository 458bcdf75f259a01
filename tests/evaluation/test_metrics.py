import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from emofuse.errors import WorkError
from emofuse.evaluation.metrics import METRICS, confusion_matrix, scores

labels = st.integers(2, 7).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), min_size=1, max_size=60),
    )
)


def sklearn_scores(gold, predicted, n):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "ua": reference.balanced_accuracy_score(gold, predicted),
            "wa": reference.accuracy_score(gold, predicted),
            "wf1": reference.f1_score(gold, predicted, average="weighted", zero_division=0),
            "mf1": reference.f1_score(gold, predicted, average="macro", zero_division=0),
            "mf1_fixed": reference.f1_score(
                gold, predicted, average="macro", labels=range(n), zero_division=np.nan
            ),
        }


@given(labels)
def test_scores_equal_scikit_learn(drawn):
    n, pairs = drawn
    gold, predicted = (list(part) for part in zip(*pairs, strict=True))
    found, expected = scores(gold, predicted, n), sklearn_scores(gold, predicted, n)
    for name in METRICS:
        assert getattr(found, name) == pytest.approx(expected[name], abs=1e-12)
        assert found[name] == getattr(found, name)
    assert found.mf1 == pytest.approx(expected["mf1_fixed"], abs=1e-12)
    twin = reference.confusion_matrix(gold, predicted, labels=range(n))
    assert found.confusion.tolist() == twin.tolist()
    assert found.support == tuple(gold.count(c) for c in range(n))


@given(labels)
def test_per_class_values_equal_scikit_learn(drawn):
    n, pairs = drawn
    gold, predicted = (list(part) for part in zip(*pairs, strict=True))
    found = scores(gold, predicted, n)
    precision, recall, f1, _ = reference.precision_recall_fscore_support(
        gold, predicted, labels=range(n), zero_division=np.nan
    )
    for c in range(n):
        assert (found.recall[c] is None) == (c not in gold)
        assert found.recall[c] is None or found.recall[c] == pytest.approx(recall[c])
        assert found.precision[c] is None or found.precision[c] == pytest.approx(precision[c])
        assert found.f1[c] is None or found.f1[c] == pytest.approx(f1[c])


def test_many_matrices_at_once_equal_one_by_one():
    matrices = np.random.default_rng(0).integers(0, 4, (50, 3, 3)).astype(float)
    matrices[0, 1] = 0.0
    for metric in METRICS.values():
        at_once = metric(matrices)
        assert at_once.shape == (50,)
        np.testing.assert_allclose(at_once, [metric(one) for one in matrices])


def test_an_absent_class_is_visible_and_does_not_lower_a_perfect_score():
    found = scores([0, 1], [0, 1], n_classes=3)
    assert (found.ua, found.mf1) == (1.0, 1.0)
    assert found.recall == (1.0, 1.0, None)
    assert found.absent == (2,)


def test_a_class_predicted_without_gold_counts_zero_in_macro_f1():
    found = scores([0, 0, 1, 1], [0, 0, 1, 2], n_classes=3)
    assert found.f1[2] == 0.0
    assert found.mf1 == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert found.ua == 0.75


def test_order_of_utterances_does_not_matter():
    rng = np.random.default_rng(1)
    gold, predicted = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    order = rng.permutation(200)
    before, after = scores(gold, predicted, 4), scores(gold[order], predicted[order], 4)
    assert (before.ua, before.wf1) == (after.ua, after.wf1)


@pytest.mark.parametrize(
    ("gold", "predicted", "message"),
    [
        ([], [], "no predictions"),
        ([0, 1], [0], "2 gold labels but 1"),
        ([0, 3], [0, 1], "class 3; legal: 0 to 2"),
        ([0, -1], [0, 1], "class -1"),
        ([0.5, 1.0], [0, 1], "whole numbers"),
        ([[0], [1]], [0, 1], "whole numbers"),
    ],
)
def test_what_cannot_be_scored_is_refused(gold, predicted, message):
    with pytest.raises(WorkError, match=message):
        scores(gold, predicted, 3)


def test_confusion_rows_are_gold():
    assert confusion_matrix([0, 0, 1], [1, 1, 1], 2).tolist() == [[0, 2], [0, 1]]
