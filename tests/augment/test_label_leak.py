"""The leak of label-dependent augmentation, measured where there is nothing to learn."""

from __future__ import annotations

import numpy as np
import pytest

from emofuse.augment.policy import AugmentOptions
from emofuse.errors import OptionError
from emofuse.evaluation.label_leak import label_leak, voiced_signal

CLASSES = ("anger", "happiness", "neutral", "sadness")


@pytest.mark.parametrize(
    ("options", "low", "high"),
    [
        ({"policy": "class", "p": 1.0}, 0.6, 1.0),
        ({"policy": "random", "p": 1.0}, 0.0, 0.45),
    ],
)
def test_held_out_items_give_their_label_away_only_where_it_was_written_in(
    options: dict[str, object], low: float, high: float
) -> None:
    found = label_leak(AugmentOptions.parse(options), items=120, classes=CLASSES)
    assert low <= found.augmented_f1 <= high
    assert found.clean_f1 <= 0.45
    assert found.chance == 0.25


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "low", "high"),
    [
        ({"policy": "class", "p": 1.0}, 0.9, 1.0),
        ({"policy": "class-code", "p": 1.0}, 0.65, 0.9),
        ({"policy": "class", "p": 0.5}, 0.45, 0.7),
        ({"policy": "random", "p": 1.0}, 0.0, 0.35),
    ],
)
def test_the_figures_at_full_size(options: dict[str, object], low: float, high: float) -> None:
    found = label_leak(AugmentOptions.parse(options), classes=CLASSES)
    assert low <= found.augmented_f1 <= high
    assert found.clean_f1 <= 0.35


def test_nothing_is_found_where_nothing_is_done() -> None:
    found = label_leak(AugmentOptions(), items=60, classes=("anger", "sadness"))
    assert found.augmented_f1 == found.clean_f1
    with pytest.raises(OptionError, match="too few"):
        label_leak(AugmentOptions(), items=10, classes=CLASSES)


def test_signals_are_voiced_and_last_as_long_as_utterances() -> None:
    waves = [voiced_signal(np.random.default_rng(seed)) for seed in range(60)]
    assert np.median([len(wave) / 16_000 for wave in waves]) == pytest.approx(3.5, abs=0.8)
    assert all(np.isfinite(wave).all() and np.abs(wave).max() < 1 for wave in waves)
