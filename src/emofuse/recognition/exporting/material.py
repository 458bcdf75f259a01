"""What PyTorch and ONNX are compared on: real utterances, or synthetic voices where none are."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from emofuse.errors import EmofuseError, WorkError
from emofuse.manifest import Manifest
from emofuse.recognition.inputs import find_queries, manifest_queries
from emofuse.recognition.query import Query

__all__ = ["Material", "find_material"]

SPEAKERS, PER_EMOTION = 4, 5  # synthetic voices
WORDS = "I did not expect you to be here so late"


@dataclass(frozen=True)
class Material:
    """Utterances.

    Attributes:
        queries: the utterances.
        source: what they are, in words.
    """

    queries: tuple[Query, ...]
    source: str


@contextmanager
def find_material(
    run: Path, given: Sequence[str], modalities: Sequence[str], count: int
) -> Iterator[Material]:
    """Find utterances: the given ones, else those of the run's manifest, else synthetic voices.

    An utterance without words gets a sentence where the model reads texts.

    Args:
        run: directory of the run, whose recipe names the manifest.
        given: files, folders or manifests, as ``emofuse predict`` takes them.
        modalities: of the model.
        count: utterances, taken evenly from all that are there.

    Raises:
        WorkError: what was given holds nothing that the model can answer.
    """
    if given:
        queries = _useful(find_queries(given), modalities)
        if not queries:
            raise WorkError(f"{', '.join(given)} holds nothing that the model could answer")
        yield _material(queries, f"{len(queries)} utterances given", modalities, count)
        return
    found = _from_run(run)
    if found is not None:
        queries = _useful(found[0], modalities)
        if queries:
            yield _material(queries, found[1], modalities, count)
            return
    with tempfile.TemporaryDirectory() as home:
        voices = _synthetic(Path(home))
        yield _material(voices, "synthetic voices (no real audio at hand)", modalities, count)


def _material(
    queries: Sequence[Query], source: str, modalities: Sequence[str], count: int
) -> Material:
    step = max(1, -(-len(queries) // count))
    chosen = [
        replace(one, text=WORDS) if "text" in modalities and not one.has_text else one
        for one in queries[::step]
    ]
    return Material(tuple(chosen), source)


def _useful(queries: Sequence[Query], modalities: Sequence[str]) -> list[Query]:
    """Keep what can be answered: sound that is there, or words alone."""
    found = []
    for query in queries:
        if query.error is not None:
            continue
        lost = isinstance(query.audio, Path) and not query.audio.is_file()
        one = replace(query, audio=None) if lost else query
        if ("audio" in modalities and one.audio is not None) or (
            "text" in modalities and one.has_text
        ):
            found.append(one)
    return found


def _from_run(run: Path) -> tuple[list[Query], str] | None:
    """Give the utterances that a run was made from, where they can still be read."""
    from emofuse.training.data import load_manifest
    from emofuse.training.recipe import load_recipe

    if not (run / "recipe.yaml").is_file():
        return None
    try:
        manifest: Manifest = load_manifest(load_recipe(run / "recipe.yaml"))
    except (EmofuseError, OSError):
        return None
    return manifest_queries(manifest), "the run's manifest"


def _synthetic(home: Path) -> list[Query]:
    from emofuse.corpora import CORPORA

    prepared = CORPORA.load("synthetic").prepare(home, speakers=SPEAKERS, per_emotion=PER_EMOTION)
    return manifest_queries(prepared.manifest)
