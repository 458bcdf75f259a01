"""Does a policy of augmentation write the label into the signal? Measured without any emotion.

Synthetic voiced signals get labels at random, so that nothing in them tells the label. A forest
learns from items changed by the policy and is asked about held-out items, once clean and once
changed by the policy with their own labels. On clean items it can only guess. If it does better on
the changed ones, the change gives the label away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import lfilter

from emofuse.augment.draw import Mask
from emofuse.augment.masks import hide, plan_of
from emofuse.augment.policy import AugmentOptions, draw_view
from emofuse.augment.replay import replay
from emofuse.encoders.contract import EncoderSpec, Item
from emofuse.encoders.logmel import LogMel
from emofuse.errors import OptionError
from emofuse.evaluation.metrics import scores
from emofuse.media.audio import SAMPLE_RATE, FloatArray

__all__ = ["LeakResult", "label_leak", "voiced_signal"]

MEDIAN_SECONDS, SPREAD = 3.51, 0.7  # of IEMOCAP's durations, log-normal: mean 4.5 s
SHORTEST, LONGEST = 0.6, 32.0
FRAMES = 998
HELD_OUT = 0.3
TREES = 400


@dataclass(frozen=True)
class LeakResult:
    """What a forest finds where there is nothing to find.

    Attributes:
        augmented_f1: macro F1 on held-out items changed by the policy, by their own labels.
        clean_f1: macro F1 on the same items, clean.
        chance: macro F1 of guessing evenly.
    """

    augmented_f1: float
    clean_f1: float
    chance: float


def label_leak(
    policy: AugmentOptions, *, items: int = 400, classes: tuple[str, ...], seed: int = 0
) -> LeakResult:
    """Measure how much of a random label a policy writes into the signal.

    Seven items in ten are learned from, each changed with probability ``policy.p``. A forest of 400
    trees reads mean, deviation and share of zeros of each band, z-scored by the clean training
    items, over ten seconds with zeros behind the end.

    Args:
        policy: what to examine; its ``views`` and ``specaugment`` are not read.
        items: number of synthetic signals.
        classes: class names; a label-dependent policy picks its styles by them.
        seed: of signals, labels and forest.

    Raises:
        OptionError: too few items or classes.
        MissingExtraError: the policy needs the extra ``augment``.
    """
    if len(classes) < 2 or items < 10 * len(classes):
        raise OptionError(f"{items} items of {len(classes)} classes are too few to measure a leak")
    random = np.random.default_rng([seed, 1])
    waves = [voiced_signal(np.random.default_rng([seed, 2, place])) for place in range(items)]
    labels = random.integers(len(classes), size=items)
    encoder = LogMel(EncoderSpec(name="logmel", granularity="frames"))
    clean = [encoder.encode([Item("clean", waveform=wave)])[0] for wave in waves]
    cut = round(items * (1.0 - HELD_OUT))
    frames = np.concatenate(clean[:cut])
    norm = (frames.mean(axis=0), frames.std(axis=0) + 1e-5)
    used = random.random(items) < policy.p
    plain = np.stack([_summary(one, norm) for one in clean])
    changed = plain.copy()
    if policy.makes_views:
        for place in np.flatnonzero(used).tolist():
            name = classes[labels[place]]
            changed[place] = _changed(policy, waves[place], (place, name), encoder, norm)
    forest = _forest(changed[:cut], labels[:cut], seed)
    found = [
        float(scores(labels[cut:], forest.predict(held[cut:]), len(classes)).mf1)
        for held in (changed, plain)
    ]
    return LeakResult(found[0], found[1], 1.0 / len(classes))


def voiced_signal(draw: np.random.Generator) -> FloatArray:
    """Draw a voice-like signal without any emotion: a gliding pulse train through two resonances.

    Returns:
        ``(samples,)`` at 16 kHz, of a length as in IEMOCAP (median 3.5 s).
    """
    seconds = np.clip(MEDIAN_SECONDS * np.exp(SPREAD * draw.standard_normal()), SHORTEST, LONGEST)
    samples = int(seconds * SAMPLE_RATE)
    times = np.arange(samples) / SAMPLE_RATE
    glide = 1.0 + 0.15 * np.sin(2 * np.pi * draw.uniform(0.2, 1.0) * times + draw.uniform(0, 6.3))
    phase = np.cumsum(draw.uniform(90.0, 250.0) * glide / SAMPLE_RATE) % 1.0
    sound = np.diff(phase, prepend=0.0) + 0.02 * draw.standard_normal(samples)
    for centre in (draw.uniform(300.0, 800.0), draw.uniform(1000.0, 2400.0)):
        radius = np.exp(-np.pi * 90.0 / SAMPLE_RATE)
        turn = 2 * radius * np.cos(2 * np.pi * centre / SAMPLE_RATE)
        sound = lfilter([1.0 - radius], [1.0, -turn, radius**2], sound)
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * draw.uniform(2.0, 5.0) * times)
    sound = sound * swell
    level = 0.05 * 10 ** (draw.normal(0.0, 3.0) / 20)
    return np.asarray(level * sound / max(float(np.std(sound)), 1e-9), np.float32)


Norm = tuple[NDArray[np.floating], NDArray[np.floating]]


def _changed(
    policy: AugmentOptions, wave: FloatArray, item: tuple[int, str], encoder: LogMel, norm: Norm
) -> NDArray[np.floating]:
    draw = draw_view(policy, f"leak-{item[0]}", 0, item[1])
    values = encoder.encode([Item("changed", waveform=replay(draw, wave, policy.sources()))])[0]
    return _summary(values, norm, draw.masks)


def _summary(values: FloatArray, norm: Norm, masks: Sequence[Mask] = ()) -> NDArray[np.floating]:
    scaled = torch.from_numpy(np.asarray((values - norm[0]) / norm[1], np.float32))[None, :FRAMES]
    if masks:
        real = torch.ones(1, scaled.shape[1], dtype=torch.bool)
        scaled = hide(scaled, real, plan_of([masks]), torch.zeros(scaled.shape[2]))
    fixed = np.zeros((FRAMES, scaled.shape[2]), np.float32)
    fixed[: scaled.shape[1]] = scaled[0].numpy()
    return np.concatenate([fixed.mean(axis=0), fixed.std(axis=0), (fixed == 0.0).mean(axis=0)])


def _forest(learn: NDArray[np.floating], known: NDArray[np.integer], seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_estimators=TREES, random_state=seed, n_jobs=1).fit(learn, known)
