"""Frames of a video through a CLIP-like image model of the Hugging Face hub, frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from emofuse.encoders.contract import Encoder, EncoderSpec, FloatArray, Item
from emofuse.encoders.crop import make_crop
from emofuse.encoders.hf_folder import ModelFolder, find_folder, read_model
from emofuse.encoders.pooling import pooled_dim, reduced
from emofuse.encoders.precision import resolve_precision
from emofuse.encoders.provenance import look_up
from emofuse.encoders.settings import refuse_options, require_video
from emofuse.errors import EncoderError, MediaError, MissingExtraError, OptionError
from emofuse.media.video import Image, read_frames

__all__ = ["ClipVideo", "Preprocessing", "load_video"]

CPU_FRAMES = 8  # images at once
GPU_FRAMES = 256
KINDS = ("clip", "clip_vision_model")
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def load_video(spec: EncoderSpec, device: str = "cpu") -> Encoder:
    """Find an image model; its weights are read when it first encodes.

    Raises:
        OptionError: an option that the encoder does not have.
        EncoderError: the model cannot be found, or is of an architecture not known here.
    """
    return ClipVideo(spec, find_folder(spec), device)


@dataclass(frozen=True)
class Preprocessing:
    """How a frame becomes the model's input, as ``preprocessor_config.json`` says.

    Attributes:
        shortest: pixels that the shorter side is resized to (bicubic).
        side: pixels of the square then cut from the middle.
        mean, std: of each colour, for values in [0, 1].
    """

    shortest: int
    side: int
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD

    @classmethod
    def of(cls, settings: Mapping[str, Any], side: int) -> Preprocessing:
        """Read a model's settings; ``side`` is its image size."""
        size = settings.get("size", side)
        shortest = size.get("shortest_edge", side) if isinstance(size, Mapping) else size
        mean = tuple(settings.get("image_mean") or CLIP_MEAN)
        return cls(int(shortest), side, mean, tuple(settings.get("image_std") or CLIP_STD))

    def __call__(self, image: Image) -> FloatArray:
        """Turn ``(height, width, 3)`` uint8 RGB into ``(3, side, side)`` float32."""
        try:
            from PIL import Image as Pillow
        except ImportError as error:
            raise MissingExtraError("PIL", "video") from error
        height, width = image.shape[:2]
        short = max(self.shortest, self.side)
        scale = short / min(height, width)
        # The longer side is cut down to a whole number, as the stock preprocessor does.
        size = (max(short, int(width * scale)), max(short, int(height * scale)))
        resized = Pillow.fromarray(image).resize(size, Pillow.Resampling.BICUBIC)
        left, top = (size[0] - self.side) // 2, (size[1] - self.side) // 2
        cut = resized.crop((left, top, left + self.side, top + self.side))
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        values = (np.asarray(cut, np.float32) / 255.0 - mean) / std
        return np.ascontiguousarray(values.transpose(2, 0, 1), dtype=np.float32)


class ClipVideo(Encoder):
    """Gives the projected image embedding of each frame (pooled, on request).

    Args:
        spec: ``granularity``, ``pooling``, ``stride``, ``precision`` and the options of video
            count (``crop``, ``every``, ``fps``, ``max_frames``).
        folder: a ``CLIPModel``, a ``CLIPVisionModelWithProjection``, or a ``CLIPVisionModel``
            (which has no projection: its pooled output is taken).
        device: where it runs.
    """

    modality = "video"

    def __init__(self, spec: EncoderSpec, folder: ModelFolder, device: str = "cpu") -> None:
        refuse_options(spec, "layer", "dim", videos=True, strides=True)
        if folder.kind not in KINDS:
            raise EncoderError(
                f"{folder.name} is a {folder.kind or 'nameless'!r} model, not an image encoder "
                f"known here; legal model types: {', '.join(KINDS)}"
            )
        if spec.pooling == "cls":
            raise OptionError(f"{spec.name} has no cls frame; legal: mean, mean+std, max, stats")
        self.spec, self.folder, self.revision = spec, folder, folder.revision
        self.precision = resolve_precision(spec, device)
        self.provenance = look_up(folder.name)
        self._device = device
        self._model: Any = None
        vision = folder.config.get("vision_config") or folder.config
        self._projected = folder.config.get("architectures") != ["CLIPVisionModel"]
        wide = int(vision.get("hidden_size", 768))
        projection = folder.config.get("projection_dim", vision.get("projection_dim", 512))
        width = int(projection) if self._projected else wide
        pooled = spec.granularity == "pooled"
        self.dim = pooled_dim(spec.pooling, width) if pooled else width
        self.frame_rate = None if pooled or spec.fps is None else spec.fps / spec.stride
        settings = folder.settings("preprocessor_config.json")
        self.preprocess = Preprocessing.of(settings, int(vision.get("image_size", 224)))

    def encode(self, items: Sequence[Item]) -> list[FloatArray]:
        """Give one ``(frames, dim)`` or ``(1, dim)`` array an item.

        Raises:
            EncoderError: a video cannot be read, or has no frame (no face) in the span.
        """
        found: list[list[FloatArray]] = [[] for _ in items]
        budget = CPU_FRAMES if torch.device(self._device).type == "cpu" else GPU_FRAMES
        owners: list[int] = []
        waiting: list[FloatArray] = []
        for owner, item in enumerate(items):
            for values in self._inputs(item):
                owners.append(owner)
                waiting.append(values)
                if len(waiting) == budget:
                    self._run(waiting, owners, found)
        self._run(waiting, owners, found)
        return [self._finish(np.concatenate(frames)) for frames in found]

    def _inputs(self, item: Item) -> Iterator[FloatArray]:
        path, spec = require_video(item), self.spec
        crop, given = make_crop(spec.crop, item.id), 0
        try:
            for image in read_frames(path, item.start, item.end, every=spec.every, fps=spec.fps):
                part = crop(image)
                if part is None:
                    continue
                yield self.preprocess(part)
                given += 1
                if given == spec.max_frames:
                    break
        except MediaError as error:
            raise EncoderError(str(error)) from error
        if not given:
            raise EncoderError(f"{item.id}: no frame shows anything at crop={spec.crop}")

    def _run(
        self, waiting: list[FloatArray], owners: list[int], found: list[list[FloatArray]]
    ) -> None:
        if not waiting:
            return
        model = self._load()
        kind = torch.bfloat16 if self.precision == "bf16" else torch.float32
        with torch.inference_mode():
            pixels = torch.from_numpy(np.stack(waiting)).to(self._device, kind)
            output = model(pixel_values=pixels)
            vectors = output.image_embeds if self._projected else output.pooler_output
        for owner, vector in zip(owners, vectors.float().cpu().numpy(), strict=True):
            found[owner].append(vector[None])
        waiting.clear()
        owners.clear()

    def _finish(self, frames: FloatArray) -> FloatArray:
        return reduced(frames, self.spec)

    def _load(self) -> Any:
        if self._model is None:
            from transformers import CLIPVisionModel, CLIPVisionModelWithProjection

            kind = CLIPVisionModelWithProjection if self._projected else CLIPVisionModel
            dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
            self._model = read_model(self.folder, kind).to(self._device, dtype)
        return self._model
