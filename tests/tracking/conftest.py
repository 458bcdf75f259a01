from __future__ import annotations

import pytest
from tests.sentences import toy_sentences


@pytest.fixture
def recipe_data(tmp_path):
    """FleSER on words of three classes, small enough to train in a second."""
    return toy_sentences(
        tmp_path,
        encoders={"text": {"name": "ngrams", "dim": 64}},
        model={"name": "fleser", "hidden": 16, "heads": 2},
        objective=[{"name": "cross-entropy"}, {"name": "supcon", "of": "text", "weight": 0.1}],
        trainer={"epochs": 5},
    )
