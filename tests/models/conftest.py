from __future__ import annotations

import pytest
import torch

from emofuse.models.contract import Batch, Sequences

DIMS = {"audio": 7, "text": 5, "video": 4}


@pytest.fixture
def make_batch():
    """Random sequences of 1 to 5 frames; a quarter of the items lack each modality, none all."""

    def make(dims=None, items=9, frames=5, absent=True, seed=0):
        dims = DIMS if dims is None else dims
        random = torch.Generator().manual_seed(seed)
        parts = {}
        for place, (name, dim) in enumerate(dims.items()):
            lengths = torch.randint(1, frames + 1, (items,), generator=random)
            if absent and len(dims) > 1:
                lengths[torch.arange(items) % 4 == place] = 0
            mask = torch.arange(frames)[None] < lengths[:, None]
            values = torch.randn(items, frames, dim, generator=random) * mask[..., None]
            parts[name] = Sequences(values, mask)
        return Batch(parts)

    return make
