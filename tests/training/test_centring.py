"""Training features without their speaker's mean."""

from __future__ import annotations

import pytest
import torch

from emofuse.errors import OptionError
from emofuse.features.augmented import Views
from emofuse.training.centring import centre_groups
from emofuse.training.feeder import Feeder
from emofuse.training.fit import Blueprint
from emofuse.training.judge import judge, recognise
from emofuse.training.options import TrainerOptions
from emofuse.training.trainer import Trainer

CLASSES = ("anger", "happiness", "sadness")


def offsets(table, part, size):
    """The table with something of every training speaker's own in its features."""
    audio = table.modalities["audio"]
    own = size * torch.randn(100, audio.dim, generator=torch.Generator().manual_seed(5))
    values = audio.values.clone()
    values[part.rows] += own[part.groups] - own[part.groups].mean(dim=0)
    return type(table)(table.ids, {"audio": type(audio)(values, audio.offsets)}, {})


def test_what_a_speaker_has_of_their_own_is_gone(make_parts):
    table, train, _, _ = make_parts()
    moved = offsets(table, train, 50.0)
    one, _ = centre_groups(table, train, ["audio"])
    other, _ = centre_groups(moved, train, ["audio"])
    difference = other.modalities["audio"].values - one.modalities["audio"].values
    shift = difference[train.rows]  # the mean of all speakers' own alone is left
    torch.testing.assert_close(shift, shift[:1].expand_as(shift), atol=1e-3, rtol=0)


def test_means_of_speakers_meet_and_nobody_else_moves(make_parts):
    table, train, dev, test = make_parts()
    centred, _ = centre_groups(table, train, ["audio"])
    values, before = centred.modalities["audio"].values, table.modalities["audio"].values
    means = []
    for group in set(train.groups.tolist()):
        mine = train.groups == group
        kinds = [mine & (train.targets.labels == kind) for kind in range(3)]
        means.append(torch.stack([values[train.rows[k]].mean(dim=0) for k in kinds]).mean(dim=0))
    for mean in means:
        torch.testing.assert_close(mean, before[train.rows].mean(dim=0), atol=1e-5, rtol=0)
    for part in (dev, test):
        assert torch.equal(values[part.rows], before[part.rows])


def test_views_move_with_their_items(make_parts):
    table, train, _, _ = make_parts()
    audio = table.modalities["audio"]
    rows = torch.stack([train.rows, torch.full_like(train.rows, -1)], dim=1)
    views = Views({"audio": audio}, rows, torch.zeros(len(rows), 0, 4), 0.5, None)
    centred, part = centre_groups(
        table, type(train)(train.rows, train.targets, train.groups, views), ["audio"]
    )
    assert part.views is not None
    moved = part.views.features["audio"].values
    torch.testing.assert_close(moved[train.rows], centred.modalities["audio"].values[train.rows])


def test_sequences_and_strangers_are_refused(make_parts):
    table, train, _, _ = make_parts(frames=6)
    with pytest.raises(OptionError, match="pooled"):
        centre_groups(table, train, ["audio"])
    with pytest.raises(OptionError, match="text"):
        centre_groups(table, train, ["text"])


def test_a_trainer_that_centres_learns_from_speakers_that_differ(make_parts):
    table, train, _, test = make_parts(dims={"audio": 4}, spread=0.5)
    strange = offsets(table, train, 30.0)

    def score(centre):
        options = TrainerOptions(optimiser="lbfgs", epochs=100, weight_decay=0.1, centre=centre)
        blueprint = Blueprint("linear", {}, ({"name": "cross-entropy"},), CLASSES)
        trained = Trainer(blueprint, options).fit(strange, train, None)
        seen = recognise(trained.model, Feeder(table, test.rows))
        return judge(test.targets.labels, seen.logits.argmax(dim=1), 3)["ua"]

    assert score(("audio",)) > 0.6
    assert score(()) < score(("audio",))
