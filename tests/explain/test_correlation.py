from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from emofuse.explain.correlation import (
    Kernels,
    canonical,
    cka,
    held_out_cca,
    jackknife,
    pair_means,
    permutation,
    principal,
)
from emofuse.explain.projection import project, silhouette, standardised


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def u_centred(x):
    """Szekely and Rizzo's U-centring: another way to the unbiased estimator."""
    k = x @ x.T
    n = len(k)
    np.fill_diagonal(k, 0.0)
    rows = k.sum(axis=1, keepdims=True) / (n - 2)
    found = k - rows - rows.T + k.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(found, 0.0)
    return found


def test_cka_is_the_cosine_of_u_centred_products():
    x, y = normal(30, 7), normal(30, 4, seed=1)
    y[:, 0] += x[:, 0]
    one, two = u_centred(x), u_centred(y)
    expected = (one * two).sum() / np.sqrt((one**2).sum() * (two**2).sum())
    assert cka(x, y) == pytest.approx(expected, rel=1e-9)


def test_cka_knows_no_rotation_scale_or_shift():
    x = normal(40, 6)
    turned = 3.0 * x @ np.linalg.qr(normal(6, 6, seed=1))[0] + 5.0
    assert cka(x, turned) == pytest.approx(1.0)
    assert cka(x, normal(40, 6, seed=2)) == pytest.approx(cka(turned, normal(40, 6, seed=2)))


def test_cka_of_strangers_is_0_on_average():
    """The plain estimator is far above 0 here: 20 rows in 50 dimensions."""
    values = [cka(normal(20, 50, seed=s), normal(20, 50, seed=s + 1000)) for s in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(200)


def test_products_taken_once_give_the_same():
    x, y = normal(30, 7), normal(30, 4, seed=1)
    y[:, 0] += x[:, 0]
    kernels = Kernels(x, y)
    kept = np.arange(30) % 3 > 0
    assert kernels.of_part(kept) == pytest.approx(cka(x[kept], y[kept]))
    order = np.random.default_rng(0).permutation(30)
    assert kernels.paired(order) == pytest.approx(cka(x, y[order]))


def test_canonical_directions_are_scikit_learns():
    from sklearn.cross_decomposition import CCA

    x, y = normal(200, 5), normal(200, 4, seed=1)
    y[:, 1] += 1.5 * x[:, 2] - x[:, 0]
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    a, b = canonical(x, y, ridge=1e-9)
    ours = np.corrcoef(x @ a, y @ b)[0, 1]
    theirs = np.corrcoef(
        *(one[:, 0] for one in CCA(1, max_iter=5000, tol=1e-10).fit_transform(x, y))
    )[0, 1]
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_held_out_correlation_sees_through_chance():
    x, y = normal(60, 40), normal(60, 40, seed=1)
    codes = np.repeat(np.arange(12), 5)
    a, b = canonical(x - x.mean(0), y - y.mean(0), ridge=1e-6)
    assert np.corrcoef(x @ a, y @ b)[0, 1] > 0.95  # what it is fitted on is explained
    assert abs(held_out_cca(x, y, codes)) < 0.35
    shared = normal(60, 1, seed=2)
    assert (
        held_out_cca(np.hstack([x[:, :6], 3 * shared]), np.hstack([3 * shared, y[:, :6]]), codes)
        > 0.8
    )


def test_the_jackknife_of_a_mean_is_students():
    values = normal(15)
    low, high = jackknife(lambda kept: float(values[kept].mean()), np.arange(15))
    reach = student.ppf(0.975, 14) * values.std(ddof=1) / np.sqrt(15)
    assert low == pytest.approx(values.mean() - reach)
    assert high == pytest.approx(values.mean() + reach)
    assert jackknife(lambda kept: 0.0, np.array([0, 1])) == (None, None)


def test_permutation_tells_pairs_from_strangers():
    x = normal(40, 3)
    kernels = Kernels(x, x + 0.5 * normal(40, 3, seed=1))
    p, drawn = permutation(kernels.paired, 40, 99, 0)
    assert p == pytest.approx(0.01)
    assert len(drawn) == 99
    strangers = [
        permutation(Kernels(normal(12, 3, seed=s), normal(12, 3, seed=s + 500)).paired, 12, 19, s)[
            0
        ]
        for s in range(100)
    ]
    assert 0.0 < np.mean(np.array(strangers) <= 0.05) < 0.13


def test_partners_of_the_same_words_are_no_mismatch():
    table = np.array([[1.0, 5.0, 3.0], [5.0, 1.0, 2.0], [0.0, 0.0, 1.0]])
    matched, other = pair_means(table, np.array(["x", "x", "y"]))
    np.testing.assert_allclose(matched, [1, 1, 1])
    np.testing.assert_allclose(other, [3, 2, 0])
    assert np.isnan(pair_means(table, np.array(["x", "x", "x"]))[1]).all()


def test_principal_components_keep_distances():
    x = normal(20, 6)
    whole = principal(x, 50)
    assert whole.shape == (20, 6)
    centred = x - x.mean(axis=0)
    np.testing.assert_allclose(whole @ whole.T, centred @ centred.T, atol=1e-9)
    assert principal(x, 2).shape == (20, 2)


def test_silhouettes_are_scikit_learns():
    from sklearn.metrics import silhouette_score

    labels = ["a", "b", "c"] * 10
    x = normal(30, 5) + 2.0 * np.eye(5)[[ord(one) - 97 for one in labels]]
    speakers = [f"s{place % 6}" for place in range(30)]
    found = silhouette(x, labels, speakers, 500, 0)
    assert found.value == pytest.approx(silhouette_score(standardised(x), labels))
    assert found.low < found.value < found.high
    assert silhouette(x, ["a"] * 30, speakers, 500, 0) is None


def test_a_projection_is_seeded():
    x = normal(30, 5)
    one, two = project(x, "tsne", 3), project(x, "tsne", 3)
    np.testing.assert_array_equal(one.points, two.points)
    assert one.method == "tsne"
    assert "perplexity 9.66667, seed 3" in one.setting


@pytest.mark.slow
def test_umap_lays_groups_apart():
    labels = np.arange(60) % 2
    x = normal(60, 5) + 8.0 * labels[:, None]
    plane = project(x, "umap", 0)
    assert plane.method == "umap"
    assert silhouette(plane.points, labels.tolist(), ["s"] * 60, 100, 0).value > 0.5
    np.testing.assert_array_equal(plane.points, project(x, "umap", 0).points)
