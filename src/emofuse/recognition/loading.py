"""Where a bundle lies, where it runs, and what its licences are."""

from __future__ import annotations

from pathlib import Path

import torch

from emofuse.errors import BundleError, OptionError
from emofuse.models.bundle import CONFIG_NAME, WEIGHTS_NAME, BundleConfig

__all__ = ["DEFAULT", "check_device", "find_bundle", "licence_line", "model_line"]

DEFAULT = "default"
"""The name of the bundle that comes along with emofuse."""
_DEFAULT_FOLDER = Path(__file__).resolve().parent.parent / "default_bundle"


def check_device(name: str) -> str:
    """Give a device that is there; ``auto`` takes the graphics card where there is one.

    Raises:
        OptionError: there is no such device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise OptionError(f"unknown device {name!r}; legal: auto, cpu, cuda, cuda:N") from error
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise OptionError(f"device {name!r} is not to be had here; take cpu or auto")
    return name


def find_bundle(path: Path | str | None = None) -> Path:
    """Find a bundle.

    Args:
        path: a run directory, or the bundle inside one; None or ``"default"`` (text, not
            a `Path`) is the bundle that comes along; a folder of that name is ``"./default"``.

    Raises:
        BundleError: a run that has no bundle yet, or no bundle came along.
    """
    if path is None or path == DEFAULT:
        if not (_DEFAULT_FOLDER / CONFIG_NAME).is_file():
            raise BundleError("no default bundle in this installation; name a run or bundle")
        return _DEFAULT_FOLDER
    path = Path(path)
    for folder in (path, path / "bundle"):
        if (folder / CONFIG_NAME).is_file():
            return folder
    if (path / "recipe.yaml").is_file():
        raise BundleError(
            f"{path} is a run without a bundle; finish it with the same 'emofuse train' command"
        )
    if (path / "bundle").is_dir():
        return path / "bundle"
    return path


def model_line(config: BundleConfig) -> str:
    """Name a model so that two trainings are told apart: ``late-fusion 0a1b2c3d4e5f``."""
    return f"{config.model.name} {config.hashes.get(WEIGHTS_NAME, '')[:12]}".strip()


def licence_line(config: BundleConfig) -> str:
    """Say under which licences a model's data and encoders stand.

    ``data: CC0-1.0; encoders: MIT``; what nobody wrote down is ``unknown``.
    """
    data = sorted(set(config.data.licences.values())) or ["unknown"]
    encoders = sorted(
        {
            str((config.encoders[name].get("provenance") or {}).get("licence", "unknown"))
            for name in config.dims
        }
    )
    return f"data: {', '.join(data)}; encoders: {', '.join(encoders)}"
