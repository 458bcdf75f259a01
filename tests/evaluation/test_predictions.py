import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emofuse.errors import WorkError
from emofuse.evaluation.predictions import modalities_of, read_predictions, write_predictions

CLASSES = ("anger", "joy", "sadness")


def frame(rows=6):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), rows)
    made = pd.DataFrame(
        {
            "id": [f"u{i}" for i in range(rows)],
            "corpus": "toy",
            "fold": "f1",
            "seed": 0,
            "speaker": [f"s{i % 2}" for i in range(rows)],
            "session": None,
            "dialogue": None,
            "gender": ["f", None] * (rows // 2),
            "gold": [CLASSES[i % 3] for i in range(rows)],
            "predicted": [CLASSES[i] for i in probabilities.argmax(1)],
        }
    )
    for place, name in enumerate(CLASSES):
        made[f"p:{name}"] = probabilities[:, place]
    made["w:audio"], made["w:text"] = 0.25, 0.75
    return made


def test_what_is_written_is_read(tmp_path):
    path, made = tmp_path / "deep" / "predictions.parquet", frame()
    write_predictions(path, made, CLASSES)
    found, classes = read_predictions(path)
    assert classes == CLASSES
    assert modalities_of(found) == ("audio", "text")
    assert found["id"].tolist() == made["id"].tolist()
    assert found["gender"].isna().tolist() == [False, True] * 3
    assert found["session"].isna().all()
    np.testing.assert_array_equal(found["p:joy"], made["p:joy"])
    assert list(path.parent.iterdir()) == [path]


def test_column_order_does_not_matter(tmp_path):
    made = frame()
    write_predictions(tmp_path / "a", made, CLASSES)
    write_predictions(tmp_path / "b", made[sorted(made.columns)], CLASSES)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_model_without_weights_has_no_weight_columns(tmp_path):
    write_predictions(tmp_path / "p", frame().drop(columns=["w:audio", "w:text"]), CLASSES)
    assert modalities_of(read_predictions(tmp_path / "p")[0]) == ()


def change(column, row, value):
    def apply(made):
        if made[column].dtype.kind != "f":
            made[column] = made[column].astype(object)
        made.loc[row, column] = value
        return made

    return apply


def other_than_best(made):
    made["predicted"] = made["predicted"].astype(object)
    made.loc[2, "predicted"] = CLASSES[int(made.loc[2, [f"p:{c}" for c in CLASSES]].argmin())]
    return made


BAD = {
    "missing column": (lambda f: f.drop(columns="speaker"), "column 'speaker' is missing"),
    "missing class": (lambda f: f.drop(columns="p:joy"), "'p:joy' is missing"),
    "stray class": (lambda f: f.assign(**{"p:x": 0.0}), "'p:x' names no class"),
    "no rows": (lambda f: f.iloc[:0], "holds no predictions"),
    "NaN": (change("p:joy", 3, np.nan), r"row 4 \(id 'u3'\): a probability is not a number"),
    "infinite": (change("p:joy", 3, np.inf), "row 4 .* not a number"),
    "negative": (change("p:joy", 1, -0.2), "row 2 .* outside 0 to 1"),
    "sum": (lambda f: f.assign(**{"p:joy": 0.0, "p:anger": 0.1}), "sum to .*6 such rows"),
    "argmax": (other_than_best, "row 3 .*not the most probable"),
    "gold outside": (change("gold", 5, "fear"), "row 6 .*gold 'fear' is no class; legal: anger"),
    "gold missing": (change("gold", 5, None), "row 6 .*gold is missing"),
    "no id": (change("id", 0, ""), "row 1 .*id is missing"),
    "id no text": (change("id", 0, 7), "row 1 .*id is missing or no text"),
    "speaker no text": (change("speaker", 0, 7), "speaker is no text"),
    "double": (change("id", 1, "u0"), r"row 2 \(id 'u0'\): this id occurs twice"),
    "weight": (change("w:audio", 2, 1.5), "row 3 .*weight"),
    "weight NaN": (change("w:audio", 2, np.nan), "row 3 .*weight"),
    "seed": (lambda f: f.assign(seed=0.5), "'seed' must hold whole numbers"),
    "text probability": (lambda f: f.assign(**{"p:joy": "x"}), "'p:joy' must hold numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows_are_named(tmp_path, case):
    damage, message = BAD[case]
    bad = damage(frame())
    with pytest.raises(WorkError, match=message) as caught:
        write_predictions(tmp_path / "p.parquet", bad, CLASSES)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("case", [c for c in BAD if c not in ("id no text", "speaker no text")])
def test_bad_files_are_named_on_reading(tmp_path, case):
    damage, message = BAD[case]
    table = pa.Table.from_pandas(damage(frame()), preserve_index=False)
    note = b'{"classes": ["anger", "joy", "sadness"]}'
    pq.write_table(table.replace_schema_metadata({b"emofuse": note}), tmp_path / "p.parquet")
    with pytest.raises(WorkError, match=message):
        read_predictions(tmp_path / "p.parquet")


def test_an_unknown_column_is_not_dropped_silently(tmp_path):
    with pytest.raises(WorkError, match="unknown column 'mood'; legal: id"):
        write_predictions(tmp_path / "p", frame().assign(mood=1), CLASSES)


def test_an_id_may_come_back_in_another_seed_or_fold(tmp_path):
    both = pd.concat([frame(), frame().assign(seed=1), frame().assign(fold="f2")])
    write_predictions(tmp_path / "p", both, CLASSES)
    assert len(read_predictions(tmp_path / "p")[0]) == 18


def broken_files(folder):
    whole = folder / "whole.parquet"
    write_predictions(whole, frame(), CLASSES)
    data = whole.read_bytes()
    middle = len(data) // 2
    return {
        "missing": None,
        "empty": b"",
        "text": b"id,gold\n1,joy\n",
        "cut": data[:middle],
        "header only": data[:4],
        "flipped": data[:-200] + bytes(b ^ 0xFF for b in data[-200:-8]) + data[-8:],
        "page": data[:40] + bytes(200) + data[240:],
    }


@pytest.mark.parametrize(
    "case", ["missing", "empty", "text", "cut", "header only", "flipped", "page"]
)
def test_a_broken_file_is_one_clear_line(tmp_path, case):
    data = broken_files(tmp_path)[case]
    path = tmp_path / "bad.parquet"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(WorkError, match=r"bad\.parquet") as caught:
        read_predictions(path)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(WorkError, match="cannot read"):
        read_predictions(tmp_path)


@pytest.mark.parametrize("note", [b"[", b"{}", b'{"classes": "ab"}', b'{"classes": [1]}', None])
def test_foreign_parquet_is_refused(tmp_path, note):
    table = pa.Table.from_pandas(frame(), preserve_index=False)
    metadata = None if note is None else {b"emofuse": note}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "p")
    with pytest.raises(WorkError, match="metadata names no"):
        read_predictions(tmp_path / "p")


def foreign(path, made):
    note = b'{"classes": ["anger", "joy", "sadness"]}'
    table = pa.Table.from_pandas(made, preserve_index=False)
    pq.write_table(table.replace_schema_metadata({b"emofuse": note}), path)


def test_coded_columns_are_read_as_text(tmp_path):
    coded = frame().astype({"fold": "category", "gold": "category", "speaker": "category"})
    foreign(tmp_path / "p", coded)
    found = read_predictions(tmp_path / "p")[0]
    assert found["gold"].tolist() == frame()["gold"].tolist()
    assert not len(found.select_dtypes("category").columns)


@pytest.mark.parametrize("column", ["id", "gold", "speaker", "p:joy", "seed"])
def test_nested_columns_are_refused(tmp_path, column):
    foreign(tmp_path / "p", frame().assign(**{column: [[1]] * 6}))
    with pytest.raises(WorkError, match=column):
        read_predictions(tmp_path / "p")
