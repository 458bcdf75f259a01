from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from emofuse.explain.attention import entropy_share, read_maps
from emofuse.explain.axes import TimeAxis, band_hertz, time_axis
from emofuse.explain.opening import open_run
from emofuse.explain.panel import NotApplicable
from emofuse.explain.trajectory import windows_of
from emofuse.models.build import build_model
from emofuse.models.contract import Batch, EmotionOutput, ModelSpec, Sequences


@pytest.fixture(scope="module")
def case(fleser_run):
    return open_run(fleser_run).case("s0-anger-0")


def with_model(case, model, batch=None):
    """The same utterance before another model."""
    batch = case.batch if batch is None else batch
    with torch.no_grad():
        output = model.eval()(batch)
    return replace(case, model=model, batch=batch, output=output)


def test_a_map_across_has_seconds_and_words(case):
    maps, refused = read_maps(case)
    across = {one.name: one for one in maps}["text->audio"]
    assert not refused
    words = case.utterance.text.split()
    assert list(across.queries.labels) == words
    frames = case.batch.modalities["audio"].values.shape[1]
    assert across.weights.shape == (len(words), frames)
    # 25 frames a second, four windows of 25 ms every 10 ms each: the first is centred at 27.5 ms
    np.testing.assert_allclose(across.keys.times, 0.0275 + 0.04 * np.arange(frames))
    np.testing.assert_allclose(across.weights.sum(axis=1), 1.0, rtol=1e-5)
    given = case.output.attention["text->audio"][0]
    np.testing.assert_allclose(across.weights, given.mean(dim=0).numpy())
    assert across.heads == 2


def test_one_map_over_both_is_cut_into_its_parts(case):
    dims = {name: part.values.shape[2] for name, part in case.batch.modalities.items()}
    model = build_model(
        "fleser", {"fusion": "self_attention", "hidden": 16, "heads": 2}, ModelSpec(dims, 3), 0
    )
    maps, _ = read_maps(with_model(case, model))
    found = {one.name: one for one in maps}
    words = len(case.utterance.text.split())
    across = found["fused->fused: text->audio"]
    output = model(case.batch).attention["fused->fused"][0].detach().mean(dim=0).numpy()
    np.testing.assert_allclose(across.weights, output[:words, words:], rtol=1e-5)
    back = found["fused->fused: audio->text"]
    np.testing.assert_allclose(back.weights, output[words:, :words], rtol=1e-5)
    assert list(back.keys.labels) == case.utterance.text.split()


def test_attention_over_one_element_is_refused(case):
    pooled = {
        name: Sequences(part.values.mean(dim=1, keepdim=True), part.mask[:, :1])
        for name, part in case.batch.modalities.items()
    }
    dims = {name: part.values.shape[2] for name, part in pooled.items()}
    options = {"variant": "published", "fusion": "cross_attention", "hidden": 16, "heads": 2}
    model = build_model("fleser", options, ModelSpec(dims, 3), 0)
    maps, refused = read_maps(with_model(case, model, Batch(pooled)))
    assert not maps
    assert set(refused) == {"text->text", "audio->audio", "text->audio", "audio->text"}
    assert all("over one element" in why for why in refused.values())


class Maps(torch.nn.Module):
    """Gives maps as a model would."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, batch):
        return EmotionOutput(
            torch.zeros(len(batch), 3), attention={"text->audio": self.make(batch)}
        )


def test_a_map_of_the_batch_is_refused(case):
    words, frames = (case.batch.modalities[n].values.shape[1] for n in ("text", "audio"))

    def averaged(batch):
        return torch.softmax(torch.ones(1, words, frames), dim=-1).expand(2, -1, -1)

    def loud(batch):
        scores = batch.modalities["audio"].values.mean(dim=2)
        mixed = scores.mean(dim=0, keepdim=True).expand(len(batch), -1)
        return torch.softmax(mixed, dim=1)[:, None].expand(-1, words, -1)

    _, refused = read_maps(with_model(case, Maps(averaged)))
    assert "map of a batch" in refused["text->audio"]
    _, refused = read_maps(with_model(case, Maps(loud)))
    assert "company" in refused["text->audio"]


def test_units_that_are_no_frames_are_refused(case):
    words = case.batch.modalities["text"].values.shape[1]
    model = Maps(lambda batch: torch.softmax(torch.ones(len(batch), words, 7), dim=-1))
    _, refused = read_maps(with_model(case, model))
    assert "7 audio units are not the" in refused["text->audio"]


def test_a_model_without_attention_is_refused(case):
    model = build_model("late-fusion", {}, ModelSpec(case.subject.table.dims, 3), 0)
    with pytest.raises(NotApplicable, match="gives no attention"):
        read_maps(with_model(case, model))


@pytest.mark.parametrize("frames", [40, 41, 43])
def test_patches_stand_at_their_middle(case, frames):
    audio = torch.randn(1, frames, 64, generator=torch.Generator().manual_seed(0))
    batch = Batch(
        {
            "audio": Sequences(audio, torch.ones(1, frames, dtype=torch.bool)),
            "text": case.batch.modalities["text"],
        }
    )
    spec = ModelSpec({"audio": 64, "text": 64}, 3)
    model = build_model("copenhagen", {"architecture": "cross-attention"}, spec, 0)
    maps, refused = read_maps(with_model(case, model, batch))
    assert not refused
    side = {one.name: one for one in maps}["text->audio"].keys
    assert len(side) == -(-frames // 4)
    assert side.times[1] == pytest.approx(0.0275 + 0.04 * 5.5)


def test_a_flat_map_is_seen():
    assert entropy_share(np.full((3, 8), 1 / 8)) == pytest.approx(1.0)
    assert entropy_share(np.eye(8)[:3]) == pytest.approx(0.0, abs=1e-9)


def test_frames_have_times():
    mel = {"spec": {"name": "logmel", "granularity": "frames", "stride": 1}, "frame_rate": 100.0}
    np.testing.assert_allclose(time_axis(mel).centres(3), [0.0125, 0.0225, 0.0325])
    other = {"spec": {"name": "some/hubert"}, "frame_rate": 50.0}
    np.testing.assert_allclose(time_axis(other).centres(2), [0.01, 0.03])
    assert time_axis({"frame_rate": None}) == TimeAxis(None)
    assert time_axis({}).centres(3).tolist() == [0, 1, 2]
    hertz = band_hertz(mel)
    assert hertz.shape == (64,)
    assert hertz[0] == pytest.approx(700 * (10 ** ((31.748 + 43.2) / 2595) - 1), rel=0.01)
    with pytest.raises(NotApplicable, match="no mel bands"):
        band_hertz(other)


def test_windows_end_with_the_audio():
    assert windows_of(3.0, 1.0, 1.0) == [0.0, 1.0, 2.0]
    assert windows_of(1.1, 1.0, 0.25) == [0.0, 0.1]
