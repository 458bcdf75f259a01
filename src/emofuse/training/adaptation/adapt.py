"""Encoder adaptation: the upper layers of a Hugging Face encoder learn on one fold's train part.

Contrastive as in FleSER (NT-Xent of two crops of a recording, or of two word-dropout copies of a
text), with lower layers frozen; or supervised by the labels.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from emofuse import __version__
from emofuse.encoders.adapted import ADAPTED, folder_provenance, read_adapted
from emofuse.encoders.hf_folder import SETTINGS, ModelFolder, find_folder, quiet_transformers
from emofuse.errors import TrainingError, UsageError
from emofuse.labels import LabelScheme
from emofuse.manifest import Manifest
from emofuse.models.build import seeded
from emofuse.progress import Progress, silent
from emofuse.protocols.contract import Fold
from emofuse.storage import atomic_path, read_json, sha256_text, write_json
from emofuse.training.adaptation.data import Corpus, gather_material
from emofuse.training.adaptation.fit import Fitted, fit_encoder
from emofuse.training.adaptation.network import Adapting, SpeechAdapting, TextAdapting, make_head
from emofuse.training.adaptation.options import AdaptOptions
from emofuse.training.adaptation.whisper import WhisperAdapting
from emofuse.training.checkpoint import write_tensors
from emofuse.training.folder import keep_or_compare, locked

__all__ = ["AdaptedEncoder", "adapt"]

PLAN, CHECKPOINT, UNSIGNED = "adapting.json", "adapting.safetensors", "config.json.new"
FOLD, HEAD, WEIGHTS, CONFIG = "fold.json", "head.safetensors", "model.safetensors", "config.json"


@dataclass(frozen=True)
class AdaptedEncoder:
    """An encoder that was adapted.

    Attributes:
        folder: in Hugging Face layout; its path is an encoder's name everywhere.
        note: what ``emofuse-adapted.json`` holds.
    """

    folder: Path
    note: Mapping[str, Any]


def adapt(
    manifest: Manifest,
    options: AdaptOptions,
    folder: Path | str,
    progress: Progress = silent,
    *,
    fold: Fold | None = None,
    scheme: LabelScheme | None = None,
) -> AdaptedEncoder:
    """Adapt an encoder and write it to a folder that any recipe can name.

    Nothing outside the fold's train part is learnt from, and nothing but dev decides when to stop.
    The same call goes on where it was stopped; where it is finished, it is only read.

    Args:
        manifest: the utterances.
        options: what and how.
        folder: new, empty, or of the same adaptation.
        progress: told of the stages ``check audio`` and ``adapt``.
        fold: a fold that was audited already, in the place of the options' protocol.
        scheme: the label scheme that the options name, where it is at hand.

    Raises:
        UsageError: the folder holds something else.
        OptionError: options that do not fit the encoder.
        ProtocolError: no such fold, or a fold that leaks.
        TrainingError: nothing to learn from, or a training that diverged.
        EncoderError: the encoder cannot be had, or is of an architecture not known here.
    """
    folder = Path(folder).expanduser()
    base = find_folder(options.encoder)
    if folder.resolve() == base.path.resolve():
        raise UsageError(f"{folder} is the encoder itself; take another folder for the adapted one")
    with locked(folder):
        _claim(folder)
        corpus = gather_material(manifest, options, progress, fold, scheme)
        plan = _plan(options, base, corpus)
        if (folder / CONFIG).exists():
            return _finished(folder, plan)
        keep_or_compare(folder / PLAN, plan, "options, encoder or data")
        encoder, head = _build(options, base, corpus)
        fitted = fit_encoder(
            encoder,
            head,
            corpus,
            options=options,
            checkpoint=folder / CHECKPOINT,
            progress=progress,
        )
        note = _note(plan, base, corpus, encoder, fitted)
        _export(folder, base, encoder, head)
        _sign(folder, corpus, note)
    return AdaptedEncoder(folder, note)


def _claim(folder: Path) -> None:
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    if names and not names & {PLAN, ADAPTED}:
        raise UsageError(
            f"{folder} is not empty and holds no adaptation ({min(names)}); take a new folder"
        )


def _plan(options: AdaptOptions, base: ModelFolder, corpus: Corpus) -> dict[str, Any]:
    """Everything that decides the weights; a folder is of one plan."""
    given = options.model_dump(mode="json", exclude={"device", "encoder"})
    return {
        "options": {"pooling": options.encoder.pooling, **given},
        "base": {"name": base.name, "revision": base.revision},
        "utterances": {**corpus.note, "inherited": _inherited(base)},
    }


def _inherited(base: ModelFolder) -> list[str]:
    before = read_adapted(base.path)
    return [] if before is None else sorted(before.ids)


def _finished(folder: Path, plan: Mapping[str, Any]) -> AdaptedEncoder:
    note = read_json(folder / ADAPTED)
    if not isinstance(note, dict) or note.get("plan") != _key(plan):
        raise UsageError(
            f"{folder} holds an encoder that was adapted by other options or data; take a new "
            "folder"
        )
    return AdaptedEncoder(folder, note)


def _key(plan: Mapping[str, Any]) -> str:
    return sha256_text(json.dumps(plan, sort_keys=True))


def _build(
    options: AdaptOptions, base: ModelFolder, corpus: Corpus
) -> tuple[Adapting, nn.Sequential]:
    import torch

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder: Adapting
    if options.modality == "audio":
        kind = WhisperAdapting if base.kind == "whisper" else SpeechAdapting
        encoder = kind(base, options.freeze_layers, device)
    else:
        encoder = TextAdapting(base, options.freeze_layers, device, options.encoder.pooling)
    contrastive = options.objective == "contrastive"
    outputs = options.value("projection") if contrastive else len(corpus.classes)
    with seeded(options.seed):
        head = make_head(encoder.dim, outputs, hidden=contrastive)
    return encoder, head.to(device)


def _note(
    plan: Mapping[str, Any], base: ModelFolder, corpus: Corpus, encoder: Adapting, fitted: Fitted
) -> dict[str, Any]:
    before = read_adapted(base.path)
    options = plan["options"]
    return {
        "version": 1,
        "emofuse": __version__,
        "plan": _key(plan),
        "base": {**plan["base"], "provenance": asdict(folder_provenance(base))},
        "modality": options["modality"],
        "objective": options["objective"],
        "labels": options["objective"] == "supervised",
        "classes": list(corpus.classes),
        "options": options,
        "frozen_layers": encoder.frozen,
        "parameters": {
            "learnt": sum(one.numel() for one in encoder.learnt().values()),
            "all": sum(one.numel() for one in encoder.model.parameters()),
        },
        "corpora": sorted({*corpus.corpora, *(() if before is None else before.corpora)}),
        "fold": None if corpus.fold is None else corpus.fold.name,
        "utterances": plan["utterances"],
        "quarantined": dict(corpus.quarantined),
        "absent": corpus.absent,
        "seed": options["seed"],
        "losses": fitted.history,
        "best_epoch": fitted.best,
    }


def _export(folder: Path, base: ModelFolder, encoder: Adapting, head: nn.Module) -> None:
    """Write what the loader reads but ``config.json``; without it no folder is a model."""
    for pattern in SETTINGS:
        for file in sorted(base.path.glob(pattern)):
            if file.name != CONFIG:
                _copy(file, folder / file.name)
    with tempfile.TemporaryDirectory(prefix=".saved-", dir=folder) as place:
        saved = Path(place)
        try:
            with quiet_transformers():
                encoder.model.save_pretrained(saved, max_shard_size="1000GB")
        except OSError as error:
            raise TrainingError(f"cannot write {folder}: {error.strerror or error}") from error
        _copy(saved / WEIGHTS, folder / WEIGHTS)
        _copy(saved / CONFIG, folder / UNSIGNED)
    weights = {n: one.detach().cpu().contiguous() for n, one in head.state_dict().items()}
    write_tensors(folder / HEAD, weights, {"format": "pt"})


def _sign(folder: Path, corpus: Corpus, note: Mapping[str, Any]) -> None:
    """Write what the encoder saw, and only then make the folder a model."""
    if corpus.fold is not None:
        write_json(folder / FOLD, {"folds": [asdict(corpus.fold)]})
    write_json(folder / ADAPTED, note)
    (folder / UNSIGNED).replace(folder / CONFIG)
    for name in (CHECKPOINT, PLAN):
        (folder / name).unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
