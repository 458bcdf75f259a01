"""VGGish: the front end against SciPy and transformers, the network against a plain loop."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann
from transformers.audio_utils import mel_filter_bank

from emofuse.encoders.build import describe_encoder, load_encoder
from emofuse.encoders.contract import EncoderSpec, Item
from emofuse.encoders.vggish_frontend import mel_weights, patches
from emofuse.encoders.vggish_network import Postprocessor, VGGishNetwork, read_weights
from emofuse.errors import EncoderError, OptionError
from emofuse.features.keys import encoder_space


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(scale=0.1, size=samples).astype(np.float32)


def filters():
    return mel_filter_bank(
        257, 64, 125.0, 7500.0, 16_000, mel_scale="htk", triangularize_in_mel_space=True
    )


def twin(wave):
    """Log-mel frames by SciPy's transform and transformers' filters."""
    transform = ShortTimeFFT(hann(400, sym=False), 160, 16_000, mfft=512)
    frames = 1 + (len(wave) - 400) // 160
    # SciPy's slice p is centred on sample 160 p: with 120 more in front, slice 2 begins at 0.
    spectrum = transform.stft(np.pad(wave.astype(float), (120, 0)), p0=2, p1=2 + frames)
    return np.log(np.abs(spectrum).T @ filters() + 0.01)


def test_mel_weights_are_those_of_transformers():
    expected = filters()
    expected[0] = 0.0
    np.testing.assert_allclose(mel_weights().numpy(), expected, atol=1e-6)
    assert bool((mel_weights().sum(dim=0) > 0).all())


@pytest.mark.parametrize("samples", [15_600, 31_000, 48_000, 100_001])
@pytest.mark.parametrize("released", [False, True])
def test_patches_are_those_of_the_twin(samples, released):
    wave = noise(samples)
    frames = twin(wave)
    whole = 1 + (len(frames) - 96) // 96
    found = patches(wave, released=released)
    np.testing.assert_allclose(
        found[:whole], frames[: 96 * whole].reshape(whole, 96, 64), atol=2e-5
    )
    if released or len(frames) == 96 * whole:
        assert len(found) == whole
    else:
        assert len(found) == whole + 1
        np.testing.assert_allclose(found[-1], frames[-96:], atol=2e-5)


def test_a_short_clip_is_filled_up_with_silence_and_the_released_one_with_a_loud_block():
    wave = 0.1 * noise(8_000)
    frames = 1 + (8_000 - 400) // 160
    silent, loud = patches(wave)[0], patches(wave, released=True)[0]
    assert silent.shape == loud.shape == (96, 64)
    np.testing.assert_allclose(silent[:frames], loud[:frames], atol=1e-5)
    np.testing.assert_allclose(silent[frames + 3 :], np.log(0.01), atol=1e-5)
    assert not loud[frames:].any()
    assert loud[frames:].mean() > loud[:frames].mean() > np.log(0.01)
    assert patches(noise(10)).shape == patches(noise(10), released=True).shape == (1, 96, 64)


def test_a_clip_of_0_975_seconds_is_one_patch():
    assert [len(patches(noise(n))) for n in (15_599, 15_600, 15_760, 30_960)] == [1, 1, 2, 2]
    released = [len(patches(noise(n), released=True)) for n in (15_760, 30_959, 30_960)]
    assert released == [1, 1, 2]


def test_network_has_the_size_and_the_names_of_the_common_port():
    network = VGGishNetwork()
    assert sum(one.numel() for one in network.parameters()) == 72_141_184
    names = {key.removesuffix(".weight") for key in network.state_dict() if "weight" in key}
    convolutions = {f"features.{place}" for place in (0, 3, 6, 8, 11, 13)}
    assert names == convolutions | {f"embeddings.{place}" for place in (0, 2, 4)}
    assert network.state_dict()["embeddings.0.weight"].shape == (4096, 12_288)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder as the released files lie in it: the network, and the PCA beside it."""
    folder = tmp_path_factory.mktemp("vggish")
    torch.manual_seed(0)
    network = VGGishNetwork()
    with torch.no_grad():
        for one in network.parameters():  # so that something is left after nine layers
            one.mul_(2.0)
    torch.save(network.state_dict(), folder / "vggish-10086976.pth")
    torch.manual_seed(1)
    pca = {
        "pca_eigen_vectors": torch.linalg.qr(torch.randn(128, 128))[0] * 5,
        "pca_means": torch.rand(128, 1),
    }
    torch.save(pca, folder / "vggish_pca_params-970ea276.pth")
    yield folder, network.eval(), pca
    shutil.rmtree(folder)  # 0.3 GB


