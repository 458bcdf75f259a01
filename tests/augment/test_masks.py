"""Masks on spectrograms: where they fall, how wide, and that they reach no padding."""

from __future__ import annotations

import pytest
import torch

from emofuse.augment.draw import Mask
from emofuse.augment.masks import draw_plan, hide, plan_of
from emofuse.augment.styles import MaskOptions
from emofuse.errors import OptionError

ONES = torch.ones(3, 50, 8)
REAL = torch.arange(50) < torch.tensor([50, 20, 0])[:, None]


def hidden(*masks: Mask) -> torch.Tensor:
    plan = plan_of([masks] * 3)
    return hide(ONES, REAL, plan, torch.zeros(8)) == 0


def test_time_masks_are_cut_at_their_share_of_the_real_frames() -> None:
    found = hidden(Mask(axis="time", size=30, place=0.0))
    assert found[:, :, 0].sum(dim=1).tolist() == [10, 4, 0]
    last = hidden(Mask(axis="time", size=30, place=1.0))
    assert last[0, 40:].all()
    assert last[1, 16:20].all()
    assert not last[1, 20:].any()
    assert hidden(Mask(axis="time", size=30, place=0.5, share=0.5))[0, :, 0].sum() == 25


def test_band_masks_cover_real_frames_alone() -> None:
    lowest, highest = (hidden(Mask(axis="band", size=3, place=p)) for p in (0.0, 1.0))
    assert lowest[0, :, :3].all()
    assert not lowest[0, :, 3:].any()
    assert highest[1, :20, 5:].all()
    assert not highest[1, 20:].any()
    assert hidden(Mask(axis="band", size=99, place=0.3))[0].all()


def test_the_fill_is_put_in_and_the_rest_is_left() -> None:
    fill = torch.arange(8.0)
    values = torch.randn(3, 50, 8, generator=torch.Generator().manual_seed(0))
    plan = plan_of([[Mask(axis="band", size=2, place=0.0)], [], []])
    found = hide(values, REAL, plan, fill)
    assert torch.equal(found[0, :, :2], fill[:2].expand(50, 2))
    assert torch.equal(found[0, :, 2:], values[0, :, 2:])
    assert torch.equal(found[1:], values[1:])


def test_drawn_plans_keep_their_ranges_and_probabilities() -> None:
    options = MaskOptions(times=2, frames=(3, 9), time_p=0.5, band_masks=1, bands=(1, 4), band_p=1)
    plan = draw_plan(options, 2000, torch.Generator().manual_seed(0))
    again = draw_plan(options, 2000, torch.Generator().manual_seed(0))
    assert torch.equal(plan, again)
    assert plan.shape == (2000, 3, 4)
    times, bands = plan[:, :2], plan[:, 2]
    shown = times[..., 1] > 0
    assert float(shown.float().mean()) == pytest.approx(0.5, abs=0.03)
    assert set(times[..., 1][shown].tolist()) == set(range(3, 10))
    assert set(bands[:, 1].tolist()) == {1, 2, 3, 4}
    lowest = draw_plan(MaskOptions(lowest=True), 10, torch.Generator().manual_seed(0))
    assert not lowest[:, 1, 2].any()


def test_ranges_of_widths_are_checked() -> None:
    with pytest.raises(OptionError, match="no range of widths"):
        MaskOptions.parse({"bands": [9, 3]})
