"""A bundle: a trained model as three files that any emofuse can load and none can run as code.

``model.safetensors`` holds the weights, ``config.json`` everything needed to use them, and
``README.md`` is the model card. Nothing is pickled; a bundle names its model and encoders, it
never brings code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from emofuse import __version__
from emofuse.errors import BundleError, OptionError, nearest_hint, shorten
from emofuse.models import MODELS
from emofuse.models.bundle_config import (
    CARD_NAME,
    CONFIG_NAME,
    FORMAT,
    WEIGHTS_NAME,
    BundleConfig,
    DataNote,
    ModelNote,
    ProtocolNote,
    read_checked,
    read_config,
)
from emofuse.models.card import model_card
from emofuse.models.contract import FusionModel
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
    if config.onnx is not None:
        raise BundleError(
            f"{folder} is an ONNX bundle: it recognises and does nothing else; take the run that "
            "it was exported from"
        )
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


def _read_weights(folder: Path, config: BundleConfig) -> dict[str, Tensor]:
    path = folder / WEIGHTS_NAME
    data = read_checked(folder, config, WEIGHTS_NAME)
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
