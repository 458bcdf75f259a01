from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from emofuse.encoders.build import describe_encoder, load_encoder
from emofuse.encoders.contract import EncoderSpec, Item
from emofuse.errors import EncoderError, OptionError

KINDS = (
    "wav2vec2-group",
    "wav2vec2-layer",
    "hubert-group",
    "hubert-batch-norm",
    "wavlm-group",
    "wavlm-layer",
    "data2vec-audio",
    "unispeech-sat",
    "whisper",
)
WAVE_KINDS = KINDS[:-1]


def build(folder, **options):
    return load_encoder("audio", EncoderSpec(name=str(folder), **options))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", ["last", "mean", 1])
def test_alone_and_in_a_batch_are_the_same(checkpoint, clips, kind, layer):
    encoder = build(checkpoint(kind), layer=layer, granularity="frames")
    together = encoder.encode(clips)
    backwards = encoder.encode(clips[::-1])[::-1]
    for item, batched, reverse in zip(clips, together, backwards, strict=True):
        (alone,) = encoder.encode([item])
        assert alone.shape == batched.shape
        assert alone.dtype == np.float32
        np.testing.assert_allclose(batched, alone, atol=1e-4)
        np.testing.assert_allclose(reverse, alone, atol=1e-4)


def stock_states(folder, wave, normalise=True):
    """Hidden states of the stock model on one unpadded clip, the last one with its norm."""
    from transformers import AutoModel, Wav2Vec2FeatureExtractor

    model = AutoModel.from_pretrained(folder).eval()
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    values = extractor(wave, sampling_rate=16000, return_tensors="pt").input_values
    with torch.no_grad():
        output = model(values, output_hidden_states=True)
    return [*output.hidden_states[:-1], output.last_hidden_state]


@pytest.mark.parametrize("kind", WAVE_KINDS)
def test_hidden_layers_are_those_of_the_stock_model(checkpoint, clips, kind):
    folder = checkpoint(kind)
    states = [state[0].numpy() for state in stock_states(folder, clips[0].waveform)]
    assert len(states) == 4
    for layer in (0, 2, -1, "mean"):
        (ours,) = build(folder, layer=layer, granularity="frames").encode(clips[:1])
        expected = (
            np.mean(states, axis=0) if layer == "mean" else states[3 if layer == "last" else layer]
        )
        np.testing.assert_allclose(ours, expected, atol=1e-4, err_msg=str(layer))


def test_whisper_agrees_with_the_stock_encoder_on_30_seconds(checkpoint):
    from transformers import WhisperFeatureExtractor, WhisperModel

    folder = checkpoint("whisper")
    wave = (np.random.default_rng(4).normal(size=480_000) * 0.1).astype(np.float32)
    model = WhisperModel.from_pretrained(folder).eval()
    mels = WhisperFeatureExtractor.from_pretrained(folder)(
        wave, sampling_rate=16000, return_tensors="pt"
    ).input_features
    with torch.no_grad():
        output = model.encoder(mels, output_hidden_states=True)
    states = [*output.hidden_states[:-1], output.last_hidden_state]
    item = Item("long", waveform=wave)
    for layer in (2, "mean"):
        (ours,) = build(folder, layer=layer, granularity="frames").encode([item])
        expected = (
            torch.stack(states).mean(0)
            if layer == "mean"
            else states[3 if layer == "last" else layer]
        )
        assert ours.shape == (1500, 32)
        np.testing.assert_allclose(ours, expected[0].numpy(), atol=1e-4)


def test_whisper_cuts_what_is_over_30_seconds_into_equal_parts(checkpoint):
    encoder = build(checkpoint("whisper"), granularity="frames")
    wave = (np.random.default_rng(5).normal(size=16_000 * 40) * 0.1).astype(np.float32)
    (whole,) = encoder.encode([Item("a", waveform=wave)])
    halves = encoder.encode(
        [Item("b", waveform=wave[: 16_000 * 20]), Item("c", waveform=wave[16_000 * 20 :])]
    )
    assert whole.shape == (2000, 32)
    np.testing.assert_allclose(whole, np.concatenate(halves), atol=1e-4)


@pytest.mark.parametrize("kind", WAVE_KINDS)
@pytest.mark.parametrize("samples", [1, 130, 170, 4000])
def test_frame_counts_and_very_short_clips(checkpoint, kind, samples):
    encoder = build(checkpoint(kind), granularity="frames")
    wave = np.full(samples, 0.1, np.float32)
    wave[0] = 0.3
    (frames,) = encoder.encode([Item("a", waveform=wave)])
    expected = samples
    for kernel, stride in ((10, 5), (3, 4), (3, 4)):
        expected = (expected - kernel) // stride + 1
    assert frames.shape == (max(expected, 1), 32)
    assert np.isfinite(frames).all()
    assert encoder.frame_rate == pytest.approx(200.0)


@pytest.mark.parametrize(("samples", "count"), [(1, 1), (400, 1), (480, 2), (16000, 50)])
def test_whisper_frame_counts(checkpoint, samples, count):
    encoder = build(checkpoint("whisper"), granularity="frames")
    (frames,) = encoder.encode([Item("a", waveform=np.full(samples, 0.1, np.float32))])
    assert frames.shape == (count, 32)
    assert encoder.frame_rate == 50.0
    assert np.isfinite(frames).all()