@pytest.fixture(autouse=True)
def tidy(tmp_path):
    """Leave no weights behind."""
    yield
    shutil.rmtree(tmp_path)


def plain(network, cut):
    """The network, layer by layer, from its state alone."""
    state, values = network.state_dict(), torch.from_numpy(cut)[:, None]
    for place, pooled in ((0, 1), (3, 1), (6, 0), (8, 1), (11, 0), (13, 1)):
        weight, bias = (state[f"features.{place}.{kind}"] for kind in ("weight", "bias"))
        values = torch.conv2d(values, weight, bias, padding=1).clamp_min(0)
        if pooled:
            values = values.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5))
    values = torch.stack(
        [values[:, :, row, band] for row in range(6) for band in range(4)], dim=1
    ).flatten(1)
    for place in (0, 2, 4):
        weight, bias = (state[f"embeddings.{place}.{kind}"] for kind in ("weight", "bias"))
        values = (values @ weight.T + bias).clamp_min(0)
    return values


def encoder(folder, marks="", **options):
    options = {"granularity": "frames"} | options
    return load_encoder("audio", EncoderSpec(name=f"vggish{marks}:{folder}", **options))


def test_embeddings_are_those_of_the_plain_loop(weights):
    folder, network, pca = weights
    items = [Item("a", waveform=noise(40_000)), Item("b", waveform=noise(9_000, 1))]
    raw, white, eight = (
        encoder(folder, marks).encode(items) for marks in ("", "+pca", "+quantised")
    )
    with torch.no_grad():
        expected = plain(network, patches(items[0].waveform)).numpy()
    assert raw[0].shape == (3, 128)
    assert raw[1].shape == (1, 128)
    assert float(raw[0].std()) > 1e-3
    np.testing.assert_allclose(raw[0], expected, atol=1e-4 * np.abs(expected).max())
    matrix, means = pca["pca_eigen_vectors"].numpy(), pca["pca_means"].numpy()
    whitened = (matrix @ (raw[0].T - means)).T
    np.testing.assert_allclose(white[0], whitened, atol=1e-4)
    levels = np.rint((np.clip(whitened, -2, 2) + 2) * 255 / 4)
    assert np.abs(eight[0] - levels).max() <= 1.0  # a value on the edge of two levels
    assert (eight[0] == levels).mean() > 0.99
    assert eight[0].min() >= 0.0
    assert eight[0].max() <= 255.0


def test_alone_and_in_a_batch_are_the_same(weights):
    folder = weights[0]
    made = encoder(folder)
    items = [Item(str(n), waveform=noise(n, n)) for n in (15_600, 40_000, 3_000)]
    for item, found in zip(items, made.encode(items), strict=True):
        np.testing.assert_allclose(made.encode([item])[0], found, atol=1e-4)


def test_safetensors_and_pickles_give_the_same(weights, tmp_path):
    folder, network, pca = weights
    state = {key: part.clone() for key, part in network.state_dict().items()}
    state |= {f"pproc.{key}": part.contiguous() for key, part in pca.items()}
    save_file(state, tmp_path / "model.safetensors")
    item = Item("a", waveform=noise(20_000))
    found = [encoder(one, "+pca").encode([item])[0] for one in (folder, tmp_path)]
    np.testing.assert_array_equal(*found)
    assert encoder(tmp_path / "model.safetensors", "+pca").dim == 128


