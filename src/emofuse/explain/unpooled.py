"""What the model reads of an utterance, opened up to frames where pooling hides them.

A pooled feature is a function of frames that its encoder can give too. Attribution then goes
through the pooling to the frames, if the pooled frames are the stored feature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emofuse.encoders.build import describe_encoder, load_encoder
from emofuse.encoders.contract import Item
from emofuse.encoders.pooling import QUANTILES
from emofuse.errors import EmofuseError
from emofuse.explain.panel import NotApplicable
from emofuse.explain.subject import Case
from emofuse.manifest import Modality
from emofuse.media.audio import read_audio

__all__ = ["Reading", "item_of", "pool_tensor", "read_inputs"]

SAME = 1e-3
HAS_MEAN = ("mean", "mean+std", "stats")


@dataclass(frozen=True, eq=False)
class Reading:
    """One modality as it is attributed to.

    Attributes:
        modality: ``audio``, ``text`` or ``video``.
        values: ``(1, time, dim)``.
        reduce: from ``(n, time, dim)`` to what the model takes.
        pooling: how frames become the feature, where they do; else None.
        description: of the encoder that gives these frames.
        note: what to bear in mind.
    """

    modality: str
    values: Tensor
    reduce: Callable[[Tensor], Tensor]
    pooling: str | None
    description: Mapping[str, Any]
    note: str = ""

    @property
    def frames(self) -> int:
        """How many frames there are; 1 = a vector."""
        return int(self.values.shape[1])

    def baseline(self, mean: Tensor | None) -> Tensor:
        """Give the baseline: zeros, or the training mean as every frame.

        Args:
            mean: of the feature, ``(dim,)``; None = zeros.
        """
        if mean is None or (self.pooling is not None and self.pooling not in HAS_MEAN):
            return torch.zeros_like(self.values)
        return mean[: self.values.shape[2]].expand_as(self.values).clone()


def pool_tensor(frames: Tensor, how: str) -> Tensor:
    """Pool ``(n, time, dim)`` to ``(n, 1, k * dim)``, as `encoders.pooling.pool` but with gradient.

    Raises:
        NotApplicable: an unknown way.
    """
    mean, std = frames.mean(dim=1), frames.std(dim=1, correction=0)
    if how == "mean":
        return mean[:, None]
    if how == "mean+std":
        return torch.cat([mean, std], dim=1)[:, None]
    if how == "max":
        return frames.amax(dim=1)[:, None]
    if how == "cls":
        return frames[:, :1]
    if how != "stats":
        raise NotApplicable(f"pooling {how!r} is not known here")
    step = frames.diff(dim=1) if frames.shape[1] > 1 else torch.zeros_like(frames)
    places = torch.tensor(QUANTILES, dtype=frames.dtype)
    quantiles = torch.quantile(frames, places, dim=1).transpose(0, 1).flatten(1)
    parts = [mean, std, quantiles, step.std(dim=1, correction=0), step.abs().mean(dim=1)]
    return torch.cat(parts, dim=1)[:, None]


def item_of(case: Case, modality: Modality, sample_rate: int = 0) -> Item:
    """Give an utterance to its encoder.

    Raises:
        NotApplicable: it lacks the modality.
    """
    one, manifest = case.utterance, case.subject.manifest
    if modality == "text" and one.text:
        return Item(one.id, text=one.text)
    if modality == "audio" and one.audio:
        wave = read_audio(manifest.path(one.audio), sample_rate, one.start, one.end)
        return Item(one.id, waveform=wave)
    if modality == "video" and one.video:
        return Item(one.id, video=manifest.path(one.video), start=one.start, end=one.end)
    raise NotApplicable(f"{one.id} has no {modality}")


def read_inputs(case: Case) -> list[Reading]:
    """Give every modality of an utterance, as frames wherever there are any."""
    found = []
    for name, part in case.batch.modalities.items():
        plain = Reading(name, part.values, lambda values: values, None, case.description(name))
        if part.values.shape[1] > 1:
            found.append(plain)
            continue
        try:
            found.append(_opened(case, name))
        except (EmofuseError, KeyError) as error:
            note = f"{name} is one vector: no time, attribution by feature ({error})"
            found.append(Reading(name, part.values, plain.reduce, None, plain.description, note))
    return found


def _opened(case: Case, name: str) -> Reading:
    """Give the frames behind a pooled feature.

    Raises:
        EmofuseError: there are none, or they do not pool to the feature.
    """
    modality: Modality = name  # type: ignore[assignment]
    spec = case.spec(modality)
    if spec.granularity == "frames":
        raise NotApplicable("its encoder gave a single frame")
    case.encoder(modality)  # the same weights as in training, or refused
    encoder = load_encoder(modality, spec.model_copy(update={"granularity": "frames"}))
    (frames,) = encoder.encode([item_of(case, modality, encoder.sample_rate)])
    values = torch.from_numpy(frames)[None]
    stored = case.batch.modalities[name].values
    pooled = pool_tensor(values, spec.pooling)
    if pooled.shape != stored.shape or float((pooled - stored).abs().max()) > SAME * max(
        1.0, float(stored.abs().max())
    ):
        raise NotApplicable("the feature is not a pooling of frames that its encoder can give")
    note = f"{name}: attributed through the pooling ({spec.pooling}) to {len(frames)} frames"
    return Reading(
        name,
        values,
        lambda given: pool_tensor(given, spec.pooling),
        spec.pooling,
        describe_encoder(encoder),
        note,
    )
