"""The VGGish network, its post-processor, and how their weights are read.

Hershey et al., "CNN architectures for large-scale audio classification", ICASSP 2017
(arXiv:1609.09430). The names of the parameters are those of the common PyTorch port, torchvggish.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from emofuse.errors import EncoderError, shorten
from emofuse.storage import sha256_file

__all__ = [
    "BANDS",
    "EMBEDDING",
    "FRAMES",
    "Postprocess",
    "Postprocessor",
    "VGGishNetwork",
    "fingerprint",
    "read_weights",
    "weight_files",
]

Postprocess = Literal["none", "pca", "quantised"]
FRAMES, BANDS = 96, 64
"""Frames of 10 ms and mel bands of a patch."""
EMBEDDING = 128
CONVOLUTIONS: tuple[int, ...] = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0)
"""Channels of each convolution; 0 is a pooling by 2."""
LIMIT = 2.0
LEVELS = 255.0
AT_ONCE = 128
"""Most patches in a pass that keeps nothing for a gradient (0.2 GB)."""


class VGGishNetwork(nn.Module):
    """Six convolutions and three dense layers, a ReLU after each: 72,141,184 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(*_convolutions())
        flat = CONVOLUTIONS[-2] * (FRAMES // 16) * (BANDS // 16)
        sizes = (flat, 4096, 4096, EMBEDDING)
        dense: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            dense += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.embeddings = nn.Sequential(*dense)

    def forward(self, patches: Tensor) -> Tensor:
        """Embed.

        Args:
            patches: ``(patches, 96, 64)`` log-mel energies.

        Returns:
            ``(patches, 128)``, 0 or more.
        """
        if torch.is_grad_enabled() or len(patches) <= AT_ONCE:
            return self._embed(patches)
        return torch.cat([self._embed(some) for some in torch.split(patches, AT_ONCE)])

    def _embed(self, patches: Tensor) -> Tensor:
        maps = self.features(patches[:, None])
        # Channels last: the order of the values in the TensorFlow original.
        embedded: Tensor = self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))
        return embedded


def _convolutions() -> Iterator[nn.Module]:
    before = 1
    for channels in CONVOLUTIONS:
        if channels:
            yield nn.Conv2d(before, channels, 3, padding=1)
            yield nn.ReLU()
            before = channels
        else:
            yield nn.MaxPool2d(2, 2)


class Postprocessor(nn.Module):
    """PCA-whitening of an embedding, then, if asked for, 8 bits.

    The matrix and the means are buffers: saved and moved with the module. Until weights are read
    they are the identity and 0.

    Args:
        kind: ``none``; ``pca``; or ``quantised``: clipped to [-2, 2] and rounded to 0 ... 255. The
            derivative of rounding is 0: no gradient passes a quantised embedding.
    """

    pca_eigen_vectors: Tensor
    pca_means: Tensor

    def __init__(self, kind: Postprocess) -> None:
        super().__init__()
        self.kind = kind
        if kind != "none":
            self.register_buffer("pca_eigen_vectors", torch.eye(EMBEDDING))
            self.register_buffer("pca_means", torch.zeros(EMBEDDING, 1))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Process ``(..., 128)``."""
        if self.kind == "none":
            return embeddings
        whitened = (embeddings - self.pca_means[:, 0]) @ self.pca_eigen_vectors.T
        if self.kind == "pca":
            return whitened
        return torch.round((whitened.clamp(-LIMIT, LIMIT) + LIMIT) * (LEVELS / (2 * LIMIT)))


def weight_files(place: str | Path) -> list[Path]:
    """Find the weights: a file, or every ``.safetensors``, else ``.pth``, ``.pt``, of a folder.

    Raises:
        EncoderError: there are none.
    """
    path = Path(place).expanduser()
    if path.is_file():
        return [path]
    for endings in ((".safetensors",), (".pth", ".pt")):
        found = sorted(one for one in path.glob("*") if one.suffix in endings and one.is_file())
        if found:
            return found
    raise EncoderError(
        f"no VGGish weights at {shorten(str(path))}; give a .safetensors or .pth file, or a "
        "folder of them (docs/systems/four-m-ser.md says where to get them)"
    )


def fingerprint(place: str | Path) -> str:
    """Hash the weights; a file is hashed again only if it changed.

    Raises:
        EncoderError: there are none.
    """
    total = hashlib.sha256()
    for file in weight_files(place):
        state = file.stat()
        total.update(_hash_file(str(file.resolve()), state.st_size, state.st_mtime_ns).encode())
    return total.hexdigest()[:32]


@lru_cache(maxsize=16)
def _hash_file(path: str, size: int, modified: int) -> str:
    return sha256_file(Path(path))


def read_weights(place: str | Path, network: VGGishNetwork, after: Postprocessor) -> None:
    """Read the weights of the network, and of the post-processor where it has any.

    Args:
        place: a file or a folder (see `weight_files`).
        network: takes ``features.*`` and ``embeddings.*``.
        after: takes ``pca_eigen_vectors`` and ``pca_means`` (with or without ``pproc.``).

    Raises:
        EncoderError: no weights, or damaged, incomplete or of another shape.
    """
    found: dict[str, Tensor] = {}
    for file in weight_files(place):
        found |= {key.removeprefix("pproc."): part for key, part in _read(file).items()}
    for module in (network, after):
        wanted = module.state_dict()
        missing = sorted(set(wanted) - set(found))
        if missing:
            raise EncoderError(
                f"{shorten(str(place))} lacks {len(missing)} weights of VGGish ({missing[0]})"
            )
        taken = {
            key: found[key].reshape(-1, 1) if key == "pca_means" else found[key] for key in wanted
        }
        wrong = [key for key, part in taken.items() if part.shape != wanted[key].shape]
        if wrong:
            shape = tuple(taken[wrong[0]].shape)
            raise EncoderError(
                f"{shorten(str(place))}: {wrong[0]} is of shape {shape}, not "
                f"{tuple(wanted[wrong[0]].shape)}"
            )
        module.load_state_dict(taken)


def _read(file: Path) -> Mapping[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(file))
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise EncoderError(f"{file} cannot be read as weights: {shorten(reason)}") from error
    if not isinstance(state, Mapping):
        raise EncoderError(f"{file} holds no state dict")
    return {
        str(key): torch.as_tensor(part) for key, part in state.items() if isinstance(part, Tensor)
    }