def test_what_is_wanted_is_part_of_the_key(weights):
    folder = weights[0]
    made = [encoder(folder, marks) for marks in ("", "+pca", "+quantised", "+released")]
    assert len({encoder_space(one) for one in made}) == 4
    about = describe_encoder(made[0])
    assert about["dim"] == 128
    assert about["frame_rate"] == pytest.approx(1 / 0.96)
    assert about["provenance"]["known"]
    assert encoder(folder, "+released", granularity="pooled", pooling="mean+std").dim == 256
    text = EncoderSpec.from_text(f"vggish+pca:{folder}:granularity=frames")
    assert (text.name, text.granularity) == (f"vggish+pca:{folder}", "frames")


def test_patches_are_features():
    made = load_encoder("audio", EncoderSpec(name="vggish-patches", granularity="frames"))
    item = Item("a", waveform=noise(40_000))
    np.testing.assert_array_equal(
        made.encode([item])[0], patches(item.waveform).reshape(-1, 96 * 64)
    )
    released = load_encoder("audio", EncoderSpec(name="vggish-patches+released"))
    assert released.encode([item])[0].shape == (1, 6144)
    assert encoder_space(made) != encoder_space(released)


def test_pca_tensors_are_buffers():
    for kind, names in (("none", set()), ("pca", {"pca_eigen_vectors", "pca_means"})):
        assert set(Postprocessor(kind).state_dict()) == names
    assert all(part.is_meta for part in Postprocessor("quantised").to("meta").buffers())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vggish", {}, "needs the place of its weights"),
        ("vggish+quantized:x", {}, "did you mean 'quantised'"),
        ("vggish+pca+quantised:x", {}, "quantised includes pca"),
        ("vggish-patches+pca", {}, "unknown 'pca'"),
        ("vggish-patches:weights", {}, "has no weights"),
        ("vggish:x", {"layer": 3}, "no option 'layer'"),
        ("vggish:x", {"precision": "bf16"}, "no option 'precision'"),
        ("vggish-patches", {"stride": 2}, "stride"),
    ],
)
def test_mistakes_are_named(name, options, message):
    with pytest.raises(OptionError, match=message):
        load_encoder("audio", EncoderSpec(name=name, **options))


def test_bad_weights_are_one_clear_line(weights, tmp_path):
    with pytest.raises(EncoderError, match="no VGGish weights at '"):
        encoder(tmp_path)
    item = Item("a", waveform=noise(1_000))
    (tmp_path / "broken.pth").write_bytes(b"not a file of torch")
    with pytest.raises(EncoderError, match="cannot be read as weights"):
        encoder(tmp_path).encode([item])
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "broken.pth")
    with pytest.raises(EncoderError, match="lacks 17 weights of VGGish"):
        encoder(tmp_path).encode([item])
    torch.save([1, 2], tmp_path / "broken.pth")
    with pytest.raises(EncoderError, match="no state dict"):
        encoder(tmp_path).encode([item])
    state = dict(weights[1].state_dict()) | {"features.0.bias": torch.zeros(3)}
    torch.save(state, tmp_path / "broken.pth")
    with pytest.raises(EncoderError, match="features.0.bias is of shape"):
        read_weights(tmp_path, VGGishNetwork(), Postprocessor("none"))
    with pytest.raises(EncoderError, match="lacks 2 weights of VGGish .pca_eigen_vectors"):
        torch.save(dict(weights[1].state_dict()), tmp_path / "broken.pth")
        read_weights(tmp_path, VGGishNetwork(), Postprocessor("pca"))


def test_code_in_a_weights_file_is_not_run(tmp_path):
    class Bad:
        def __reduce__(self):
            return (exit, (3,))

    torch.save({"features.0.weight": Bad()}, tmp_path / "bad.pth")
    with pytest.raises(EncoderError, match="cannot be read as weights"):
        encoder(tmp_path).encode([Item("a", waveform=noise(1_000))])
