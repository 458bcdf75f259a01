"""How an answer changes over time: the model asked about one sliding window after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from emofuse.encoders.contract import Item
from emofuse.explain.panel import NotApplicable
from emofuse.explain.subject import Case
from emofuse.explain.unpooled import item_of
from emofuse.losses.vad import DIMENSIONS
from emofuse.models.contract import Batch, Sequences

__all__ = ["Trajectory", "trace", "windows_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Answers to windows of the audio, the other modalities as they are.

    Attributes:
        times: seconds at the middle of each window.
        probabilities: ``(windows, classes)``.
        vad: dimension -> ``(windows,)`` on the scheme's scale; empty where the model gives none.
        kept: modalities that stayed whole.
    """

    times: Floats
    probabilities: Floats
    vad: dict[str, Floats]
    kept: tuple[str, ...]


def windows_of(seconds: float, window: float, hop: float) -> list[float]:
    """Give where windows begin; the last one ends with the audio.

    >>> windows_of(2.0, 1.0, 0.4)
    [0.0, 0.4, 0.8, 1.0]
    """
    last = seconds - window
    starts = [round(place * hop, 6) for place in range(int(last / hop + 1e-9) + 1)]
    return starts if last - starts[-1] < 1e-6 else [*starts, round(last, 6)]


def trace(case: Case, window: float, hop: float) -> Trajectory:
    """Encode every window by itself and ask the model.

    Raises:
        NotApplicable: no audio, no encoder for it, or not longer than one window.
    """
    if "audio" not in case.batch.modalities:
        raise NotApplicable("the utterance has no audio to slide a window over")
    encoder = case.encoder("audio")
    item = item_of(case, "audio", encoder.sample_rate)
    wave = item.waveform
    seconds = 0.0 if wave is None else len(wave) / encoder.sample_rate
    if wave is None or seconds <= window:
        raise NotApplicable(
            f"{seconds:.2f} s of audio are not longer than one window of {window:g} s "
            "(--window takes a shorter one)"
        )
    starts = windows_of(seconds, window, hop)
    rate, size = encoder.sample_rate, round(window * encoder.sample_rate)
    cuts = [wave[round(s * rate) : round(s * rate) + size] for s in starts]
    arrays = encoder.encode([Item(f"{case.id}@{s:g}", waveform=w) for s, w in zip(starts, cuts)])  # noqa: B905
    logits, vads = [], []
    with torch.no_grad():
        for array in arrays:
            values = torch.from_numpy(array)[None]
            mask = torch.ones(values.shape[:2], dtype=torch.bool)
            output = case.model(Batch({**case.batch.modalities, "audio": Sequences(values, mask)}))
            logits.append(output.logits[0].double())
            vads.append(None if output.vad is None else output.vad[0].double().numpy())
    kept = tuple(name for name in case.batch.modalities if name != "audio")
    return Trajectory(
        np.array(starts) + window / 2,
        torch.softmax(torch.stack(logits), dim=1).numpy(),
        _scaled(case, [one for one in vads if one is not None]),
        kept,
    )


def _scaled(case: Case, vads: list[Floats]) -> dict[str, Floats]:
    """Put a model's [-1, 1] on the scheme's scale."""
    if not vads:
        return {}
    ranges = case.subject.recipe.data.label_scheme.vad
    table = np.stack(vads)
    found: dict[str, Floats] = {}
    for place, name in enumerate(DIMENSIONS):
        if name in ranges:
            low, high = ranges[name]
            found[name] = low + (table[:, place] + 1.0) / 2.0 * (high - low)
    return found
