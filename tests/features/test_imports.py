from __future__ import annotations

import builtins
import codecs
import io
import json
import os
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from emofuse.cli.app import app
from emofuse.encoders.contract import EncoderSpec
from emofuse.errors import FeatureError, LabelError, OptionError
from emofuse.features.encode import load_table
from emofuse.features.import_sources import read_pickled, read_rows
from emofuse.features.imports import store_import
from emofuse.features.store import FeatureStore
from emofuse.features.unpickle import plain, read_pickle
from emofuse.manifest import Manifest

CLASSES = ("anger", "happiness", "neutral")
RNG = np.random.default_rng(0)
ARRAYS = [
    RNG.normal(size=(3, 4)).astype(np.float32),
    np.asfortranarray(RNG.normal(size=(3, 4))),
    RNG.normal(size=6).astype(">f8"),
    RNG.integers(0, 9, 5),
    np.array([True, False]),
    np.array(["anger", "joy"]),
    np.float32(2.5),
    np.int64(7),
    np.zeros((0, 3), np.float16),
]
TENSORS = [
    torch.arange(6.0).reshape(2, 3).T,
    torch.tensor(3),
    torch.arange(8, dtype=torch.float16)[2:6],
    torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    torch.tensor([True, False]),
    torch.ones(2, 3, dtype=torch.float64, requires_grad=True).detach(),
]


def dump(path, value, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_scalars_and_tensors_come_back(tmp_path, protocol):
    read = read_pickle(dump(tmp_path / "a.pkl", [*ARRAYS, *TENSORS], protocol))
    for original, found in zip([*ARRAYS, *TENSORS], read, strict=True):
        value = plain(found)
        expected = (
            original.float().numpy()
            if getattr(original, "dtype", 0) == torch.bfloat16
            else original
        )
        np.testing.assert_array_equal(value, np.asarray(expected))


def test_plain_containers_come_back(tmp_path):
    value = [{"a": (1, 2.5, None, True, "ę"), "b": OrderedDict(x=b"1")}, b"", [[]], {}]
    for protocol in range(6):
        assert read_pickle(dump(tmp_path / "a.pkl", value, protocol)) == value


LONG = "x" * 999


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


def evil(mark):
    payload = f"open({str(mark)!r}, 'w').close()"
    return {
        "os.system": Call(os.system, f"touch {mark}"),
        "eval": Call(builtins.eval, payload),
        "exec": Call(builtins.exec, payload),
        "open": Call(builtins.open, str(mark), "w"),
        "getattr": Call(builtins.getattr, "x", "__class__"),
        "import": Call(builtins.__import__, "antigravity"),
        "numpy.load": Call(np.load, "x.npy", None, True),
        "torch.load": Call(torch.load, "x.pt"),
        "object array": np.array([Call(os.system, f"touch {mark}")], dtype=object),
        "subclass": Call(np.ndarray.__new__, np.matrix, (1,)),
        "module": Call(torch.nn.Linear, 2, 2),
        "unknown codec": Call(codecs.encode, "x", "zip"),
        "set": Call(set, [1, 2]),
        "copies": [Call(codecs.encode, LONG, "latin-1") for _ in range(999)],
        "bytearray bomb": Call(bytearray, 1 << 50),
    }


@pytest.mark.parametrize("name", sorted(evil("x")))
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_nothing_in_a_pickle_is_ever_run(tmp_path, name, protocol):
    mark = tmp_path / "owned"
    path = dump(tmp_path / "a.pkl", [{"audio_embed": evil(mark)[name], "label": 0}], protocol)
    with pytest.raises(FeatureError) as caught:
        read_pickled(path)
    assert f"{path} holds" in str(caught.value)
    assert "it was not executed" in str(caught.value)
    assert not mark.exists()


RAW = {
    "nothing": b"",
    "text": b"hello",
    "cut": pickle.dumps(ARRAYS, 4)[:-30],
    "memo bomb": b"\x80\x02K\x01r\xff\xff\xff\x7f.",
    "long text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"x.",
    "long bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b"x.",
    "huge frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N.",
    "empty stack": b"\x80\x04.",
    "only marks": b"(" * 1000 + b".",
    "extension": b"\x80\x02\x82\x01.",
    "persistent": b"Pfile:///etc/passwd\n.",
    "instance": b"(S'id'\nios\nsystem\n.",
    "object": b"(cos\nsystem\nS'id'\no.",
    "build on a list": b"](K\x01K\x02e}S'a'\nK\x01sb.",
    "setstate on an array": b"cnumpy\nndarray\n)\x81K\x05b.",
    "half an array": b"cnumpy\nndarray\n)\x81.",
    "deep": b"(" + b"l(" * 100_000 + b"l" + b"." ,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(RAW))
def test_broken_pickles_are_one_clear_error(tmp_path, name):
    path = tmp_path / "a.pkl"
    path.write_bytes(RAW[name])
    with pytest.raises(FeatureError) as caught:
        read_pickled(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("shape", "code", "raw"),
    [
        ((1 << 39, 1 << 39), "f4", b"0000"),
        ((-1,), "f4", b""),
        ((2,), "O8", b"0" * 16),
        ((2,), "V8", b"0" * 16),
        ((2,), "f4", b"0"),
        ((1,) * 9, "f4", b"0000"),
        (("a",), "f4", b"0000"),
        ((1,), "f4,O", b"0" * 12),
        ((1,), "M8[ns]", b"0" * 8),
    ],
)
def test_forged_arrays_are_refused(tmp_path, shape, code, raw):
    reconstruct = np.zeros(1).__reduce__()[0]

    class Forged:
        def __reduce__(self):
            kind = Call(np.dtype, code, False, True, state=(3, "<", None, None, None, -1, -1, 0))
            return reconstruct, (np.ndarray, (0,), b"b"), (1, shape, kind, False, raw)

    with pytest.raises(FeatureError):
        read_pickled(dump(tmp_path / "a.pkl", [{"audio_embed": Forged(), "label": 0}], 2))


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(5, (2,), (1,)), (0, (9,), (1,)), (-1, (1,), (1,)), (0, (1 << 30,), (0,)), (0, (2, 2), (1,))],
)
def test_forged_tensors_are_refused(tmp_path, offset, size, stride):
    storage = torch.arange(6.0).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
    forged = Call(torch._utils._rebuild_tensor_v2, typed, offset, size, stride, False, {})
    with pytest.raises(FeatureError):
        read_pickled(dump(tmp_path / "a.pkl", [{"audio_embed": forged, "label": 0}], 2))