@pytest.mark.parametrize("kind", ["hubert-group", "whisper"])
def test_silent_and_clipped_audio(checkpoint, kind):
    encoder = build(checkpoint(kind), pooling="mean+std")
    square = np.sign(np.sin(np.arange(8000))).astype(np.float32)
    items = [Item("silent", waveform=np.zeros(8000, np.float32)), Item("clip", waveform=square)]
    for vector in encoder.encode(items):
        assert vector.shape == (1, 64)
        assert np.isfinite(vector).all()


@pytest.mark.parametrize("kind", ["wav2vec2-layer", "whisper"])
def test_bf16_stays_close(checkpoint, clips, kind):
    exact = build(checkpoint(kind)).encode(clips)
    rough = build(checkpoint(kind), precision="bf16").encode(clips)
    for a, b in zip(exact, rough, strict=True):
        cosine = float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))
        assert cosine > 0.99
        assert not np.array_equal(a, b)


def test_pickled_weights_are_read_as_weights_only(checkpoint, clips, tmp_path):
    from safetensors.torch import load_file

    source = checkpoint("hubert-group")
    shutil.copytree(source, tmp_path / "bin")
    weights = load_file(tmp_path / "bin" / "model.safetensors")
    (tmp_path / "bin" / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "bin" / "pytorch_model.bin")
    np.testing.assert_allclose(
        build(tmp_path / "bin").encode(clips)[0], build(source).encode(clips)[0], atol=1e-6
    )


def test_malicious_pickle_is_refused(checkpoint, clips, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    shutil.copytree(checkpoint("hubert-group"), tmp_path / "evil")
    (tmp_path / "evil" / "model.safetensors").unlink()
    torch.save({"a": Evil()}, tmp_path / "evil" / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="cannot be loaded"):
        build(tmp_path / "evil").encode(clips)
    assert not (tmp_path / "owned").exists()


def test_incomplete_and_damaged_checkpoints_are_named(checkpoint, clips, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(checkpoint("hubert-group"), tmp_path / "part")
    path = tmp_path / "part" / "model.safetensors"
    weights = load_file(path)
    whole = path.read_bytes()
    weights.pop("encoder.layers.0.attention.k_proj.weight")
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(EncoderError, match="lacks 1 weights"):
        build(tmp_path / "part").encode(clips)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EncoderError, match="cannot be loaded"):
        build(tmp_path / "part").encode(clips)
    path.unlink()
    with pytest.raises(EncoderError, match="no weights"):
        build(tmp_path / "part")


def test_fingerprint_follows_the_weights_not_the_place(checkpoint, tmp_path):
    from safetensors.torch import load_file, save_file

    source = checkpoint("hubert-group")
    shutil.copytree(source, tmp_path / "copy")
    first, second = build(source), build(tmp_path / "copy")
    assert first.revision == second.revision
    assert first.revision.startswith("sha256:")
    path = tmp_path / "copy" / "model.safetensors"
    weights = load_file(path)
    next(iter(weights.values())).add_(1e-3)
    save_file(weights, path, {"format": "pt"})
    assert build(tmp_path / "copy").revision != first.revision


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer": 4}, "no hidden layer 4; legal: 0 to 3"),
        ({"layer": -5}, "no hidden layer -5"),
        ({"pooling": "cls"}, "no cls token"),
        ({"dim": 64}, "no option 'dim'"),
        ({"revision": "v1"}, "no revision to choose"),
    ],
)
def test_options_a_model_lacks_are_refused(checkpoint, change, words):
    with pytest.raises(OptionError, match=words):
        build(checkpoint("wav2vec2-group"), **change)


def test_wrong_model_kinds_are_named(checkpoint):
    with pytest.raises(EncoderError, match="not a speech encoder"):
        build(checkpoint("bert"))
    with pytest.raises(EncoderError, match="an audio encoder"):
        load_encoder("text", EncoderSpec(name=str(checkpoint("whisper"))))


def test_bad_waveforms_are_refused(checkpoint):
    encoder = build(checkpoint("wav2vec2-group"))
    for wave in (None, np.zeros(0, np.float32), np.full(500, np.nan, np.float32)):
        with pytest.raises(EncoderError, match="'x'"):
            encoder.encode([Item("x", waveform=wave)])


def test_description_is_enough_to_encode_again(checkpoint, clips):
    encoder = build(checkpoint("whisper"), layer="mean", pooling="mean+std")
    about = describe_encoder(encoder)
    again = load_encoder("audio", EncoderSpec.parse(about["spec"]))
    assert again.revision == about["revision"]
    assert again.dim == about["dim"] == 64
    np.testing.assert_array_equal(again.encode(clips)[0], encoder.encode(clips)[0])


def test_hub_names_without_a_network(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EncoderError, match="hub cannot be reached"):
        load_encoder("audio", EncoderSpec(name="facebook/hubert-base-ls960"))


@pytest.mark.parametrize("name", ["logmell", "./nowhere", "/no/such/place", "a/b/c", "~/x"])
def test_names_that_are_no_hub_names_never_reach_the_network(name, monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("the network was tried")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(OptionError, match="built in"):
        load_encoder("audio", EncoderSpec(name=name))
