"""From logits to what is claimed: the rules of a bundle at work on one answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse.errors import BundleError, OptionError, nearest_hint
from emofuse.evaluation.calibration import softmax
from emofuse.evaluation.rules import AnswerRules
from emofuse.models.bundle_config import CONFIG_NAME, BundleConfig

__all__ = ["Scoring", "load_scoring"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scoring:
    """How logits become an answer.

    Attributes:
        classes: class names in order.
        rules: of the bundle; None = probabilities as the model gives them.
        corpus: whose scaling to take; None = the one for any speech.
    """

    classes: tuple[str, ...]
    rules: AnswerRules | None = None
    corpus: str | None = None

    def shares(self, logits: Floats) -> Floats:
        """Give probabilities ``(items, classes)`` of logits, calibrated where the bundle can."""
        if self.rules is None:
            return softmax(logits)
        return self.rules.probabilities(logits, [self.corpus] * len(logits))

    def tell(self, logits: Floats) -> dict[str, Any]:
        """Give the fields of a `Recognition` that come from ``(classes,)`` logits."""
        if self.rules is None:
            return {**self._named(softmax(logits).tolist()), "calibrated": False}
        shares = self.rules.probabilities(logits[None], [self.corpus])
        inside = self.rules.sets(shares)[0]
        promised = any(self.rules.thresholds.values())
        order = np.argsort(-shares[0], kind="stable").tolist()
        return {
            **self._named(shares[0].tolist()),
            "calibrated": self.calibrated,
            "emotion_set": tuple(self.classes[n] for n in order if promised and inside[n]),
            "too_unsure": not bool(self.rules.answers(shares)[0]),
        }

    @property
    def calibrated(self) -> bool:
        """Whether probabilities are scaled by what was held out."""
        return self.rules is not None and self.rules.options.scaling != "none"

    def unsure(self, shares: Mapping[str, float]) -> bool | None:
        """Say whether calibrated probabilities are too unsure; None where there is no limit."""
        if self.rules is None:
            return None
        return not bool(self.rules.answers([list(shares.values())])[0])

    def _named(self, shares: list[float]) -> dict[str, Any]:
        return {
            "emotion": self.classes[int(np.argmax(shares))],
            "probabilities": dict(zip(self.classes, shares, strict=True)),
            "confidence": max(shares),
        }

    def doubt(self) -> str:
        """Say what it means that an answer is too unsure."""
        if self.rules is None:
            return ""
        risk = f"{100 * self.rules.options.risk:.0f} %"
        if self.rules.answer_above > 1.0:
            return f"no confidence kept the mistakes on dev under {risk}"
        return (
            f"confidence under {self.rules.answer_above:.2f}; above it at most {risk} were wrong "
            f"on {self.rules.fitted_on}"
        )


def load_scoring(
    folder: Path, config: BundleConfig, *, raw: bool = False, corpus: str | None = None
) -> Scoring:
    """Read the rules of a bundle.

    Args:
        folder: of the bundle, for messages.
        config: its configuration.
        raw: leave its rules aside.
        corpus: whose scaling to take.

    Raises:
        BundleError: the rules are damaged, or of other classes.
        OptionError: there is no scaling for this corpus.
    """
    rules = None if raw or config.calibration is None else _read(folder, config)
    known = () if rules is None else tuple(rules.corpora)
    if corpus is not None and corpus not in known:
        hint = nearest_hint(corpus, known) if known else "leave it out"
        raise OptionError(f"there is no scaling for {corpus!r} in {folder}; {hint}")
    return Scoring(config.scheme.classes, rules, corpus)


def _read(folder: Path, config: BundleConfig) -> AnswerRules:
    where = f"{folder / CONFIG_NAME}: calibration"
    try:
        rules = AnswerRules.parse(config.calibration, where)
    except OptionError as error:
        raise BundleError(str(error)) from error
    width = len(config.scheme.classes)
    scalings = (rules.pooled, *rules.corpora.values())
    if set(rules.thresholds) != set(config.scheme.classes) or any(
        one.kind == "vector" and len(one.scale) != width for one in scalings
    ):
        raise BundleError(f"{where} is of other classes than {', '.join(config.scheme.classes)}")
    ordered = {name: rules.thresholds[name] for name in config.scheme.classes}
    return rules.model_copy(update={"thresholds": ordered})
