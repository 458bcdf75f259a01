from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from emofuse.errors import FeatureError, WorkError
from emofuse.features.keys import FeatureKey, FeatureSpace
from emofuse.features.store import FeatureStore

SPACE = FeatureSpace.of({"modality": "audio", "encoder": "some/thing", "revision": "1"})


def key(name, space=SPACE):
    return FeatureKey(space, name)


def array(seed, frames=3, dim=5):
    return np.random.default_rng(seed).normal(size=(frames, dim)).astype(np.float32)


def shards(store):
    return sorted((store.folder / SPACE.folder).glob("shard-*.safetensors"))


def test_what_goes_in_comes_out_of_a_fresh_store(tmp_path):
    store = FeatureStore(tmp_path / "s")
    entries = [(key(f"k{i}"), array(i, frames=1 + i % 4)) for i in range(50)]
    assert store.put_many(entries) == 50
    assert store.put_many(entries) == 0
    for opened in (store, FeatureStore(tmp_path / "s")):
        assert opened.count(SPACE) == 50
        for name, value in entries:
            assert name in opened
            np.testing.assert_array_equal(opened.get(name), value)
        assert key("other") not in opened
        assert opened.get(key("other")) is None


def test_spaces_do_not_mix(tmp_path):
    other = FeatureSpace.of({**SPACE.description, "revision": "2"})
    store = FeatureStore(tmp_path)
    store.put_many([(key("k"), array(1)), (key("k", other), array(2, dim=9))])
    assert store.get(key("k")).shape == (3, 5)
    assert store.get(key("k", other)).shape == (3, 9)
    assert (store.folder / SPACE.folder / "space.json").read_text().count("some/thing") == 1


@pytest.mark.parametrize(
    "bad",
    [np.zeros(3, np.float32), np.zeros((0, 3), np.float32), np.full((2, 2), np.nan, np.float32)],
)
def test_bad_arrays_are_refused(tmp_path, bad):
    with pytest.raises(FeatureError):
        FeatureStore(tmp_path).put_many([(key("k"), bad)])


def test_one_size_a_space(tmp_path):
    with pytest.raises(FeatureError, match="different sizes"):
        FeatureStore(tmp_path).put_many([(key("a"), array(1)), (key("b"), array(2, dim=6))])


@pytest.mark.parametrize("damage", ["cut", "empty", "header", "index", "junk"])
def test_a_damaged_shard_is_named_and_set_aside(tmp_path, damage):
    store = FeatureStore(tmp_path)
    store.put_many([(key("a"), array(1))])
    store.put_many([(key("b"), array(2))])
    path = next(p for p in shards(store) if FeatureStore(tmp_path).get(key("a")) is not None)
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[:8], "little")
    changed = {
        "cut": data[: len(data) - 10],
        "empty": b"",
        "header": b"\xff" * 8 + data[8:],
        "index": data[: 8 + size] + bytes([data[8 + size] ^ 1]) + data[9 + size :],
        "junk": b"version https://git-lfs.github.com/spec/v1",
    }
    path.write_bytes(changed[damage])
    fresh = FeatureStore(tmp_path)
    present = [name for name in "ab" if key(name) in fresh]
    assert len(present) == 1
    assert list(fresh.damaged) == [path]
    assert path.name in fresh.damaged[path]
    assert path.with_name(path.name + ".damaged").exists()
    missing = "b" if present == ["a"] else "a"
    assert fresh.put_many([(key(missing), array(9))]) == 1
    np.testing.assert_array_equal(FeatureStore(tmp_path).get(key(missing)), array(9))


def test_a_flipped_value_is_found_on_reading(tmp_path):
    store = FeatureStore(tmp_path)
    store.put_many([(key("a"), array(1))])
    (path,) = shards(store)
    data = bytearray(path.read_bytes())
    at = bytes(data).rindex(array(1).tobytes())
    data[at] ^= 1
    path.write_bytes(data)
    fresh = FeatureStore(tmp_path)
    assert key("a") in fresh
    assert fresh.get(key("a")) is None
    assert key("a") not in fresh
    assert "wrong checksum" in fresh.damaged[path]


def test_many_small_shards_are_merged(tmp_path):
    store = FeatureStore(tmp_path)
    reader = FeatureStore(tmp_path)
    for i in range(20):
        store.put_many([(key(f"k{i}"), array(i))])
    assert reader.count(SPACE) == 20
    assert store.compact(SPACE) == 20
    assert len(shards(store)) == 1
    for opened in (store, reader, FeatureStore(tmp_path)):
        for i in range(20):
            np.testing.assert_array_equal(opened.get(key(f"k{i}")), array(i))
    reader.refresh()
    assert not reader.damaged
    assert store.compact(SPACE) == 0


