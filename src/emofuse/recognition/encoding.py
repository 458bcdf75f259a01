"""The encoders of a bundle: the very ones it was trained with, or none."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import numpy as np

from emofuse.encoders.build import IMPORTED, load_encoder
from emofuse.encoders.contract import Encoder, EncoderSpec, FloatArray, Item
from emofuse.errors import BundleError, EmofuseError, EncoderError, OptionError, nearest_hint
from emofuse.manifest import Modality
from emofuse.models.bundle_config import BundleConfig, OnnxNote, read_checked

__all__ = ["BundleEncoders", "Wanted"]

Wanted = Literal["auto", "fp32", "bf16"]
"""What encoders of PyTorch may be told to compute in."""


class BundleEncoders:
    """Loads the encoders that a bundle describes, each when it is first needed.

    Args:
        config: the bundle's configuration.
        device: ``cpu``, ``cuda`` or ``auto``.
        moved: modality -> where its encoder lies now.
        folder: of the bundle, for encoders that travel with it.
        precision: what the encoders compute in: ``fp32``, ``bf16``, or ``auto`` (bf16 where the
            device multiplies it natively); None = as they were trained with.
        lanes: threads that encode at once.

    Raises:
        BundleError: every modality was trained on imported vectors.
        OptionError: ``moved`` names a modality that the bundle does not have, or another precision
            is wanted of an ONNX bundle.
    """

    def __init__(
        self,
        config: BundleConfig,
        device: str,
        moved: Mapping[Modality, str] | None = None,
        folder: Path | None = None,
        *,
        precision: Wanted | None = None,
        lanes: int = 1,
    ) -> None:
        self._config, self._folder, self._lanes = config, folder, lanes
        _refuse_precision(config.onnx, precision)
        self._device = device
        _refuse_moved(config.onnx, moved or {})
        local = {} if folder is None else config.encoders_local
        self._moved = {name: str(Path(folder or "", place)) for name, place in local.items()}
        self._moved |= dict(moved or {})
        self._loaded: dict[Modality, Encoder] = {}
        self._loading = threading.Lock()
        self._turns: dict[Modality, threading.Lock] = {
            name: threading.Lock() for name in config.dims
        }
        strange = [name for name in self._moved if name not in config.dims]
        if strange:
            hint = nearest_hint(strange[0], config.dims)
            raise OptionError(f"the bundle has no {strange[0]!r} encoder; {hint}")
        self._specs = {name: _spec(config, name, precision) for name in config.dims}
        if not any(_loads(spec) for spec in self._specs.values()):
            names = ", ".join(spec.name for spec in self._specs.values())
            raise BundleError(
                f"the bundle was trained on imported vectors ({names}): there is no encoder to "
                "recognise files or texts with; train on encoders instead"
            )

    def get(self, modality: Modality) -> Encoder:
        """Give the encoder of a modality.

        Raises:
            BundleError: it was imported vectors, cannot be loaded, or is not the one that the
                bundle was trained with.
        """
        with self._loading:
            if modality not in self._loaded:
                self._loaded[modality] = self._load(modality)
            return self._loaded[modality]

    def encode(self, modality: Modality, items: Sequence[Item]) -> list[FloatArray | EncoderError]:
        """Encode items together; an item that cannot be encoded gets its error instead.

        Raises:
            BundleError: see `get`.
        """
        encoder = self.get(modality)
        try:
            with nullcontext() if encoder.reentrant else self._turns[modality]:
                arrays = encoder.encode(items)
        except EncoderError as error:
            if len(items) == 1:
                return [error]
            return [outcome for item in items for outcome in self.encode(modality, [item])]
        return [_finite(item, array) for item, array in zip(items, arrays, strict=True)]

    @property
    def precision(self) -> str:
        """What they compute in: that of an ONNX bundle, else bf16 where one of them does.

        Raises:
            BundleError: see `get`.
        """
        if self._config.onnx is not None:
            return self._config.onnx.precision
        every = [self.get(name) for name, spec in self._specs.items() if _loads(spec)]
        return "bf16" if any(one.precision == "bf16" for one in every) else "fp32"

    def take_warnings(self) -> tuple[str, ...]:
        """Give what the encoders found since the last call (a text that was cut)."""
        return tuple(line for one in tuple(self._loaded.values()) for line in one.take_warnings())

    def _load(self, modality: Modality) -> Encoder:
        spec = self._specs[modality]
        note = self._config.onnx
        if note is not None and modality in note.encoders and self._folder is not None:
            return self._open_graph(self._folder, note, modality, spec)
        moved = self._moved.get(modality)
        if moved is not None:
            spec = spec.model_copy(update={"name": moved})
            if Path(moved).is_dir():  # a folder has no revision to choose
                spec = spec.model_copy(update={"revision": "main"})
        try:
            encoder = load_encoder(modality, spec, self._device)
            revision = encoder.revision
        except (EncoderError, OptionError) as error:
            raise BundleError(
                f"the bundle's {modality} encoder: {error} (--encoder {modality}=PATH where it "
                "was moved)"
            ) from error
        promised = self._config.encoders[modality].get("revision")
        if revision != promised:
            raise BundleError(
                f"the {modality} encoder {spec.name} here is not the one that the bundle was "
                f"trained with (fingerprint {revision[:12]} instead of {str(promised)[:12]}); "
                "get the same weights, or train again"
            )
        if encoder.dim != self._config.dims[modality]:
            raise BundleError(
                f"the {modality} encoder {spec.name} gives size {encoder.dim}, the bundle takes "
                f"{self._config.dims[modality]}"
            )
        return encoder

    def _open_graph(
        self, folder: Path, note: OnnxNote, modality: Modality, spec: EncoderSpec
    ) -> Encoder:
        from emofuse.encoders.onnx_encoders import OnnxSpeech, OnnxText
        from emofuse.encoders.onnx_graph import Graph

        about = note.encoders[modality]
        data = read_checked(folder, self._config, about.file)
        graph = Graph(data, str(folder / about.file), self._lanes)
        description = self._config.encoders[modality]
        if about.kind != "text":
            return OnnxSpeech(description, spec, about, graph)
        tokenizer = read_checked(folder, self._config, about.tokenizer or "tokenizer.json")
        return OnnxText(description, spec, about, graph, tokenizer)


def _loads(spec: EncoderSpec) -> bool:
    return not spec.name.startswith(IMPORTED)


def _refuse_moved(note: OnnxNote | None, moved: Mapping[Modality, str]) -> None:
    inside = set() if note is None else set(note.encoders) & set(moved)
    if inside:
        name = min(inside)
        raise OptionError(f"the {name} encoder is a part of the ONNX bundle: it lies nowhere else")


def _refuse_precision(note: OnnxNote | None, precision: Wanted | None) -> None:
    if note is not None and precision not in (None, "auto"):
        raise OptionError(
            f"precision {precision!r}: an ONNX bundle computes as it was exported "
            f"({note.precision}); export it with --precision, or take auto"
        )


def _spec(config: BundleConfig, modality: Modality, wanted: Wanted | None = None) -> EncoderSpec:
    description = config.encoders[modality]
    try:
        spec = EncoderSpec.parse(description.get("spec"), f"the bundle's {modality} encoder")
        # "auto" was decided where the model was trained; another precision gives other numbers.
        precision = wanted or description.get("precision", spec.precision)
        return EncoderSpec.parse({**spec.model_dump(), "precision": precision}, "the bundle")
    except EmofuseError as error:
        raise BundleError(str(error)) from error


def _finite(item: Item, array: FloatArray) -> FloatArray | EncoderError:
    if np.isfinite(array).all():
        return array
    return EncoderError(f"{item.id}: the encoder gave NaN or infinity")
