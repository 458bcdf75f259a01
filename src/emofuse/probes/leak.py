"""Augmentation that writes the label into the input."""

from __future__ import annotations

from dataclasses import asdict

from emofuse.evaluation.label_leak import LeakResult, label_leak
from emofuse.probes.bench import Bench
from emofuse.probes.verdict import Verdict

__all__ = ["PROBE", "judge_leak", "probe"]

PROBE = "augmentation"
ITEMS = 400
MARGIN = 0.15
"""Macro F1 above chance and clean items that luck does not explain with 120 judged items."""


def judge_leak(leak: LeakResult, policy: str) -> Verdict:
    """Say whether a policy marks items with their label."""
    why = (
        f"signals without emotion, augmented by their label, are told apart with MF1 "
        f"{100 * leak.augmented_f1:.0f} % (as they are: {100 * leak.clean_f1:.0f} %, chance "
        f"{100 * leak.chance:.0f} %)"
    )
    if leak.augmented_f1 - max(leak.clean_f1, leak.chance) <= MARGIN:
        return Verdict(PROBE, "ok", policy, why, numbers=asdict(leak))
    advice = "judge on clean items alone, and report it beside the same transforms drawn at random"
    return Verdict(PROBE, "finding", policy, why, advice, asdict(leak))


def probe(bench: Bench) -> list[Verdict]:
    """Judge the recipe's policy, applied to every item."""
    if bench.augment is None:
        return [Verdict(PROBE, "not applicable", "", "the recipe changes no item by a policy")]
    policy = bench.augment.model_copy(update={"p": 1.0})
    found = label_leak(policy, items=ITEMS, classes=bench.classes, seed=bench.seed)
    return [judge_leak(found, bench.augment.policy)]
