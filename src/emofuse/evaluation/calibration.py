"""Probabilities that mean what they say: scaling fitted on dev, and how far off they are.

Guo et al., *On Calibration of Modern Neural Networks* (ICML 2017): temperature and vector scaling
(sections 4.2 and 4.3), expected calibration error (eq. 3), reliability diagram (section 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from emofuse.errors import WorkError
from emofuse.options import Options

__all__ = [
    "Calibration",
    "ReliabilityBin",
    "brier_score",
    "calibration_error",
    "fit_calibration",
    "negative_log_likelihood",
    "reliability",
]

Floats = NDArray[np.float64]
Kind = Literal["none", "temperature", "vector"]
BINS = 15
VECTOR_PULL = 1e-3
"""Weight of the squared distance of log-scales and biases from 0: dev parts are small."""


def log_softmax(logits: Floats, axis: int = -1) -> Floats:
    """Logarithms of the probabilities that logits stand for, in float64."""
    shifted = logits - logits.max(axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)), np.float64)


def softmax(logits: Floats, axis: int = -1) -> Floats:
    """Turn logits into probabilities, in float64."""
    return np.asarray(np.exp(log_softmax(logits, axis)), np.float64)


class Calibration(Options):
    """How logits become probabilities: ``softmax(scale * log_softmax(logits) + bias)``.

    Taking the logarithm of the probabilities first changes nothing for one scale; for a scale a
    class it makes the answer depend on the probabilities alone, so that stored probabilities can be
    calibrated as well as logits.

    Attributes:
        kind: ``none``; ``temperature``: one scale for all classes; ``vector``: a scale and a bias
            a class.
        scale, bias: one a class, or one scale for all; empty for ``none``.
        items: utterances of dev that it was fitted on.
        before, after: negative log-likelihood of these (nats), unscaled and scaled.
    """

    kind: Kind = "none"
    scale: tuple[float, ...] = ()
    bias: tuple[float, ...] = ()
    items: int = Field(default=0, ge=0)
    before: float | None = None
    after: float | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not np.isfinite([*self.scale, *self.bias]).all() or min(self.scale, default=1.0) <= 0:
            raise ValueError("calibration scales are finite and above 0, biases finite")
        if self.kind == "temperature" and (len(self.scale) != 1 or self.bias):
            raise ValueError("temperature scaling has one scale and no bias")
        if self.kind == "vector" and (not self.scale or len(self.scale) != len(self.bias)):
            raise ValueError("vector scaling has a scale and a bias for each class")
        return self

    def apply(self, logits: ArrayLike) -> Floats:
        """Give probabilities ``(items, classes)`` of logits of that shape; rows sum to 1."""
        scaled = np.asarray(log_softmax(np.asarray(logits, np.float64), axis=-1))
        if self.scale:
            scaled = scaled * np.asarray(self.scale)
        if self.bias:
            scaled = scaled + np.asarray(self.bias)
        return np.asarray(softmax(scaled, axis=-1), np.float64)


def fit_calibration(
    logits: ArrayLike, labels: ArrayLike, kind: Kind = "temperature"
) -> Calibration:
    """Fit a scaling by maximum likelihood on items that the model was not fitted to.

    Args:
        logits: ``(items, classes)``.
        labels: ``(items,)`` class numbers.
        kind: see `Calibration`.

    Raises:
        WorkError: there is nothing to fit on.
    """
    given, wanted = _checked(logits, labels)
    given = np.asarray(log_softmax(given, axis=1))
    if kind == "none":
        return Calibration()
    classes = given.shape[1]
    size = 1 if kind == "temperature" else 2 * classes

    def scaled(parameters: Floats) -> Floats:
        if kind == "temperature":
            return np.asarray(given * np.exp(parameters[0]))
        return np.asarray(given * np.exp(parameters[:classes]) + parameters[classes:])

    def loss(parameters: Floats) -> tuple[float, Floats]:
        found = scaled(parameters)
        residual = softmax(found, axis=1)
        residual[np.arange(len(wanted)), wanted] -= 1.0
        residual /= len(wanted)
        by_scale = residual * given * np.exp(parameters[0] if size == 1 else parameters[:classes])
        if size == 1:
            return _nll(found, wanted), np.array([by_scale.sum()])
        gradient = np.concatenate([by_scale.sum(axis=0), residual.sum(axis=0)])
        pull = VECTOR_PULL * float(parameters @ parameters)
        return _nll(found, wanted) + pull, gradient + 2.0 * VECTOR_PULL * parameters

    limits = [(-7.0, 7.0)] * (1 if size == 1 else classes) + [(None, None)] * (size // 2)
    from scipy.optimize import minimize  # a third of a second that answering does without

    best = minimize(loss, np.zeros(size), jac=True, method="L-BFGS-B", bounds=limits[:size]).x
    return Calibration(
        kind=kind,
        scale=tuple(np.exp(best[: 1 if size == 1 else classes]).tolist()),
        bias=() if size == 1 else tuple(best[classes:].tolist()),
        items=len(wanted),
        before=_nll(given, wanted),
        after=_nll(scaled(best), wanted),
    )


def negative_log_likelihood(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Average ``-log p`` of the right class, in nats."""
    shares, wanted = _checked(probabilities, labels)
    right = shares[np.arange(len(wanted)), wanted]
    return float(-np.log(np.maximum(right, np.finfo(np.float64).tiny)).mean())


