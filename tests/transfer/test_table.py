"""The table and the heat map from made-up predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emofuse.evaluation.heatmap import heatmap_png, heatmap_svg
from emofuse.evaluation.metrics import scores
from emofuse.evaluation.transfer_table import (
    Setting,
    gain_table,
    make_matrix,
    matrix_markdown,
    matrix_table,
)

CLASSES = ("anger", "$x_1")


def frame(target, accuracy, speakers=4, seeds=(0, 1)):
    """Predictions of which so many are right; the same utterances whatever the accuracy."""
    rows = []
    for seed in seeds:
        random = np.random.default_rng([seed, int(100 * accuracy)])
        for number in range(speakers * 10):
            gold = number % 2
            told = gold if random.random() < accuracy else 1 - gold
            rows.append(
                {
                    "id": f"{target}-{number}",
                    "corpus": target,
                    "fold": f"fold {number % 2}",
                    "seed": seed,
                    "speaker": f"{target}-{number // 10}",
                    "session": None,
                    "dialogue": None,
                    "gender": None,
                    "gold": CLASSES[gold],
                    "predicted": CLASSES[told],
                    "p:anger": float(told == 0),
                    "p:$x_1": float(told == 1),
                }
            )
    return pd.DataFrame(rows)


def setting(source, target, method, shots, accuracy, **more):
    words = {"0": "0", "5": "5 a class", "10%": "10 %"}[shots]
    stamp = more.pop("stamp", "speaker-independent")
    data = frame(target, accuracy, **more)
    return Setting(source, target, method, method, shots, words, 7.0, data, stamp)


@pytest.fixture(scope="module")
def matrix():
    settings = [
        setting("b", "a", "finetune", "10%", 0.8),
        setting("a", "b", "finetune", "10%", 0.9),
        setting("a", "b", "finetune", "5", 0.7),
        setting("a", "b", "none", "0", 0.6, stamp="speaker-independent, CONTAMINATED"),
        setting("", "b", "target", "10%", 0.75),
    ]
    order = (("a", "b"), ("a", "b"), ("none", "finetune", "target"))
    return make_matrix("toy", CLASSES, settings, {"protocol": "made up"}, order=order)


def ua(data):
    values = []
    for _, one in data.groupby("seed"):
        gold, told = (one[name].map(CLASSES.index) for name in ("gold", "predicted"))
        values.append(scores(gold.to_numpy(), told.to_numpy(), 2).ua)
    return float(np.mean(values))


def test_rows_come_in_the_order_of_the_recipe(matrix):
    shown = [(row.target, row.source, row.method, row.shots) for row in matrix.rows]
    assert shown == [
        ("a", "b", "finetune", "10%"),
        ("b", "", "target", "10%"),
        ("b", "a", "none", "0"),
        ("b", "a", "finetune", "10%"),
        ("b", "a", "finetune", "5"),
    ]


def test_gains_are_paired_differences(matrix):
    found = {(row.target, row.method, row.shots): row for row in matrix.rows}
    tuned = found["b", "finetune", "10%"]
    none, alone = ua(frame("b", 0.6)), ua(frame("b", 0.75))
    assert tuned.ua == pytest.approx(ua(frame("b", 0.9)))
    assert tuned.over_none.difference == pytest.approx(tuned.ua - none)
    assert tuned.over_target.difference == pytest.approx(tuned.ua - alone)
    assert tuned.over_none.low < tuned.over_none.difference < tuned.over_none.high
    assert found["b", "finetune", "5"].over_target is None
    assert found["a", "finetune", "10%"].over_none is None
    assert found["b", "none", "0"].over_none is None


def test_the_table_has_counts_before_shares_and_dashes_where_nothing_is(matrix):
    table = matrix_table(matrix)
    assert table.columns == ("source → target", "method", "0", "5 a class", "10 %")
    rows = {(row[0], row[1]): row[2:] for row in table.rows}
    assert rows["– → b", "target"][:2] == ("–", "–")
    cell = rows["a → b", "finetune"][2]
    assert cell.startswith(f"{100 * ua(frame('b', 0.9)):.1f} ± ")
    assert rows["a → b\nspeaker-independent, CONTAMINATED", "none"][0] != "–"
    told = matrix_markdown(matrix)
    assert "* protocol: made up" in told
    assert "a, b: fewer than ten speakers" in told
    assert len(gain_table(matrix).rows) == 2


def test_the_heat_map_is_the_same_each_time(matrix):
    png, svg = heatmap_png(matrix), heatmap_svg(matrix)
    assert png == heatmap_png(matrix)
    assert svg == heatmap_svg(matrix)
    assert png.startswith(b"\x89PNG")
    assert b"<svg" in svg


def test_one_cell_makes_a_heat_map():
    only = [setting("a", "$b", "none", "0", 0.6, speakers=1)]
    found = make_matrix("$", CLASSES, only, {}, order=(("a",), ("$b",), ("none",)))
    assert found.rows[0].low is None
    assert heatmap_png(found).startswith(b"\x89PNG")
