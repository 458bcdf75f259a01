"""A bundle: a trained model as three files that any emofuse can load and none can run as code.

``model.safetensors`` holds the weights, ``config.json`` everything needed to use them, and
``README.md`` is the model card. Nothing is pickled; a bundle names its model and encoders, it
never brings code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import safetensors.torch
import torch
from pydantic import Field
from safetensors import SafetensorError
from torch import Tensor

from emofuse import __version__
from emofuse.errors import BundleError, OptionError, nearest_hint, shorten
from emofuse.labels import LabelScheme
from emofuse.manifest import Modality
from emofuse.models import MODELS
from emofuse.models.card import model_card
from emofuse.models.contract import FusionModel, ModelSpec
from emofuse.options import Options
from emofuse.storage import write_bytes, write_json, write_text

__all__ = [
    "CONFIG_NAME",
    "FORMAT",
    "WEIGHTS_NAME",
    "BundleConfig",
    "DataNote",
    "ModelNote",
    "ProtocolNote",
    "read_bundle",
    "read_config",
    "write_bundle",
]

FORMAT = 1  # raised when an older emofuse could no longer read the bundle
WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
CARD_NAME = "README.md"
MAX_CONFIG_BYTES = 4 << 20
LocalFolder = Annotated[str, Field(pattern=r"^encoders/(audio|text|video)$")]


class ModelNote(Options):
    """Which model, with which options.

    Attributes:
        name: name in the registry of models.
        options: every option of the model, resolved.
    """

    name: str = Field(min_length=1)
    options: dict[str, Any] = Field(default_factory=dict)


class ProtocolNote(Options):
    """How the figures of a bundle were measured.

    Attributes:
        name: name of the protocol.
        stamp: the audit in one line, as printed in tables.
        speaker_independent: ``yes``, ``no`` or ``unknown``.
    """

    name: str = "unknown"
    stamp: str = "not audited"
    speaker_independent: str = "unknown"


class DataNote(Options):
    """What a bundle learnt from.

    Attributes:
        corpora: names of the training corpora.
        licences: corpus -> licence.
        utterances: number of utterances it was fitted on, where known.
        languages: languages of the utterances, where known.
    """

    corpora: tuple[str, ...] = ()
    licences: dict[str, str] = Field(default_factory=dict)
    utterances: int | None = None
    languages: tuple[str, ...] = ()


class BundleConfig(Options):
    """Everything that a bundle knows besides its weights.

    Attributes:
        format: version of this layout; a newer one is refused.
        emofuse: version of emofuse that wrote the bundle.
        model: model name and options.
        dims: modality -> feature size, in the model's order.
        scheme: the label scheme; its classes are the model's outputs, in order.
        encoders: modality -> description that is enough to encode again: ``spec``, ``revision``,
            ``dim``, ``frame_rate``, ``sample_rate``, ``provenance``.
        protocol: how the metrics were measured.
        metrics: metric -> figure (``ua``, ``ua_low``, ``ua_high``, ``wa``, ``wf1``, ``mf1`` ...).
        data: training corpora and their licences.
        calibration: how logits become answers (`evaluation.rules.AnswerRules`), fitted on what the
            training held out; None where nothing was.
        trained_with_dropout: whether whole modalities were left out in training, so that an
            answer from fewer modalities can be relied on.
        encoders_local: modality -> folder inside the bundle, where the encoder learned in the run
            and travels with it.
        hashes: file name -> SHA-256; written by `write_bundle`.
    """

    format: int = Field(default=FORMAT, ge=1)
    emofuse: str = __version__
    model: ModelNote
    dims: dict[Modality, int] = Field(min_length=1)
    scheme: LabelScheme
    encoders: dict[Modality, dict[str, Any]]
    protocol: ProtocolNote = ProtocolNote()
    metrics: dict[str, float | None] = Field(default_factory=dict)
    data: DataNote = DataNote()
    calibration: dict[str, Any] | None = None
    trained_with_dropout: bool = False
    encoders_local: dict[Modality, LocalFolder] = Field(default_factory=dict)
    hashes: dict[str, str] = Field(default_factory=dict)

    @property
    def model_spec(self) -> ModelSpec:
        """The sizes that the model is built for."""
        return ModelSpec(
            dims={str(name): size for name, size in self.dims.items()},
            classes=len(self.scheme.classes),
        )


def write_bundle(folder: Path, model: FusionModel, config: BundleConfig) -> None:
    """Write a bundle; an older one in the folder is replaced.

    The configuration goes last: a write that was cut short is found by its hash.

    Args:
        folder: created if missing.
        model: the model, on any device.
        config: what it is; ``hashes``, ``format`` and the version are filled in here.

    Raises:
        BundleError: model and configuration do not fit, or a weight is NaN or infinite.
        WorkError: the folder cannot be written.
    """
    _check_fit(model, config)
    state = {name: part.detach().cpu().contiguous() for name, part in model.state_dict().items()}
    _check_finite(state, folder)
    weights = safetensors.torch.save({name: part.clone() for name, part in state.items()})
    digest = hashlib.sha256(weights).hexdigest()
    final = config.model_copy(
        update={
            "format": FORMAT,
            "emofuse": __version__,
            "hashes": {WEIGHTS_NAME: digest},
        }
    )
    write_bytes(folder / WEIGHTS_NAME, weights)
    write_text(folder / CARD_NAME, model_card(final, state))
    write_json(folder / CONFIG_NAME, final.model_dump(mode="json"))


def read_bundle(folder: Path) -> tuple[FusionModel, BundleConfig]:
    """Load a bundle: the model in evaluation mode on the processor, and its configuration.

    Raises:
        BundleError: a file is missing or damaged, the weights are not the ones described, or the
            bundle is of a newer format.
    """
    config = read_config(folder)
    state = _read_weights(folder, config)
    model_type = _model_type(folder, config)
    try:
        options = model_type.options_type.parse(config.model.options, f"model {config.model.name}")
        with torch.device("meta"):  # sizes alone, so that absurd ones cost no memory
            expected = model_type(config.model_spec, options).state_dict()
        _check_shapes(folder, expected, state)
        with torch.random.fork_rng(devices=[]):
            model = model_type(config.model_spec, options)
    except OptionError as error:
        raise BundleError(f"{folder / CONFIG_NAME}: {error}") from error
    model.load_state_dict(state)
    return model.eval(), config


def read_config(folder: Path) -> BundleConfig:
    """Read the configuration of a bundle alone.

    Raises:
        BundleError: no bundle, no JSON, an unknown key, or a newer format.
    """
    path = folder / CONFIG_NAME
    record = _read_record(folder, path)
    version = record.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BundleError(f"{path}: format {shorten(version)} is no emofuse bundle format")
    if version > FORMAT:
        raise BundleError(
            f"{path} has format {version}, this emofuse reads up to {FORMAT}; upgrade emofuse"
        )
    try:
        config = BundleConfig.parse(record, str(path))
    except OptionError as error:
        raise BundleError(str(error)) from error
    absent = [name for name in config.dims if name not in config.encoders]
    if absent:
        raise BundleError(f"{path}: no encoder is described for {absent[0]!r}")
    return config


def _read_record(folder: Path, path: Path) -> dict[str, Any]:
    try:
        if not folder.is_dir():
            what = "a file" if folder.is_file() else "missing"
            raise BundleError(f"{folder} is {what}; a bundle is a folder with {CONFIG_NAME}")
        if not path.is_file():
            raise BundleError(f"{folder} is no bundle: it holds no {CONFIG_NAME}")
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise BundleError(f"{path} is over {MAX_CONFIG_BYTES:,} bytes: not a bundle's")
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise BundleError(f"{path} is not a JSON object")
    return record


def _read_weights(folder: Path, config: BundleConfig) -> dict[str, Tensor]:
    path = folder / WEIGHTS_NAME
    promised = config.hashes.get(WEIGHTS_NAME)
    if promised is None:
        raise BundleError(f"{folder / CONFIG_NAME} holds no hash of {WEIGHTS_NAME}")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise BundleError(f"{folder} is no whole bundle: it holds no {WEIGHTS_NAME}") from error
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror or error}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != promised:
        raise BundleError(
            f"{path} ({len(data):,} bytes) is not the file that {CONFIG_NAME} describes: SHA-256 "
            f"{found[:12]} instead of {promised[:12]}; it is cut short or altered, copy it again"
        )
    try:
        state: dict[str, Tensor] = safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise BundleError(f"{path} is no safetensors file: {error}") from error
    _check_finite(state, path)
    return state


def _model_type(folder: Path, config: BundleConfig) -> type[FusionModel]:
    if config.model.name not in MODELS:
        hint = nearest_hint(config.model.name, MODELS.names())
        raise BundleError(
            f"{folder / CONFIG_NAME}: unknown model {shorten(config.model.name)}; {hint}; "
            "a plug-in model needs its package installed"
        )
    loaded: type[FusionModel] = MODELS.load(config.model.name)
    return loaded


def _check_fit(model: FusionModel, config: BundleConfig) -> None:
    if dict(model.spec.dims) != dict(config.dims):
        raise BundleError(
            f"the model takes sizes {dict(model.spec.dims)}, the configuration says {config.dims}"
        )
    if model.spec.classes != len(config.scheme.classes):
        raise BundleError(
            f"the model has {model.spec.classes} classes, scheme {config.scheme.name!r} has "
            f"{len(config.scheme.classes)}"
        )


def _check_shapes(folder: Path, expected: Mapping[str, Tensor], state: dict[str, Tensor]) -> None:
    path = folder / WEIGHTS_NAME
    for name in sorted({*expected, *state}):
        if name not in state:
            raise BundleError(f"{path} lacks the tensor {name!r} that {CONFIG_NAME} calls for")
        if name not in expected:
            raise BundleError(f"{path} holds {name!r}, which {CONFIG_NAME} does not call for")
        if expected[name].shape != state[name].shape:
            raise BundleError(
                f"{path}: {name!r} has shape {tuple(state[name].shape)}, {CONFIG_NAME} calls for "
                f"{tuple(expected[name].shape)}; classes or feature sizes were changed"
            )


def _check_finite(state: Mapping[str, Tensor], place: Path) -> None:
    for name, part in state.items():
        if part.is_floating_point() and not bool(torch.isfinite(part).all()):
            raise BundleError(f"{place}: {name!r} holds NaN or infinity; the training diverged")
