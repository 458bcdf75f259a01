"""What a model says of itself: modality weights, gates, fuzzy memberships, alpha."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emofuse.explain.panel import NotApplicable
from emofuse.layers.fuzzy import MEMBERSHIPS
from emofuse.models.contract import EmotionOutput

__all__ = ["RULE_OF", "Gates", "read_gates"]

Floats = NDArray[np.float64]
RULE_OF: Mapping[str, str] = {
    "sigmoid": "rule 3",
    "tanh": "rule 2",
    "linear": "rule 1",
    "gaussian": "rule 1",
    "piecewise": "rule 4",
}
"""Which of FleSER's rules chooses a membership (see `layers.fuzzy.choose`)."""


@dataclass(frozen=True, eq=False)
class Gates:
    """Of each utterance of a batch.

    Attributes:
        weights: modality -> ``(items,)`` share of the decision.
        openness: gate -> ``(items,)`` mean over its dimensions.
        spread: gate -> ``(items,)`` standard deviation over its dimensions; 0 for a single one.
        memberships: modality -> ``(items, 5)`` shares of the fuzzy memberships.
        alpha: ``(items,)``, or None.
    """

    weights: Mapping[str, Floats]
    openness: Mapping[str, Floats]
    spread: Mapping[str, Floats]
    memberships: Mapping[str, Floats]
    alpha: Floats | None

    @staticmethod
    def join(parts: list[Gates]) -> Gates:
        """Put batches of one model's kind end to end."""

        def cat(pick: str) -> dict[str, Floats]:
            first: Mapping[str, Floats] = getattr(parts[0], pick)
            return {n: np.concatenate([getattr(one, pick)[n] for one in parts]) for n in first}

        alphas = [one.alpha for one in parts if one.alpha is not None]
        return Gates(
            cat("weights"),
            cat("openness"),
            cat("spread"),
            cat("memberships"),
            np.concatenate(alphas) if len(alphas) == len(parts) else None,
        )

    def columns(self) -> dict[str, Floats]:
        """Give every figure as one named column, ``(items,)`` each."""
        found = {f"weight of {name}": one for name, one in self.weights.items()}
        found |= {f"gate on {name}": one for name, one in self.openness.items()}
        for name, shares in self.memberships.items():
            for place, kind in enumerate(MEMBERSHIPS):
                found[f"{name}: {kind} ({RULE_OF[kind]})"] = shares[:, place]
        if self.alpha is not None:
            found["alpha (share of audio)"] = self.alpha
        return found


def read_gates(output: EmotionOutput) -> Gates:
    """Read the gates of a batch.

    Raises:
        NotApplicable: the model says nothing of itself.
    """
    gates = {
        name.removeprefix("gate:"): one
        for name, one in output.extras.items()
        if name.startswith("gate:")
    }
    fuzzy = {
        name.removeprefix("fuzzy:"): _plain(one)
        for name, one in output.extras.items()
        if name.startswith("fuzzy:")
    }
    alpha = output.extras.get("alpha")
    if not (gates or fuzzy or output.weights or alpha is not None):
        raise NotApplicable("the model has no gate, membership or modality weight")
    flat = {name: one.reshape(len(one), -1).double() for name, one in gates.items()}
    return Gates(
        {name: _plain(one) for name, one in output.weights.items()},
        {name: _plain(one.mean(dim=1)) for name, one in flat.items()},
        {name: _plain(one.std(dim=1, correction=0)) for name, one in flat.items()},
        fuzzy,
        None if alpha is None else _plain(alpha),
    )


def _plain(values: Tensor) -> Floats:
    found: Floats = torch.as_tensor(values).detach().double().cpu().numpy()
    return found
