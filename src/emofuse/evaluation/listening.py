"""Recordings small enough to be put into a page, where their licence lets them travel."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from emofuse.corpora import CORPORA
from emofuse.errors import EmofuseError
from emofuse.manifest import Manifest, Utterance
from emofuse.media.audio import SAMPLE_RATE, read_audio

__all__ = ["Recordings"]

LONGEST_SECONDS = 15.0
LARGEST_BYTES = 2_000_000
KBITS = 48.0
SHARED = ("cc0", "cc by", "odbl", "free;", "your own")
"""How licences begin that let a recording be shown to others, with its source."""


class Recordings:
    """Finds the utterances of a run and turns their audio into data URIs.

    Args:
        recipe: of the run; names the manifests.
        wanted: whether audio is wanted at all.

    Attributes:
        refused: why there is no audio, one line each.
        licences: corpus -> licence, of those whose audio was given.
    """

    def __init__(self, recipe: Mapping[str, Any], wanted: bool = True) -> None:
        self.refused: dict[str, None] = {}
        self.licences: dict[str, str] = {}
        self._wanted, self._given = wanted, 0
        self._manifest = self._load(recipe)
        self._known = frozenset(() if self._manifest is None else self._manifest.ids)

    def find(self, name: str) -> Utterance | None:
        """Give an utterance by id; None where the manifest is not at hand or does not hold it."""
        if self._manifest is None or name not in self._known:
            return None
        found: Utterance = self._manifest[name]
        return found

    def uri(self, utterance: Utterance) -> str | None:
        """Give the audio as MP3 in a data URI; None where it may not or cannot be shown."""
        if not self._wanted or self._manifest is None or utterance.audio is None:
            return None
        if not self._free(utterance.corpus):
            return None
        try:
            path = self._manifest.path(utterance.audio)
            wave = read_audio(path, SAMPLE_RATE, utterance.start, utterance.end)
            data = _mp3(wave[: round(LONGEST_SECONDS * SAMPLE_RATE)])
        except (EmofuseError, OSError, RuntimeError) as error:
            self.refused[f"audio that cannot be read: {' '.join(str(error).split())}"] = None
            return None
        if self._given + len(data) > LARGEST_BYTES:
            self.refused[f"no more than {LARGEST_BYTES / 1e6:g} MB of audio is put in"] = None
            return None
        self._given += len(data)
        return "data:audio/mpeg;base64," + base64.b64encode(data).decode("ascii")

    def _load(self, recipe: Mapping[str, Any]) -> Manifest | None:
        data = recipe.get("data")
        data = data if isinstance(data, Mapping) else {}
        names, root = data.get("manifest"), data.get("root")
        listed = [names] if isinstance(names, str) else names
        if not isinstance(listed, list | tuple) or not listed:
            return None
        try:
            place = None if root is None else Path(str(root))
            return Manifest.concat([Manifest.load(Path(str(one)), place) for one in listed])
        except (EmofuseError, OSError) as error:
            self.refused[f"texts and audio are not at hand: {error}"] = None
            return None

    def _free(self, corpus: str | None) -> bool:
        """Tell whether a corpus lets its recordings be shown; nobody's corpus is one's own."""
        if corpus is None or corpus not in CORPORA:
            return True
        licence = str(CORPORA.load(corpus).licence)
        if licence.lower().startswith(SHARED):
            self.licences[corpus] = licence
            return True
        self.refused[f"no audio of {corpus}: its licence is {licence!r}"] = None
        return False


def _mp3(wave: np.ndarray) -> bytes:
    stream = io.BytesIO()
    soundfile.write(
        stream,
        np.clip(wave, -1.0, 1.0),
        SAMPLE_RATE,
        format="MP3",
        subtype="MPEG_LAYER_III",
        compression_level=(160.0 - KBITS) / 152.0,
        bitrate_mode="CONSTANT",
    )
    return stream.getvalue()
