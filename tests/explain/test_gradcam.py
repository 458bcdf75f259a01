from __future__ import annotations

import numpy as np
import pytest
import torch

from emofuse.encoders.logmel import mel_edges
from emofuse.errors import OptionError
from emofuse.explain.gradcam import cam_layers, choose_layer, grad_cam, seen_frames, spread
from emofuse.explain.panel import NotApplicable
from emofuse.explain.randomise import compare_redrawn
from emofuse.models.build import build_model
from emofuse.models.contract import Batch, ModelSpec, Sequences
from emofuse.probes.companions import redraw

from .conftest import BURST, DISTRACTING, TELLING, fit, one_of, whole


def region(start: float, hertz: float, frames: int, reach: int = 6):
    """Where a burst lies on the map: half a cell of slack in time, a few bands in frequency."""
    times = 0.0125 + np.arange(frames) / 100
    bands = mel_edges()[1:-1]
    band = int(np.abs(bands - hertz).argmin())
    near = np.abs(np.arange(64) - band) <= reach
    inside = (times >= start - 0.05) & (times <= start + BURST + 0.05)
    return near[:, None] & inside[None, :]


def lifts(model, values, starts, layer=None, reach=6):
    """Heat inside the telling and the distracting burst, each as a multiple of its area."""
    found = []
    for row in range(49, 64, 2):
        cam = grad_cam(model, one_of(values, row), choose_layer(model, layer), 1)
        places = zip((TELLING, DISTRACTING), starts[row], strict=True)
        where = [region(start, hertz, values.shape[1], reach) for hertz, start in places]
        heat = cam.fine / max(cam.fine.mean(), 1e-30)
        found.append([heat[one].mean() for one in where])
    return np.array(found)


def test_a_planted_burst_is_found_by_the_convolutions(conv_model, bursts):
    values, labels, starts = bursts
    with torch.no_grad():
        right = conv_model(whole(values[48:])).logits.argmax(dim=1) == labels[48:]
    assert right.all()  # else there is nothing to explain
    telling, other = lifts(conv_model, values, starts).mean(axis=0)
    assert telling > 4.0
    assert telling > 1.3 * other


def test_redrawn_weights_destroy_the_map(conv_model, bursts):
    values, _, starts = bursts
    layer = choose_layer(conv_model, None)
    found = []
    for row in range(49, 57, 2):
        batch = one_of(values, row)
        drawn = compare_redrawn(
            conv_model, lambda m, b=batch: grad_cam(m, b, layer, 1).fine, 4, seed=row
        )
        found += drawn.known
    assert len(found) >= 8
    assert abs(float(np.mean(found))) < 0.3
    own = compare_redrawn(conv_model, lambda _: grad_cam(conv_model, batch, layer, 1).fine, 1)
    assert own.known == [pytest.approx(1.0)]
    strange = redraw(conv_model, 0).eval()
    assert lifts(strange, values, starts).mean(axis=0)[0] < 3.0


@pytest.mark.slow
def test_a_planted_burst_is_found_by_the_resnet(bursts):
    values, labels, starts = bursts
    options = {"architecture": "resnet18", "dropout": 0.0}
    model = build_model("copenhagen", options, ModelSpec({"audio": 64}, 2), 0)
    fit(model, whole(values[:48]), labels[:48], 8, 3e-4)
    for part in model.modules():  # so few steps leave the running statistics behind
        if hasattr(part, "momentum"):
            part.momentum = 1.0
    model.train()
    with torch.no_grad():
        model(whole(values[:48]))
    model.eval()
    with torch.no_grad():
        right = model(whole(values[48:])).logits.argmax(dim=1) == labels[48:]
    assert right.float().mean() > 0.9
    name = "network.trunk.resnet.stages.1.1"
    telling, other = lifts(model, values, starts, name).mean(axis=0)
    assert telling > 2.0
    assert telling > other


