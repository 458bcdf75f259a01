"""Where an emotion2vec model lies, whether it may be read, and how FunASR reads it.

FunASR evaluates a line of ``config.yaml`` as code and opens ``model.pt`` by `torch.load`. Both are
checked here first: the line may hold nothing but numbers and brackets, and the weights must pass
PyTorch's weights-only reader. FunASR is kept from fetching anything, printing, and moving the
process's random numbers, threads and log.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import random
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emofuse.encoders.contract import EncoderSpec
from emofuse.errors import EncoderError, MissingExtraError, OptionError, UsageError
from emofuse.options import load_yaml
from emofuse.storage import sha256_file

__all__ = ["Emotion2VecFolder", "is_emotion2vec", "open_folder", "read_model"]

CONFIG, WEIGHTS = "config.yaml", "model.pt"
FILES = (CONFIG, WEIGHTS, "tokens.txt")
MODELSCOPE = ("iic", "damo")
HUB_NAME = re.compile(rf"({'|'.join(MODELSCOPE)}|emotion2vec)/emotion2vec_\w+")
HARMLESS = re.compile(r"[\d\s()\[\],+*]{1,500}")
KIND = "Emotion2vec"


@dataclass(frozen=True)
class Emotion2VecFolder:
    """A model on disk.

    Attributes:
        path: the folder.
        name: hub name, or the folder's own name.
        revision: a hash of its settings and weights.
        width: size of a frame.
    """

    path: Path
    name: str
    revision: str
    width: int


def is_emotion2vec(name: str) -> bool:
    """Tell whether an encoder's name is that of an emotion2vec model, on a hub or in a folder.

    >>> is_emotion2vec("iic/emotion2vec_plus_large"), is_emotion2vec("facebook/hubert-base-ls960")
    (True, False)
    """
    if HUB_NAME.fullmatch(name):
        return True
    config = Path(name).expanduser() / CONFIG
    return config.is_file() and _settings(config).get("model") == KIND


def _settings(config: Path) -> dict[str, Any]:
    try:
        found = load_yaml(config)
    except UsageError as error:
        raise EncoderError(f"{config} cannot be read: {error}") from error
    return found if isinstance(found, dict) else {}


def open_folder(spec: EncoderSpec) -> Emotion2VecFolder:
    """Find the folder of a model: a local one, or the hub's, downloaded if need be.

    Raises:
        OptionError: a revision of a local folder.
        EncoderError: the hub cannot be reached, or what it has is no emotion2vec model.
        MissingExtraError: a model of ModelScope, and FunASR is not installed.
    """
    path, name = Path(spec.name).expanduser(), spec.name
    if path.is_dir():
        if spec.revision != "main":
            raise OptionError(f"{spec.name} is a local folder: it has no revision to choose")
        name = path.resolve().name
    else:
        path = _download(spec)
    for file in (CONFIG, WEIGHTS):
        if not (path / file).is_file():
            raise EncoderError(f"{path} holds no {file}; it is no complete emotion2vec model")
    return Emotion2VecFolder(path, name, _fingerprint(path), _width(path / CONFIG))


def _width(config: Path) -> int:
    """Check what FunASR would trust, and give the size of a frame."""
    settings = _settings(config)
    model: Any = settings.get("model_conf")
    try:
        width = int(model["embed_dim"])
        layers = str(model["modalities"]["audio"]["feature_encoder_spec"])
    except (KeyError, TypeError, ValueError):
        width, layers = 0, ""
    if settings.get("model") != KIND or width < 1:
        raise EncoderError(f"{config} does not describe an emotion2vec model")
    if not HARMLESS.fullmatch(layers):
        raise EncoderError(f"{config}: feature_encoder_spec holds more than numbers and brackets")
    return width


def _fingerprint(path: Path) -> str:
    total = hashlib.sha256()
    for file in (path / name for name in FILES):
        if file.is_file():
            state = file.stat()
            digest = _hash_file(str(file.resolve()), state.st_size, state.st_mtime_ns)
            total.update(f"{file.name}={digest}\n".encode())
    return f"sha256:{total.hexdigest()[:32]}"


@lru_cache(maxsize=64)
def _hash_file(path: str, size: int, modified: int) -> str:
    return sha256_file(Path(path))


def _download(spec: EncoderSpec) -> Path:
    import huggingface_hub

    hub: Any = huggingface_hub
    revision = spec.revision
    if spec.name.partition("/")[0] in MODELSCOPE:
        try:
            hub = import_module("modelscope")
        except ImportError as error:
            raise MissingExtraError("funasr", "emotion2vec") from error
        revision = "master" if revision == "main" else revision
    try:
        with _kept():
            return Path(
                hub.snapshot_download(spec.name, revision=revision, allow_patterns=list(FILES))
            )
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise EncoderError(f"encoder {spec.name!r} cannot be had from its hub: {reason}") from error


def read_model(folder: Emotion2VecFolder, device: str) -> Any:
    """Let FunASR read a model.

    Returns:
        Its ``AutoModel``, for inference.

    Raises:
        EncoderError: the weights are damaged, lacking, or more than weights; or FunASR fails.
        MissingExtraError: FunASR is not installed.
    """
    weights = folder.path / WEIGHTS
    try:
        held = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise EncoderError(f"{weights} cannot be read as weights alone: {reason}") from error
    with _kept():
        try:
            from funasr import AutoModel
        except ImportError as error:
            raise MissingExtraError("funasr", "emotion2vec") from error
        try:
            model = AutoModel(
                model=str(folder.path),
                model_path=str(folder.path),
                config=str(folder.path / CONFIG),
                init_param=str(weights),
                device=device,
                ncpu=torch.get_num_threads(),
                disable_update=True,
                disable_pbar=True,
                trust_remote_code=False,
                log_level="ERROR",
            )
        except Exception as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise EncoderError(f"FunASR cannot read {folder.path}: {reason}") from error
    _check_complete(folder, model, held)
    return model


def _check_complete(folder: Emotion2VecFolder, model: Any, held: Any) -> None:
    """FunASR prints the names of weights that a checkpoint lacks, and goes on with random ones."""
    for key in ("state_dict", "model_state_dict", "model"):
        held = held[key] if isinstance(held, dict) and key in held else held
    given = {name.removeprefix("module."): one for name, one in dict(held).items()}
    wanted = model.model.state_dict()
    lacking = [n for n, one in wanted.items() if n not in given or given[n].shape != one.shape]
    if lacking:
        raise EncoderError(
            f"{folder.path} lacks {len(lacking)} weights ({lacking[0]}): it would run on random "
            "numbers; get the complete checkpoint"
        )


@contextlib.contextmanager
def _kept() -> Iterator[None]:
    """Keep the terminal quiet and the process as it was: random numbers, threads, log."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers), torch.get_num_threads(), root.manager.disable)
    drawn, state = random.getstate(), np.random.get_state()  # noqa: NPY002 (FunASR seeds it)
    aside = io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with (
            torch.random.fork_rng(),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(aside),
            contextlib.redirect_stderr(aside),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]
        torch.set_num_threads(before[2])
        logging.disable(before[3])
        random.setstate(drawn)
        np.random.set_state(state)  # noqa: NPY002
