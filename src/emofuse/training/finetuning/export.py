"""A learned encoder as a folder in Hugging Face's layout, with a note of what it saw."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emofuse import __version__
from emofuse.encoders.adapted import ADAPTED, folder_provenance, read_adapted
from emofuse.encoders.contract import EncoderSpec
from emofuse.encoders.hf_folder import (
    SETTINGS,
    ModelFolder,
    find_folder,
    read_model,
)
from emofuse.protocols.contract import Fold
from emofuse.storage import atomic_path, read_json, write_json
from emofuse.training.checkpoint import write_tensors

__all__ = ["Seen", "export_encoder"]

WEIGHTS, CONFIG = "model.safetensors", "config.json"


class Seen:
    """What an encoder learned from in a run.

    Args:
        fold: train was learned from, dev chosen by.
        corpora: names of the corpora.
        classes: that it learned to tell apart.
        seed: of the training.
    """

    def __init__(
        self, fold: Fold, corpora: tuple[str, ...], classes: tuple[str, ...], seed: int
    ) -> None:
        self.fold, self.corpora, self.classes, self.seed = fold, corpora, classes, seed

    def note(self, base: ModelFolder, modality: str) -> dict[str, Any]:
        """Give what goes beside the weights (see `encoders.adapted`)."""
        before = read_adapted(base.path)
        corpora = {*self.corpora, *(() if before is None else before.corpora)}
        return {
            "version": 1,
            "emofuse": __version__,
            "base": {
                "name": base.name,
                "revision": base.revision,
                "provenance": asdict(folder_provenance(base)),
            },
            "modality": modality,
            "objective": "finetune",
            "labels": True,
            "classes": list(self.classes),
            "corpora": sorted(corpora),
            "fold": self.fold.name,
            "utterances": {
                "train": list(self.fold.train),
                "dev": list(self.fold.dev),
                "inherited": [] if before is None else sorted(before.ids),
            },
            "seed": self.seed,
        }


def export_encoder(
    folder: Path,
    spec: EncoderSpec,
    modality: str,
    learnt: Mapping[str, Tensor] | None,
    seen: Seen,
) -> None:
    """Write an encoder: its folder's weights with the learned ones in their places.

    The ``config.json`` goes last; without it no folder is a model. Of Whisper the decoder, which no
    encoder uses, stays behind.

    Args:
        folder: new or of the same run.
        spec: where it started from.
        modality: what it encodes.
        learnt: weights that were learned, by their names there; None = it was adapted beforehand,
            and is copied with its own note.
        seen: what it learned from.

    Raises:
        WorkError: the folder cannot be written.
        EncoderError: what it started from cannot be read.
    """
    base = find_folder(spec)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)
    for pattern in SETTINGS:
        for file in sorted(base.path.glob(pattern)):
            if file.name != CONFIG:
                _copy(file, folder / file.name)
    with torch.random.fork_rng(devices=()):  # parts that the folder lacks and nobody uses are drawn
        torch.manual_seed(0)
        model = read_model(base)
    state = {name: one.contiguous().clone() for name, one in model.state_dict().items()}
    for name, value in (learnt or {}).items():
        state[name] = value.to(state[name].dtype)
    if base.kind == "whisper":
        state = {name: one for name, one in state.items() if not name.startswith("decoder.")}
    write_tensors(folder / WEIGHTS, state, {"format": "pt"})
    note = read_json(base.path / ADAPTED) if learnt is None else seen.note(base, modality)
    write_json(folder / ADAPTED, note)
    config = {name: value for name, value in base.config.items() if name != "torch_dtype"}
    write_json(folder / CONFIG, config | {"dtype": "float32"})


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