def test_two_compactions_at_once_lose_nothing(tmp_path):
    stores = [FeatureStore(tmp_path) for _ in range(3)]
    for i in range(30):
        stores[0].put_many([(key(f"k{i}"), array(i))])
    threads = [threading.Thread(target=s.compact, args=(SPACE,)) for s in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fresh = FeatureStore(tmp_path)
    for i in range(30):
        np.testing.assert_array_equal(fresh.get(key(f"k{i}")), array(i))
    assert not any(store.damaged for store in [*stores, fresh])


WRITER = """
import sys, numpy as np
from emofuse.features.keys import FeatureKey, FeatureSpace
from emofuse.features.store import FeatureStore
space = FeatureSpace.of({"modality": "audio", "encoder": "some/thing", "revision": "1"})
store = FeatureStore(sys.argv[1])
for i in range(int(sys.argv[2]), int(sys.argv[3])):
    value = np.random.default_rng(i).normal(size=(3, 5)).astype(np.float32)
    store.put_many([(FeatureKey(space, f"k{i}"), value)])
    if i % 10 == 0:
        store.compact(space)
"""


def test_two_writers_at_once(tmp_path):
    spans = (("0", "40"), ("20", "60"))
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), *span]) for span in spans
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    store = FeatureStore(tmp_path)
    assert store.count(SPACE) == 60
    for i in range(60):
        np.testing.assert_array_equal(store.get(key(f"k{i}")), array(i))
    assert not store.damaged
    assert not list(tmp_path.rglob("*.damaged"))


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "f").write_text("x")
    with pytest.raises(FeatureError, match="is a file"):
        FeatureStore(tmp_path / "f")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_read_only_store_reads_and_says_so(tmp_path):
    store = FeatureStore(tmp_path / "s")
    store.put_many([(key("a"), array(1))])
    folder = store.folder / SPACE.folder
    folder.chmod(0o500)
    try:
        fresh = FeatureStore(tmp_path / "s")
        np.testing.assert_array_equal(fresh.get(key("a")), array(1))
        with pytest.raises(WorkError, match="cannot write"):
            fresh.put_many([(key("b"), array(2))])
    finally:
        folder.chmod(0o700)


def test_a_store_that_cannot_be_written_is_one_clear_error(tmp_path, monkeypatch):
    store = FeatureStore(tmp_path)
    store.put_many([(key("a"), array(1))])

    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(WorkError, match="cannot write .*Permission denied"):
        store.put_many([(key("b"), array(2))])
    np.testing.assert_array_equal(FeatureStore(tmp_path).get(key("a")), array(1))


def test_a_shard_is_a_safetensors_file(tmp_path):
    from safetensors.numpy import load_file

    store = FeatureStore(tmp_path)
    store.put_many([(key(f"k{i}"), array(i, frames=1 + i)) for i in range(5)])
    tensors = load_file(shards(store)[0])
    assert tensors["values"].shape == (15, 5)
    assert tensors["offsets"].tolist() == [0, 1, 3, 6, 10, 15]
    assert tensors["keys"].shape == (5, 32)


def test_a_shard_with_its_tensors_in_another_order_is_read(tmp_path):
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    store = FeatureStore(tmp_path)
    store.put_many([(key("a"), array(1)), (key("b"), array(2))])
    (path,) = shards(store)
    with safe_open(path, framework="np") as stored:
        metadata = stored.metadata()
    save_file(load_file(path), path, metadata)
    fresh = FeatureStore(tmp_path)
    np.testing.assert_array_equal(fresh.get(key("b")), array(2))
    assert not fresh.damaged


def test_merging_keeps_what_is_in_several_shards_once(tmp_path):
    first, second = FeatureStore(tmp_path), FeatureStore(tmp_path)
    for i in range(6):  # neither sees what the other wrote in the meantime
        assert first.count(SPACE) == second.count(SPACE) == i
        first.put_many([(key(f"k{i}"), array(i, frames=2 + i))])
        second.put_many([(key(f"k{i}"), array(i, frames=2 + i))])
    assert len(shards(first)) == 12
    assert first.compact(SPACE) == 12
    (merged,) = shards(first)
    assert merged.stat().st_size < 2000 + 20 * sum(range(2, 8)) + 56 * 6
    for i in range(6):
        np.testing.assert_array_equal(first.get(key(f"k{i}")), array(i, frames=2 + i))


