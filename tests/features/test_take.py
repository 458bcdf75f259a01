from __future__ import annotations

import numpy as np
import torch

from emofuse.features.table import Ragged


def test_taken_items_are_the_items():
    random = np.random.default_rng(0)
    arrays = [random.normal(size=(n, 3)).astype(np.float32) for n in (2, 0, 5, 1)]
    ragged = Ragged.from_arrays([a if len(a) else None for a in arrays], 3)
    order = [3, 1, 2, 2, 0]
    found = ragged.take(torch.tensor(order))
    assert found.lengths.tolist() == [1, 0, 5, 5, 2]
    assert np.array_equal(found.values.numpy(), np.concatenate([arrays[i] for i in order]))
    assert ragged.take(torch.tensor([], dtype=torch.long)).values.shape == (0, 3)