def test_a_storage_that_hides_a_call_is_refused(tmp_path):
    stream = io.BytesIO()
    for _ in range(5):
        pickle.dump(Call(os.system, f"touch {tmp_path}/owned"), stream, 2)
    hidden = Call(torch.storage._load_from_bytes, stream.getvalue())
    with pytest.raises(FeatureError, match="system"):
        read_pickled(dump(tmp_path / "a.pkl", [hidden], 2))
    assert not (tmp_path / "owned").exists()


def entries(count=6, label=np.int64):
    return [
        {
            "text_embed": torch.from_numpy(RNG.normal(size=4).astype(np.float32)),
            "audio_embed": RNG.normal(size=(1, 3)).astype(np.float32),
            "label": label(i % 3),
        }
        for i in range(count)
    ]


@pytest.mark.parametrize("label", [int, np.int64, torch.tensor, lambda i: CLASSES[i]])
def test_a_feature_pickle_becomes_a_manifest_and_a_table(tmp_path, label):
    data = entries(label=label)
    source = read_pickled(dump(tmp_path / "a.pkl", data))
    store = FeatureStore(tmp_path / "s")
    report = store_import(source, store, "old", classes=CLASSES, split="train")
    assert report.dims == {"audio": 3, "text": 4}
    assert report.stored == 12
    assert [u.emotion for u in report.manifest] == [CLASSES[i % 3] for i in range(6)]
    assert {u.split for u in report.manifest} == {"train"}
    report.manifest.save(tmp_path / "m.jsonl")
    table = load_table(
        Manifest.load(tmp_path / "m.jsonl"),
        {m: EncoderSpec(name="imported:old") for m in ("audio", "text")},
        FeatureStore(tmp_path / "s"),
    )
    for row, entry in enumerate(data):
        np.testing.assert_array_equal(table.modalities["text"].values[row], entry["text_embed"])
        np.testing.assert_array_equal(
            table.modalities["audio"].values[row], entry["audio_embed"][0]
        )
    assert table.encoders["audio"]["spec"]["name"] == "imported:old"
    assert table.encoders["audio"]["dim"] == 3


