"""Where a bundle lies, where it runs, and what its licences are."""

from __future__ import annotations

from pathlib import Path

from emofuse.encoders.onnx_graph import Graph
from emofuse.errors import BundleError, OptionError
from emofuse.models.bundle_config import CONFIG_NAME, WEIGHTS_NAME, BundleConfig, read_checked
from emofuse.recognition.fusion import Fusion

__all__ = [
    "DEFAULT",
    "check_device",
    "find_bundle",
    "licence_line",
    "load_fusion",
    "model_line",
]

DEFAULT = "default"
"""The name of the bundle that comes along with emofuse."""
_DEFAULT_FOLDER = Path(__file__).resolve().parent.parent / "default_bundle"


def check_device(name: str) -> str:
    """Give a device that is there; ``auto`` takes the graphics card where there is one.

    Raises:
        OptionError: there is no such device.
    """
    if name == "cpu":
        return name
    import torch

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


def load_fusion(folder: Path, config: BundleConfig, device: str) -> tuple[Fusion, str]:
    """Load the model of a bundle, and say on which device it runs.

    Args:
        folder: of the bundle.
        config: its configuration.
        device: ``cpu``, ``cuda`` or ``auto``.

    Raises:
        BundleError: the weights are missing, damaged, or not the ones described.
        OptionError: there is no such device, or an ONNX bundle does not run there.
    """
    if config.onnx is None:
        device = check_device(device)
        from emofuse.models.bundle import read_bundle
        from emofuse.recognition.torch_fusion import TorchFusion

        return TorchFusion(read_bundle(folder)[0], device), device
    if device not in ("auto", "cpu"):
        raise OptionError(f"device {device!r}: an ONNX bundle runs on the processor; take cpu")
    from emofuse.recognition.onnx_fusion import OnnxFusion

    name = config.onnx.file
    graph = Graph(read_checked(folder, config, name), str(folder / name))
    return OnnxFusion(graph, config.onnx, config.dims), "cpu"


def model_line(config: BundleConfig) -> str:
    """Name a model so that two trainings are told apart: ``late-fusion 0a1b2c3d4e5f``.

    An ONNX bundle has the name of what it was exported from, with its precision behind.
    """
    if config.onnx is not None:
        return f"{config.model.name} {config.onnx.source[:12]} onnx {config.onnx.precision}"
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
