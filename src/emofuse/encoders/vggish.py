"""VGGish as an encoder: ``vggish:WEIGHTS``, and its input alone: ``vggish-patches``.

A name is ``vggish``, then what is wanted, each after a ``+``, then a colon and the place of the
weights, a file or a folder: ``vggish+quantised+released:weights/vggish``.

* ``pca``: the embeddings are PCA-whitened; ``quantised``: that, and rounded to 0 ... 255.
* ``released``: clips are cut and filled up as in the released code (see `vggish_frontend`).

``vggish-patches`` takes ``released`` and has no weights: it gives what a model with a VGGish of its
own reads, patches of 96 * 64 values, flattened.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from emofuse.encoders.contract import Encoder, EncoderSpec, FloatArray, Item, Provenance
from emofuse.encoders.pooling import pooled_dim, reduced
from emofuse.encoders.settings import refuse_options, require_waveform
from emofuse.encoders.vggish_frontend import HOP, RATE, patches
from emofuse.encoders.vggish_network import (
    BANDS,
    EMBEDDING,
    FRAMES,
    Postprocess,
    Postprocessor,
    VGGishNetwork,
    fingerprint,
    read_weights,
)
from emofuse.errors import OptionError, nearest_hint, shorten

__all__ = ["VGGish", "VGGishPatches", "is_vggish", "load_vggish"]

NAMES = ("vggish", "vggish-patches")
PATCH_RATE = RATE / (HOP * FRAMES)  # patches a second


def is_vggish(name: str) -> bool:
    """Tell whether an encoder's name is one of this module's.

    >>> is_vggish("vggish+pca:weights/vggish"), is_vggish("vggish-like")
    (True, False)
    """
    return name.partition(":")[0].partition("+")[0] in NAMES


def load_vggish(spec: EncoderSpec, device: str = "cpu") -> Encoder:
    """Build the encoder of a name that `is_vggish`.

    Raises:
        OptionError: something after a ``+`` that is not known.
        EncoderError: there are no weights where the name says.
    """
    base = spec.name.partition(":")[0].partition("+")[0]
    return (VGGishPatches if base == "vggish-patches" else VGGish)(spec, device)


def _wanted(spec: EncoderSpec, legal: tuple[str, ...]) -> tuple[set[str], str]:
    """Split a name into what is wanted and the place of the weights."""
    front, _, place = spec.name.partition(":")
    wanted = front.split("+")[1:]
    for one in wanted:
        if one not in legal:
            hint = nearest_hint(one, legal)
            raise OptionError(f"encoder {shorten(spec.name)}: unknown {one!r}; {hint}")
    return set(wanted), place


class _Windowed(Encoder):
    """What both have: 16 kHz audio in patches of 0.96 s."""

    modality = "audio"
    sample_rate = RATE

    def __init__(self, spec: EncoderSpec, width: int, device: str) -> None:
        refuse_options(spec, "layer", "dim", "revision", "precision", strides=True)
        self.spec, self._device = spec, device
        pooled = spec.granularity == "pooled"
        self.dim = pooled_dim(spec.pooling, width) if pooled else width
        self.frame_rate = None if pooled else PATCH_RATE / spec.stride

    def _finish(self, frames: FloatArray) -> FloatArray:
        return reduced(frames, self.spec)


class VGGish(_Windowed):
    """Embeddings of VGGish, 128 values every 0.96 s, or pooled.

    Args:
        spec: ``granularity``, ``pooling`` and ``stride`` count.
        device: where the network runs.

    Raises:
        OptionError: an option that it does not have, or a name without weights.
        EncoderError: there are no weights where the name says.
    """

    provenance = Provenance("Apache-2.0", ("youtube-8m",), known=True, source="arXiv:1609.09430")

    def __init__(self, spec: EncoderSpec, device: str = "cpu") -> None:
        super().__init__(spec, EMBEDDING, device)
        wanted, place = _wanted(spec, ("pca", "quantised", "released"))
        if {"pca", "quantised"} <= wanted:
            raise OptionError(f"encoder {shorten(spec.name)}: quantised includes pca; give one")
        if not place:
            raise OptionError(
                "encoder 'vggish' needs the place of its weights: vggish:FILE_OR_FOLDER"
            )
        self._released, self._place = "released" in wanted, place
        self._kind: Postprocess = "none"
        if wanted & {"pca", "quantised"}:
            self._kind = "pca" if "pca" in wanted else "quantised"
        marks = "+".join(["vggish-1", *sorted(wanted)])
        self.revision = f"{marks}:sha256:{fingerprint(place)}"
        self._network: tuple[VGGishNetwork, Postprocessor] | None = None

    def encode(self, items: Sequence[Item]) -> list[FloatArray]:
        """Give one ``(patches, 128)`` or ``(1, dim)`` array an item (see `Encoder.encode`)."""
        cut = [
            patches(require_waveform(item), released=self._released, device=self._device)
            for item in items
        ]
        network, after = self._load()
        together = torch.from_numpy(np.concatenate(cut)).to(self._device)
        with torch.inference_mode():
            found = after(network(together)).cpu().numpy()
        ends = np.cumsum([len(one) for one in cut])[:-1]
        return [self._finish(frames) for frames in np.split(found, ends)]

    def _load(self) -> tuple[VGGishNetwork, Postprocessor]:
        if self._network is None:
            network, after = VGGishNetwork(), Postprocessor(self._kind)
            read_weights(self._place, network, after)
            parts = (network.eval(), after.eval())
            for part in parts:
                part.requires_grad_(False).to(self._device)
            self._network = parts
        return self._network


class VGGishPatches(_Windowed):
    """Log-mel patches, 96 * 64 values every 0.96 s, for a model with a VGGish of its own.

    >>> encoder = VGGishPatches(EncoderSpec(name="vggish-patches", granularity="frames"))
    >>> encoder.encode([Item("a", waveform=np.zeros(20000, np.float32))])[0].shape
    (2, 6144)
    """

    provenance = Provenance(licence="none needed (a formula)", known=True)

    def __init__(self, spec: EncoderSpec, device: str = "cpu") -> None:
        super().__init__(spec, FRAMES * BANDS, device)
        wanted, place = _wanted(spec, ("released",))
        if place:
            raise OptionError("encoder 'vggish-patches' has no weights; leave out ':' and the rest")
        self._released = "released" in wanted
        self.revision = "+".join(["vggish-patches-1", *sorted(wanted)])

    def encode(self, items: Sequence[Item]) -> list[FloatArray]:
        """Give one ``(patches, 6144)`` or ``(1, dim)`` array an item (see `Encoder.encode`)."""
        return [
            self._finish(
                patches(
                    require_waveform(item), released=self._released, device=self._device
                ).reshape(-1, FRAMES * BANDS)
            )
            for item in items
        ]
