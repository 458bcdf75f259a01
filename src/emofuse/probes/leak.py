"""Augmentation that writes the label into the input."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

from emofuse.probes.bench import Bench
from emofuse.probes.verdict import Verdict

__all__ = ["PROBE", "Leak", "judge_leak", "probe"]

PROBE = "augmentation"
ITEMS = 240
MARGIN = 0.1


class Leak(NamedTuple):
    """Macro-F1 of a plain classifier on signals that carry no emotion.

    Attributes:
        augmented_f1: held-out items augmented by their own label.
        clean_f1: held-out items as they are.
        chance: what guessing gets.
    """

    augmented_f1: float
    clean_f1: float
    chance: float


def judge_leak(leak: Leak, policy: str) -> Verdict:
    """Say whether a policy marks items with their label."""
    why = (
        f"signals without emotion, augmented by their label, are told apart with MF1 "
        f"{100 * leak.augmented_f1:.0f} % (as they are: {100 * leak.clean_f1:.0f} %, chance "
        f"{100 * leak.chance:.0f} %)"
    )
    if leak.augmented_f1 - max(leak.clean_f1, leak.chance) <= MARGIN:
        return Verdict(PROBE, "ok", policy, why, numbers=leak._asdict())
    advice = "judge on clean items alone, and report it beside the same transforms drawn at random"
    return Verdict(PROBE, "finding", policy, why, advice, leak._asdict())


def probe(bench: Bench) -> list[Verdict]:
    """Judge the recipe's augmentation policy."""
    if bench.augment is None:
        return [Verdict(PROBE, "not applicable", "", "the recipe augments nothing")]
    policy = _policy_name(bench.augment)
    if find_spec("emofuse.augment") is None or find_spec("emofuse.augment.leak") is None:
        return [Verdict(PROBE, "not applicable", policy, "no probe for its policy is installed")]
    label_leak = import_module("emofuse.augment.leak").label_leak
    found = label_leak(bench.augment, items=ITEMS, classes=bench.classes, seed=bench.seed)
    return [judge_leak(Leak(found.augmented_f1, found.clean_f1, found.chance), policy)]


def _policy_name(policy: Any) -> str:
    if isinstance(policy, dict):
        return str(policy.get("name") or policy.get("policy") or "policy")
    return str(getattr(policy, "name", None) or getattr(policy, "policy", None) or policy)