@pytest.mark.parametrize("layer", ["network.trunk.activations.1", "network.trunk.activations.2"])
def test_it_is_what_captum_computes(conv_model, bursts, layer):
    from captum.attr import LayerGradCam

    values, _, _ = bursts
    batch, label = one_of(values, 51), 1
    ours = grad_cam(conv_model, batch, choose_layer(conv_model, layer), label)

    def centred(given):
        mask = torch.ones(given.shape[:2], dtype=torch.bool)
        logits = conv_model(Batch({"audio": Sequences(given, mask)})).logits
        return logits[:, label] - logits.mean(dim=1)

    theirs = LayerGradCam(centred, conv_model.get_submodule(layer)).attribute(
        batch.modalities["audio"].values.clone().requires_grad_(True), relu_attributions=True
    )
    np.testing.assert_allclose(ours.coarse, theirs[0, 0].detach().numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("architecture", ["resnet18", "cnn-bilstm"])
def test_cells_stand_where_they_look(architecture):
    """The input that moves a cell lies around the cell's own place, in frames and in bands."""
    model = build_model(
        "copenhagen", {"architecture": architecture}, ModelSpec({"audio": 64}, 3), 0
    ).eval()
    values = torch.randn(1, 192, 64, generator=torch.Generator().manual_seed(0))
    for layer in cam_layers(model).values():
        found = {}

        def keep(_module, _given, result, kept=found):
            kept["maps"] = result[0] if isinstance(result, tuple) else result

        hook = model.get_submodule(layer.name).register_forward_hook(keep)
        given = values.clone().requires_grad_(True)
        model(Batch({"audio": Sequences(given, torch.ones(1, 192, dtype=torch.bool))}))
        hook.remove()
        maps = found["maps"]
        row, column = maps.shape[2] // 2, maps.shape[3] // 2
        (moved,) = torch.autograd.grad(maps[0, :, row, column].square().sum(), given)
        sizes = moved[0].abs().double()
        frame = float((sizes.sum(1) * torch.arange(192)).sum() / sizes.sum())
        band = float((sizes.sum(0) * torch.arange(64)).sum() / sizes.sum())
        near = max(1.5, layer.stride / 3)
        assert abs(frame - layer.centres(column + 1)[-1]) < near, layer
        if layer.stride <= 8:  # the field of a deeper cell is cut off by the edges
            assert abs(band - layer.centres(row + 1)[-1]) < near, layer


def test_cells_are_interpolated_between_their_centres():
    fine = spread(np.array([[0.0, 4.0]]), np.array([1.5, 5.5]), 8, 1)
    np.testing.assert_allclose(fine[0], [0, 0, 0.5, 1.5, 2.5, 3.5, 4, 4])


def test_the_layer_is_named_and_checked(conv_model):
    assert choose_layer(conv_model, None).name == "network.trunk.activations.2"
    with pytest.raises(OptionError, match="activations.0"):
        choose_layer(conv_model, "network.trunk.activation.0")
    plain = build_model("mlp", {}, ModelSpec({"audio": 64}, 3), 0)
    with pytest.raises(NotApplicable, match="no convolution over a spectrogram"):
        choose_layer(plain, None)


def test_a_longer_clip_is_seen_in_its_middle():
    options = {"architecture": "cnn-bilstm", "max_frames": 100}
    model = build_model("copenhagen", options, ModelSpec({"audio": 64}, 3), 0).eval()
    assert seen_frames(model, 80) == (0, 80)
    assert seen_frames(model, 160) == (30, 100)
    values = torch.randn(1, 160, 64, generator=torch.Generator().manual_seed(0))
    cam = grad_cam(model, one_of(values, 0), choose_layer(model, None), 0)
    inner = grad_cam(model, one_of(values[:, 30:130], 0), choose_layer(model, None), 0)
    assert cam.start == 30
    np.testing.assert_allclose(cam.fine, inner.fine, atol=1e-6)