def test_tuples_and_nones(tmp_path):
    data = [(e["text_embed"], e["audio_embed"], e["label"]) for e in entries()]
    data[2] = None
    source = read_pickled(dump(tmp_path / "a.pkl", data))
    report = store_import(source, FeatureStore(tmp_path / "s"), "old", classes=CLASSES)
    assert len(report.manifest) == 5
    assert any("1 entries are None: 2" in finding for finding in report.findings)


def damage(kind):
    data = entries()
    if kind == "nan":
        data[3]["audio_embed"][0, 1] = np.nan
    elif kind == "dead":
        for entry in data:
            entry["audio_embed"][0, 2] = 5.0
    elif kind == "zero":
        data[1]["audio_embed"][:] = 0
    elif kind == "size":
        data[4]["audio_embed"] = np.zeros(9, np.float32)
    return data


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("nan", "1 vectors hold NaN or infinity, or are empty: 3 (left out)"),
        ("dead", "1 of 3 columns are constant: 2"),
        ("zero", "1 vectors are all zero"),
    ],
)
def test_odd_vectors_are_reported(tmp_path, kind, words):
    source = read_pickled(dump(tmp_path / "a.pkl", damage(kind)))
    report = store_import(source, FeatureStore(tmp_path / "s"), "old", classes=CLASSES)
    assert any(words in finding for finding in report.findings)
    if kind == "nan":
        assert report.manifest[3].modalities == {"text"}
        with pytest.raises(FeatureError, match="NaN"):
            store_import(source, FeatureStore(tmp_path / "t"), "o", classes=CLASSES, strict=True)


def test_mixed_sizes_and_labels_outside_are_errors(tmp_path):
    store = FeatureStore(tmp_path / "s")
    with pytest.raises(FeatureError, match="not all of one size"):
        store_import(
            read_pickled(dump(tmp_path / "a", damage("size"))), store, "o", classes=CLASSES
        )
    source = read_pickled(dump(tmp_path / "b", entries()))
    with pytest.raises(LabelError, match="labels are integers"):
        store_import(source, store, "old")
    with pytest.raises(LabelError, match="labels 2 x 2 lie outside the 2 classes"):
        store_import(source, store, "old", classes=CLASSES[:2])
    with pytest.raises(OptionError, match="no name for imported vectors"):
        store_import(source, store, "../up", classes=CLASSES)


@pytest.mark.parametrize("value", [[], {}, 5, [1, 2], [("a", "b")], [{"label": 1}], "text", None])
def test_pickles_of_other_things_are_refused(tmp_path, value):
    with pytest.raises(FeatureError):
        read_pickled(dump(tmp_path / "a.pkl", value))


ROWS = [
    {"Utterance": "hi", "Emotion": "joy", "Speaker": "A", "Dialogue_ID": "0", "Name": "x"},
    {"Utterance": "no", "Emotion": "anger", "Speaker": "B", "Dialogue_ID": "0", "Name": "y"},
]


def save(path, array):
    np.save(path, array)
    return path


