import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from emofuse.errors import WorkError
from emofuse.evaluation.intervals import (
    Clusters,
    bootstrap,
    cluster_codes,
    cluster_counts,
    interval_notes,
    resample_metrics,
    unique_clusters,
)

CLASSES = ("anger", "happiness", "neutral", "sadness")


def naive(frame, speakers, resamples, seed):
    """Draw speakers, join their rows, score with scikit-learn; one loop a resample."""
    rng = np.random.default_rng(seed)
    shares = np.full(len(speakers), 1 / len(speakers))
    ua, mf1 = [], []
    for _ in range(resamples):
        counts = rng.multinomial(len(speakers), shares)
        values = []
        for _, part in frame.groupby("seed"):
            gold, predicted = [], []
            for speaker, count in zip(speakers, counts, strict=True):
                mine = part[part["speaker"] == speaker]
                gold += list(mine["gold"]) * count
                predicted += list(mine["predicted"]) * count
            macro = f1_score(gold, predicted, average="macro", zero_division=0)
            values.append((balanced_accuracy_score(gold, predicted), macro))
        ua.append(np.mean([v[0] for v in values]))
        mf1.append(np.mean([v[1] for v in values]))
    return {"ua": np.array(ua), "mf1": np.array(mf1)}


def test_equals_a_naive_loop(make_frame):
    frame = make_frame(speakers=6, per_speaker=12, seeds=2)
    counts = cluster_counts(frame, CLASSES).counts
    patterns, copies = unique_clusters(counts)
    assert copies.tolist() == [1] * 6
    order = np.lexsort(counts.reshape(6, -1).T[::-1])
    np.testing.assert_array_equal(counts[order], patterns)
    speakers = np.array(sorted(frame["speaker"].unique()))[order]
    found = resample_metrics(counts, ["ua", "mf1"], 60, seed=5)
    expected = naive(frame, speakers, 60, seed=5)
    np.testing.assert_allclose(found["ua"], expected["ua"])
    np.testing.assert_allclose(found["mf1"], expected["mf1"])


def test_covers_the_truth_about_as_often_as_it_says():
    hits, trials = 0, 150
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        counts = np.zeros((25, 1, 2, 2))
        for speaker in range(25):
            chance = np.clip(rng.normal(0.7, 0.1), 0, 1)
            for c in range(2):
                right = rng.binomial(15, chance)
                counts[speaker, 0, c, c], counts[speaker, 0, c, 1 - c] = right, 15 - right
        found = bootstrap(Clusters("speaker", counts), ["ua"], resamples=600, seed=trial)["ua"]
        hits += found.low <= 0.7 <= found.high
    assert 0.87 <= hits / trials <= 0.99


def test_speakers_that_differ_widen_the_interval(make_frame):
    frame = make_frame(speakers=20, per_speaker=30, seeds=1, spread=0.25)
    by_speaker = bootstrap(cluster_counts(frame, CLASSES), ["ua"])["ua"]
    alone = frame.assign(speaker=None, dialogue=None)
    by_item = bootstrap(cluster_counts(alone, CLASSES), ["ua"])["ua"]
    assert by_speaker.high - by_speaker.low > 1.3 * (by_item.high - by_item.low)


def test_is_repeatable_and_depends_on_the_seed(make_frame):
    clusters = cluster_counts(make_frame(), CLASSES)
    first, again = bootstrap(clusters, seed=1), bootstrap(clusters, seed=1)
    assert first == again
    assert first != bootstrap(clusters, seed=2)


def test_row_order_does_not_matter(make_frame):
    frame = make_frame()
    mixed = frame.sample(frac=1.0, random_state=0)
    assert bootstrap(cluster_counts(frame, CLASSES)) == bootstrap(cluster_counts(mixed, CLASSES))


def test_merging_equal_clusters_keeps_the_experiment():
    counts = np.zeros((400, 1, 2, 2))
    right = np.random.default_rng(0).random(400) < 0.7
    counts[np.arange(400), 0, 0, 1 - right.astype(int)] = 1
    patterns, copies = unique_clusters(counts)
    assert len(patterns) == 2
    assert copies.sum() == 400
    drawn = resample_metrics(counts, ["wa"], 4000, 0)["wa"]
    expected = np.sqrt(right.mean() * (1 - right.mean()) / 400)
    assert drawn.std() == pytest.approx(expected, rel=0.05)
    assert drawn.mean() == pytest.approx(right.mean(), abs=0.002)


def test_falls_back_to_dialogue_then_utterance(make_frame):
    frame = make_frame(speakers=3, per_speaker=4, seeds=1)
    assert cluster_codes(frame)[0] == "speaker"
    partly = frame.assign(dialogue="d1")
    partly.loc[0, "speaker"] = None
    unit, codes = cluster_codes(partly)
    assert (unit, len(set(codes))) == ("dialogue", 1)
    unit, codes = cluster_codes(partly.assign(dialogue=None))
    assert (unit, len(set(codes))) == ("utterance", 12)


def test_equal_names_in_two_corpora_are_two_speakers(make_frame):
    frame = make_frame(speakers=3, per_speaker=4, seeds=1)
    frame.loc[:5, "corpus"] = "other"
    assert len(cluster_counts(frame, CLASSES)) == 4
    assert len(cluster_counts(frame.assign(corpus=None), CLASSES)) == 3


def test_one_speaker_gives_no_interval(make_frame):
    found = bootstrap(cluster_counts(make_frame(speakers=1, folds=1), CLASSES))
    assert found["ua"].low is None
    assert "no interval" in interval_notes("speaker", 1)[0]


def test_notes_say_what_weakens_an_interval():
    assert interval_notes("speaker", 10) == ()
    assert "coarse" in interval_notes("speaker", 9)[0]
    assert "by dialogue" in interval_notes("dialogue", 50)[0]
    assert len(interval_notes("utterance", 3)) == 2


@pytest.mark.parametrize("arguments", [{"resamples": 0}, {"level": 1.0}, {"level": 0.0}])
def test_refuses_senseless_arguments(make_frame, arguments):
    with pytest.raises(WorkError, match="resamples"):
        bootstrap(cluster_counts(make_frame(seeds=1), CLASSES), **arguments)


def test_a_seed_that_lacks_speakers_still_has_an_interval(make_frame):
    frame = make_frame(speakers=4, per_speaker=5, seeds=2)
    few = frame[(frame["seed"] == 0) | (frame["speaker"] == "speaker 0")]
    found = bootstrap(cluster_counts(few, CLASSES), resamples=500)["ua"]
    assert 0 <= found.low <= found.high <= 1