def test_merging_a_damaged_shard_loses_nothing_else(tmp_path):
    store = FeatureStore(tmp_path)
    for i in range(12):
        store.put_many([(key(f"k{i}"), array(i))])
    data = bytearray(shards(store)[3].read_bytes())
    data[-1] ^= 1
    shards(store)[3].write_bytes(data)
    fresh = FeatureStore(tmp_path)
    fresh.compact(SPACE)
    assert sum(fresh.get(key(f"k{i}")) is not None for i in range(12)) == 11
    assert len(fresh.damaged) == 1
    assert not list(tmp_path.rglob(".*.tmp"))
    assert fresh.compact(SPACE) == 11


def test_digests_that_begin_alike_are_told_apart(tmp_path):
    from emofuse.features.index import SpaceIndex
    from emofuse.features.shard import Shard
    from emofuse.features.shard_writing import write_shard

    digests = [b"\1" * 8 + bytes([i]) * 24 for i in range(4)]
    write_shard(tmp_path / "a", "s", digests[:2], [array(0), array(1)])
    write_shard(tmp_path / "b", "s", digests[2:], [array(2), array(3)])
    index = SpaceIndex()
    index.add(Shard(tmp_path / "a", "s"))
    index.add(Shard(tmp_path / "b", "s"))
    for i, digest in enumerate(digests):
        shard, row = index.find(digest)
        np.testing.assert_array_equal(shard.read(row), array(i))
    assert index.find(b"\1" * 8 + bytes([9]) * 24) is None
    asked = [digests[3], b"\1" * 8 + bytes([9]) * 24, digests[1], bytes(32), digests[0]]
    places = {}
    for shard, rows, hits in index.find_many(asked):
        for row, hit in zip(rows.tolist(), hits.tolist(), strict=True):
            places[hit] = shard.key(row)
    assert places == {0: digests[3], 2: digests[1], 4: digests[0]}
    index.drop("a")
    assert index.find(digests[0]) is None
    assert index.find(digests[3])[1] == 1


@pytest.mark.parametrize(("kept", "run"), [(4096, 1 << 20), (4, 100), (4, 1)])
def test_many_are_read_at_once(tmp_path, monkeypatch, kept, run):
    monkeypatch.setattr("emofuse.features.shard.KEPT_ITEMS", kept)
    monkeypatch.setattr("emofuse.features.shard.RUN_BYTES", run)
    other = FeatureSpace.of({**SPACE.description, "revision": "2"})
    entries = {key(f"k{i}"): array(i, frames=1 + i % 4) for i in range(40)}
    entries |= {key(f"k{i}", other): array(i + 50, dim=9) for i in range(5)}
    store = FeatureStore(tmp_path)
    pairs = list(entries.items())
    for start in range(0, 45, 15):
        store.put_many(pairs[start : start + 15])
    keys = [list(entries)[place] for place in np.random.default_rng(1).permutation(45)]
    keys += [key("absent"), keys[0], keys[1]]
    for opened in (store, FeatureStore(tmp_path)):
        found = opened.get_many(keys)
        assert found[45] is None
        for name, value in zip(keys, found, strict=True):
            if name in entries:
                np.testing.assert_array_equal(value, entries[name])
                np.testing.assert_array_equal(opened.get(name), value)
    assert store.get_many([]) == []
    assert FeatureStore(tmp_path / "empty").get_many(keys[:2]) == [None, None]


def test_a_damaged_shard_among_many_is_set_aside_and_its_items_sought_elsewhere(tmp_path):
    first, second = FeatureStore(tmp_path), FeatureStore(tmp_path)
    assert first.count(SPACE) == second.count(SPACE) == 0
    first.put_many([(key(f"k{i}"), array(i)) for i in range(8)])
    (path,) = shards(first)
    second.put_many([(key(f"k{i}"), array(i)) for i in range(4, 12)])
    data = bytearray(path.read_bytes())
    data[bytes(data).rindex(array(0).tobytes())] ^= 1
    path.write_bytes(data)
    fresh = FeatureStore(tmp_path)
    found = fresh.get_many([key(f"k{i}") for i in range(12)])
    assert [value is None for value in found] == [True] * 4 + [False] * 8
    for i in range(4, 12):
        np.testing.assert_array_equal(found[i], array(i))
    assert list(fresh.damaged) == [path]