def test_rows_beside_arrays(tmp_path):
    audio = save(tmp_path / "a.npy", RNG.normal(size=(2, 5)).astype(np.float64))
    frames = np.zeros((2, 7, 3), np.float32)
    frames[0, :4] = 1
    frames[1, :7] = 2
    text = save(tmp_path / "t.npy", frames)
    source = read_rows(ROWS, {"audio": audio, "text": text}, {"id": "Name"})
    store = FeatureStore(tmp_path / "s")
    manifest = store_import(source, store, "both").manifest
    assert manifest.ids == ("x", "y")
    assert (manifest[0].emotion, manifest[0].dialogue, manifest[0].text) == ("happiness", "0", "hi")
    specs = {m: EncoderSpec(name="imported:both") for m in ("audio", "text")}
    table = load_table(manifest, specs, store)
    assert table.modalities["text"].lengths.tolist() == [4, 7]
    np.testing.assert_allclose(table.modalities["audio"].values, np.load(audio), rtol=1e-6)


def test_other_rows_under_the_same_ids_never_answer_for_these(tmp_path):
    audio = save(tmp_path / "a.npy", np.array([[1.0, 2], [3, 4]]))
    store = FeatureStore(tmp_path / "s")
    store_import(read_rows(ROWS, {"audio": audio}, {"id": "Name"}), store, "n")
    swapped = read_rows(ROWS[::-1], {"audio": audio}, {"id": "Name"})
    with pytest.raises(FeatureError, match="already stands for other"):
        store_import(swapped, store, "n")
    manifest = store_import(swapped, store, "n", replace=True).manifest
    table = load_table(manifest, {"audio": EncoderSpec(name="imported:n")}, store)
    assert table.modalities["audio"].values.tolist() == [[1, 2], [3, 4]]
    assert table.ids == ("y", "x")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 2)), "3 rows and the table 2"),
        (np.zeros(2), "expected numbers"),
        (np.array([["a", "b"]] * 2), "expected numbers"),
        (np.array([[{}], [{}]], dtype=object), "no .npy array that can be read"),
    ],
)
def test_wrong_arrays_are_named(tmp_path, array, words):
    path = tmp_path / "a.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(FeatureError, match=words):
        read_rows(ROWS, {"audio": path})


def test_columns_are_checked(tmp_path):
    path = save(tmp_path / "a.npy", np.zeros((2, 2)))
    with pytest.raises(OptionError, match="no column 'Emo'"):
        read_rows(ROWS, {"audio": path}, {"emotion": "Emo"})
    with pytest.raises(OptionError, match="unknown field 'mood'"):
        read_rows(ROWS, {"audio": path}, {"mood": "Emotion"})


def test_vectors_that_were_never_imported(tmp_path):
    path = save(tmp_path / "a.npy", np.ones((2, 2)))
    store = FeatureStore(tmp_path / "s")
    manifest = store_import(read_rows(ROWS, {"audio": path}), store, "n").manifest
    with pytest.raises(FeatureError, match=r"known: n\)"):
        load_table(manifest, {"audio": EncoderSpec(name="imported:m")}, store)
    for shard in (tmp_path / "s").rglob("shard-*"):
        shard.unlink()
    with pytest.raises(FeatureError, match="import them again"):
        load_table(manifest, {"audio": EncoderSpec(name="imported:n")}, FeatureStore(store.folder))


def test_command_line(tmp_path):
    np.save(tmp_path / "a.npy", RNG.normal(size=(2, 4)))
    (tmp_path / "t.csv").write_text('Utterance,Emotion\nhi,joy\n"no, no",anger\n')
    common = ["--name", "n", "-o", str(tmp_path / "m.jsonl"), "--store", str(tmp_path / "s")]
    arguments = ["import", str(tmp_path / "t.csv"), "--features", f"audio={tmp_path / 'a.npy'}"]
    result = CliRunner().invoke(app, [*arguments, *common, "--json"])
    assert result.exit_code == 0, result.exception
    assert json.loads(result.stdout)["classes"] == {"happiness": 1, "anger": 1}
    assert len(Manifest.load(tmp_path / "m.jsonl")) == 2
    assert "new vectors" in CliRunner().invoke(app, [*arguments, *common]).stderr
    for wrong in (["--features", "smell=a.npy"], ["--features", "audio"], []):
        failed = CliRunner().invoke(app, ["import", str(tmp_path / "t.csv"), *wrong, *common])
        assert isinstance(failed.exception, OptionError)
