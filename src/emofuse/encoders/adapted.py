"""What an encoder that was adapted here saw: the note beside its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emofuse.encoders.contract import Provenance
from emofuse.encoders.hf_folder import ModelFolder
from emofuse.encoders.provenance import look_up
from emofuse.errors import EncoderError, WorkError
from emofuse.storage import read_json

__all__ = ["ADAPTED", "UNNAMED", "Adapted", "folder_provenance", "read_adapted"]

ADAPTED = "emofuse-adapted.json"
"""Name of the note in an encoder's folder."""
UNNAMED = "a corpus without a name"


@dataclass(frozen=True)
class Adapted:
    """What an adapted encoder saw.

    Attributes:
        path: its folder.
        labels: whether emotion labels were shown to it.
        corpora: names of the corpora; empty where the manifest names none.
        ids: utterances that were trained on, or chosen by, here or by what it started from.
        base: provenance of what it started from, as `describe_encoder` gives it.
    """

    path: Path
    labels: bool
    corpora: tuple[str, ...]
    ids: frozenset[str]
    base: Mapping[str, Any]

    def saw(self, name: str, corpus: str | None) -> bool:
        """Tell whether an utterance is among them, by its id and, where both say, its corpus.

        Joined manifests put ``corpus/`` before an id that two of them have; so does this.
        """
        if corpus is not None and self.corpora and corpus not in self.corpora:
            return False
        bare = name.removeprefix(f"{corpus}/") if corpus else name
        return bool({name, bare, f"{corpus}/{name}"} & self.ids)

    @property
    def provenance(self) -> Provenance:
        """Provenance of the adapted encoder."""
        seen = self.corpora or (UNNAMED,)
        pretrained = _names(self.base, "pretrained_on") | dict.fromkeys(seen)
        before = _names(self.base, "labelled_on")
        adapted = _names(self.base, "adapted_on") | (dict.fromkeys(seen) if self.labels else {})
        plainly = before.keys() - _names(self.base, "adapted_on").keys()
        return Provenance(
            str(self.base.get("licence", "unknown")),
            tuple(pretrained),
            tuple(before | adapted),
            tuple(name for name in adapted if name not in plainly),
            known=bool(self.base.get("known")),
            source=f"{ADAPTED} in its folder",
        )


def _names(provenance: Mapping[str, Any], key: str) -> dict[str, None]:
    return dict.fromkeys(str(name) for name in provenance.get(key) or ())


def read_adapted(folder: Path) -> Adapted | None:
    """Read the note of a folder; None where there is none.

    Raises:
        EncoderError: the note is damaged.
    """
    path = folder / ADAPTED
    if not path.is_file():
        return None
    try:
        note = read_json(path)
        utterances = note["utterances"]
        ids = [name for part in ("train", "dev", "inherited") for name in utterances[part]]
        return Adapted(
            folder,
            bool(note["labels"]),
            tuple(str(name) for name in note["corpora"]),
            frozenset(str(name) for name in ids),
            dict(note["base"]["provenance"]),
        )
    except (WorkError, KeyError, TypeError, ValueError) as error:
        raise EncoderError(
            f"{path} does not say what the encoder saw ({error}); adapt it again"
        ) from error


def folder_provenance(folder: ModelFolder) -> Provenance:
    """Give what is known about a model: from its own note, else from the ledger by its name.

    Raises:
        EncoderError: the note is damaged.
    """
    adapted = read_adapted(folder.path)
    return look_up(folder.name) if adapted is None else adapted.provenance