def brier_score(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Average squared distance between the probabilities and the right answer, in [0, 2].

    >>> brier_score([[1.0, 0.0], [0.5, 0.5]], [0, 1])
    0.25
    """
    shares, wanted = _checked(probabilities, labels)
    target = np.zeros_like(shares)
    target[np.arange(len(wanted)), wanted] = 1.0
    return float(np.square(shares - target).sum(axis=1).mean())


@dataclass(frozen=True)
class ReliabilityBin:
    """Answers of like confidence.

    Attributes:
        low, high: the confidences that it takes in, above ``low`` and up to ``high``.
        items: how many answers.
        confidence: their average confidence; None without any.
        accuracy: the share of them that is right; None without any.
    """

    low: float
    high: float
    items: int
    confidence: float | None
    accuracy: float | None


def reliability(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """Sort answers by the confidence of the chosen class into bins of equal width."""
    shares, wanted = _checked(probabilities, labels)
    confidence = shares.max(axis=1)
    right = shares.argmax(axis=1) == wanted
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    found: list[ReliabilityBin] = []
    for number in range(bins):
        here = place == number
        count = int(here.sum())
        found.append(
            ReliabilityBin(
                number / bins,
                (number + 1) / bins,
                count,
                float(confidence[here].mean()) if count else None,
                float(right[here].mean()) if count else None,
            )
        )
    return tuple(found)


def calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error: how far confidence and accuracy are apart, in [0, 1].

    >>> calibration_error([[0.8, 0.2]] * 5, [0, 0, 0, 0, 1])
    0.0
    """
    table = reliability(probabilities, labels, bins)
    total = sum(one.items for one in table)
    gaps = [
        one.items / total * abs(one.accuracy - one.confidence)
        for one in table
        if one.accuracy is not None and one.confidence is not None
    ]
    return round(float(sum(gaps)), 12)


def _nll(logits: Floats, labels: NDArray[np.int64]) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def _checked(values: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    given, wanted = np.asarray(values, np.float64), np.asarray(labels, np.int64)
    if given.ndim != 2 or not len(given) or wanted.shape != (len(given),):
        raise WorkError(
            f"calibration needs (items, classes) and as many labels, at least one; got "
            f"{given.shape} and {wanted.shape}"
        )
    if not np.isfinite(given).all():
        raise WorkError("calibration was given NaN or infinity")
    return given, wanted
