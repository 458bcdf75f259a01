from __future__ import annotations

import pytest

from emofuse.errors import ManifestError
from emofuse.manifest import Manifest, ManifestFile, Utterance


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_same_utterances_root_and_paths_as_in_memory(tmp_path):
    utterances = [Utterance(id=f"é{i}", audio=f"{i}.wav", emotion="angry") for i in range(50)]
    Manifest(utterances, tmp_path / "corpus").save(tmp_path / "m.jsonl")
    whole, stream = Manifest.load(tmp_path / "m.jsonl"), ManifestFile(tmp_path / "m.jsonl")
    assert list(stream) == list(stream) == list(whole)
    assert len(stream) == len(whole)
    assert stream.root == whole.root
    assert stream.path("a/b.wav") == whole.path("a/b.wav")
    assert ManifestFile(tmp_path / "m.jsonl", tmp_path / "x").root == tmp_path / "x"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (['{"id": "a", "text": "x"}', '{"id": "b", "txt": "x"}'], "m.jsonl:2: unknown key 'txt'"),
        (['{"id": "a", "text": "x"}', "", "oops"], "m.jsonl:3: not a JSON object"),
        (['{"manifest": {"root": "."}}'], "lists no utterances"),
        (
            ['{"id": "a", "text": "x"}', '{"id": "b", "text": "x"}', '{"id": "a", "text": "y"}'],
            "m.jsonl:3: id 'a' is already on line 1",
        ),
    ],
)
def test_mistakes_read_the_same_as_in_memory(tmp_path, lines, words):
    path = write(tmp_path / "m.jsonl", *lines)
    with pytest.raises(ManifestError) as streamed:
        ManifestFile(path)
    with pytest.raises(ManifestError) as loaded:
        Manifest.load(path)
    assert words in str(streamed.value)
    assert str(streamed.value) == str(loaded.value)


def test_a_path_out_of_the_root_and_a_missing_file(tmp_path):
    stream = ManifestFile(write(tmp_path / "m.jsonl", '{"id": "a", "text": "x"}'))
    (tmp_path / "link").symlink_to("/")
    with pytest.raises(ManifestError, match="leads out"):
        stream.path("link/etc")
    with pytest.raises(ManifestError, match="cannot read"):
        ManifestFile(tmp_path / "none.jsonl")


def test_a_file_that_changed_is_refused(tmp_path):
    path = write(tmp_path / "m.jsonl", '{"id": "a", "text": "x"}')
    stream = ManifestFile(path)
    write(path, '{"id": "a", "text": "x"}', '{"id": "b", "text": "x"}')
    with pytest.raises(ManifestError, match="changed while"):
        list(stream)
    path.unlink()
    with pytest.raises(ManifestError, match="cannot read"):
        list(stream)
