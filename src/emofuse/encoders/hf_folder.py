"""Where a Hugging Face model lies, what it is, and how its weights are read.

A local folder is never a reason to touch the network. A hub name is downloaded once, to the hub's
own cache, and read from there. No code of a checkpoint is run; safetensors weights are taken where
there are any, else ``.bin`` files through PyTorch's weights-only reader.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from emofuse.encoders import ENCODERS
from emofuse.encoders.contract import EncoderSpec
from emofuse.errors import EncoderError, OptionError, shorten
from emofuse.storage import sha256_file

__all__ = ["ModelFolder", "find_folder", "quiet_transformers", "read_model"]

SAFE = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json")
SETTINGS = (
    "config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
)
_HUB_NAME = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?")
_UNUSED = re.compile(r"masked_spec_embed|^pooler\.|\.pooler\.|position_ids|^adapter\.|^decoder\.")


@dataclass(frozen=True)
class ModelFolder:
    """A model on disk.

    Attributes:
        path: the folder.
        name: hub name, or the folder's own name.
        revision: commit on the hub, or a hash of the folder's settings and weights.
        config: what ``config.json`` says.
    """

    path: Path
    name: str
    revision: str
    config: dict[str, Any]

    @property
    def kind(self) -> str:
        """The architecture (``model_type``)."""
        return str(self.config.get("model_type", ""))

    def settings(self, name: str) -> dict[str, Any]:
        """Read another JSON file of the folder; empty where there is none."""
        path = self.path / name
        return _read_object(path) if path.is_file() else {}


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EncoderError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise EncoderError(f"{path} is not a JSON object")
    return value


def find_folder(spec: EncoderSpec) -> ModelFolder:
    """Find the folder of a model: a local one, or the hub's, downloaded if need be.

    Raises:
        OptionError: the name is neither a folder nor a legal hub name.
        EncoderError: the folder holds no model, or the hub cannot be reached or has none.
    """
    local = Path(spec.name).expanduser()
    if local.is_dir():
        if spec.revision != "main":
            raise OptionError(f"{spec.name} is a local folder: it has no revision to choose")
        return _open_local(local)
    if not _HUB_NAME.fullmatch(spec.name) or spec.name.startswith("."):
        raise OptionError(
            f"encoder {shorten(spec.name)} is neither built in ({', '.join(ENCODERS.names())}) "
            "nor a folder, and no hub name looks like this; check the path"
        )
    near = get_close_matches(spec.name, ENCODERS.names(), n=1, cutoff=0.75)
    if near:
        raise OptionError(
            f"unknown encoder {spec.name!r}; did you mean {near[0]!r}? "
            f"built in: {', '.join(ENCODERS.names())}; else a folder or a hub name"
        )
    return _open_hub(spec)


def _open_local(path: Path) -> ModelFolder:
    if not (path / "config.json").is_file():
        raise EncoderError(f"{path} holds no config.json; an encoder is a Hugging Face folder")
    return ModelFolder(
        path, path.resolve().name, _fingerprint(path), _read_object(path / "config.json")
    )


def _weights(path: Path) -> list[Path]:
    for patterns in (SAFE, PICKLED):
        found = sorted(file for pattern in patterns for file in path.glob(pattern))
        if found:
            return found
    raise EncoderError(
        f"{path} holds no weights; expected model.safetensors (or pytorch_model.bin)"
    )


def _fingerprint(path: Path) -> str:
    """Hash the settings and weights of a folder; a file is hashed again only if it changed."""
    files = sorted(file for pattern in SETTINGS for file in path.glob(pattern)) + _weights(path)
    total = hashlib.sha256()
    for file in files:
        state = file.stat()
        digest = _hash_file(str(file.resolve()), state.st_size, state.st_mtime_ns)
        total.update(f"{file.name}={digest}\n".encode())
    return f"sha256:{total.hexdigest()[:32]}"


@lru_cache(maxsize=256)
def _hash_file(path: str, size: int, modified: int) -> str:
    return sha256_file(Path(path))


def _open_hub(spec: EncoderSpec) -> ModelFolder:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        path = Path(
            snapshot_download(spec.name, revision=spec.revision, allow_patterns=[*SETTINGS, *SAFE])
        )
        if not any(path.glob("model*.safetensors")):
            path = Path(
                snapshot_download(
                    spec.name, revision=spec.revision, allow_patterns=[*SETTINGS, *PICKLED]
                )
            )
    except LocalEntryNotFoundError as error:
        raise EncoderError(
            f"encoder {spec.name!r} is neither built in ({', '.join(ENCODERS.names())}) nor a "
            "folder here, and the Hugging Face hub cannot be reached; give a local folder, or "
            "try again online"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise EncoderError(
            f"encoder {spec.name!r} (revision {spec.revision!r}) cannot be had from the Hugging "
            f"Face hub: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    config = _read_object(path / "config.json")
    return ModelFolder(path, spec.name, f"hub:{path.name}", config)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from writing to the terminal, and put its settings back afterwards."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def read_model(folder: ModelFolder, architecture: Any = None, **options: Any) -> Any:
    """Read a model's weights in fp32, for inference.

    Args:
        folder: the model.
        architecture: a class of transformers; ``AutoModel`` unless told.
        options: passed on to its ``from_pretrained``.

    Raises:
        EncoderError: the weights are missing, damaged, incomplete, or need code of their own.
    """
    from transformers import AutoModel

    safe = _weights(folder.path)[0].name.startswith("model")
    try:
        with quiet_transformers():
            model, report = (architecture or AutoModel).from_pretrained(
                str(folder.path),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=safe,
                weights_only=True,
                dtype=torch.float32,
                output_loading_info=True,
                **options,
            )
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise EncoderError(f"{folder.path} cannot be loaded: {reason}") from error
    _check_complete(folder, report)
    return model.eval().requires_grad_(False)


def _check_complete(folder: ModelFolder, report: dict[str, Any]) -> None:
    missing = sorted(key for key in report.get("missing_keys", ()) if not _UNUSED.search(key))
    wrong: Sequence[Any] = list(report.get("mismatched_keys", ()))
    if missing or wrong:
        first = missing[0] if missing else wrong[0]
        raise EncoderError(
            f"{folder.path} lacks {len(missing)} weights and has {len(wrong)} of another shape "
            f"({shorten(first)}): it would run on random numbers; get the complete checkpoint"
        )
