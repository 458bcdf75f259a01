"""emotion2vec by a stand-in for FunASR's AutoModel; and by FunASR itself where it is installed.

The tiny checkpoint has random weights and the layout of the published ones. A second
interpreter runs FunASR, whose import takes long and changes the process.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import random
import subprocess
import sys
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
import torch
import yaml

from emofuse.encoders.build import describe_encoder, load_encoder
from emofuse.encoders.contract import EncoderSpec, Item
from emofuse.encoders.emotion2vec_folder import is_emotion2vec
from emofuse.errors import EncoderError, MissingExtraError, OptionError

WIDTH = 6
SPEC = "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16,2,2)] + [(16,2,2)]"
HAS_FUNASR = importlib.util.find_spec("funasr") is not None
DECODER = {
    "decoder_dim": 16,
    "decoder_groups": 4,
    "decoder_kernel": 3,
    "decoder_layers": 1,
    "input_dropout": 0.1,
    "add_positions_masked": False,
    "add_positions_all": False,
    "decoder_residual": True,
    "projection_layers": 1,
    "projection_ratio": 2.0,
}
AUDIO = {
    "type": "AUDIO",
    "prenet_depth": 1,
    "prenet_layerdrop": 0.05,
    "prenet_dropout": 0.1,
    "start_drop_path_rate": 0.0,
    "end_drop_path_rate": 0.0,
    "num_extra_tokens": 3,
    "init_extra_token_zero": True,
    "mask_noise_std": 0.01,
    "mask_prob": 0.5,
    "mask_length": 5,
    "mask_channel_prob": 0.0,
    "local_grad_mult": 1.0,
    "use_alibi_encoder": True,
    "alibi_scale": 1.0,
    "learned_alibi": False,
    "alibi_max_pos": None,
    "learned_alibi_scale": True,
    "learned_alibi_scale_per_head": True,
    "learned_alibi_scale_per_layer": False,
    "num_alibi_heads": 4,
    "model_depth": 2,
    "decoder": DECODER,
    "extractor_mode": "layer_norm",
    "feature_encoder_spec": SPEC,
    "conv_pos_width": 15,
    "conv_pos_groups": 4,
    "conv_pos_depth": 2,
    "conv_pos_pre_ln": False,
}
MODEL = {
    "depth": 2,
    "start_drop_path_rate": 0.0,
    "end_drop_path_rate": 0.0,
    "num_heads": 4,
    "norm_eps": 1e-5,
    "norm_affine": True,
    "encoder_dropout": 0.1,
    "post_mlp_drop": 0.1,
    "attention_dropout": 0.1,
    "activation_dropout": 0.0,
    "dropout_input": 0.0,
    "layerdrop": 0.05,
    "embed_dim": 32,
    "mlp_ratio": 2.0,
    "layer_norm_first": False,
    "end_of_block_targets": False,
    "clone_batch": 2,
    "normalize": True,
    "modalities": {"audio": AUDIO},
}


class AutoModel:
    """What FunASR's does: frames of 20 ms, each the samples' mean times a row of weights."""

    asked: ClassVar[list[dict[str, object]]] = []

    def __init__(self, **options):
        print("a banner")  # noqa: T201
        logging.basicConfig(level=logging.INFO, force=True)
        torch.set_num_threads(2)
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        self.options = options
        self.model = torch.nn.Linear(1, WIDTH, bias=False)
        held = torch.load(options["init_param"], weights_only=True)
        self.model.load_state_dict(held, strict=False)

    def generate(self, input, **options):  # noqa: A002
        AutoModel.asked.append(options)
        steps = max(1, 1 + (len(input) - 400) // 320)
        means = np.array([[input[320 * step : 320 * step + 400].mean()] for step in range(steps)])
        row = self.model.weight.detach().numpy().T
        return [{"key": options["key"], "feats": (means @ row).astype(np.float32)}]


@pytest.fixture
def fake(monkeypatch):
    module = ModuleType("funasr")
    module.AutoModel = AutoModel
    monkeypatch.setitem(sys.modules, "funasr", module)
    AutoModel.asked = []
    return module


def write(path, model=None, layers=SPEC, width=WIDTH, kind="Emotion2vec"):
    path.mkdir(parents=True)
    given = {"embed_dim": width, "modalities": {"audio": {"feature_encoder_spec": layers}}}
    (path / "config.yaml").write_text(yaml.safe_dump({"model": kind, "model_conf": given}))
    torch.manual_seed(3)
    weights = {"weight": torch.randn(width, 1)} if model is None else model
    torch.save(weights, path / "model.pt")
    return path


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "emotion2vec_plus_large")


def build(folder, **options):
    return load_encoder("audio", EncoderSpec(name=str(folder), **options))


def clip(samples, name="a", seed=0):
    random_state = np.random.default_rng(seed)
    return Item(name, waveform=random_state.normal(0.1, 0.3, samples).astype(np.float32))


def test_utterances_and_frames(fake, folder):
    items = [clip(16_000), clip(7_000, "b", 1), clip(16_000, "c", 2)]
    frames = build(folder, granularity="frames").encode(items)
    assert [one.shape for one in frames] == [(49, WIDTH), (21, WIDTH), (49, WIDTH)]
    encoder = build(folder)
    pooled = encoder.encode(items)
    for one, whole in zip(pooled, frames, strict=True):
        assert one.shape == (1, WIDTH)
        assert one.dtype == np.float32
        np.testing.assert_allclose(one[0], whole.mean(axis=0), atol=1e-6)
    assert AutoModel.asked[0]["granularity"] == "frame"
    assert AutoModel.asked[0]["fs"] == 16_000
    assert build(folder, pooling="mean+std").encode(items)[0].shape == (1, 2 * WIDTH)
    thin = build(folder, granularity="frames", stride=4)
    assert thin.encode(items)[0].shape == (13, WIDTH)
    assert (thin.frame_rate, encoder.frame_rate, encoder.dim) == (12.5, None, WIDTH)


def test_long_and_short_clips(fake, folder):
    encoder = build(folder, granularity="frames")
    assert encoder.encode([clip(3)])[0].shape == (1, WIDTH)
    AutoModel.asked.clear()
    found = encoder.encode([clip(61 * 16_000)])[0]
    assert len(AutoModel.asked) == 2
    assert found.shape == (2 * (1 + (61 * 8_000 - 400) // 320), WIDTH)


def test_it_says_what_it_saw_with_labels(fake, folder, tmp_path):
    encoder = build(folder)
    told = describe_encoder(encoder)["provenance"]
    assert told["known"] is True
    assert {"iemocap", "meld", "cremad"} <= set(told["labelled_on"])
    base = build(write(tmp_path / "emotion2vec_base"))
    assert base.provenance.known
    assert not base.provenance.labelled_on
    assert not build(write(tmp_path / "mine")).provenance.known


def test_the_revision_follows_settings_and_weights(fake, folder, tmp_path):
    first = build(folder).revision
    assert first == build(folder, granularity="frames").revision
    assert first.startswith("sha256:")
    other = write(tmp_path / "other", {"weight": torch.zeros(WIDTH, 1)})
    assert build(other).revision != first


def test_the_process_stays_as_it_was(fake, folder, capfd):
    root = logging.getLogger()
    handlers, level, threads = list(root.handlers), root.level, torch.get_num_threads()
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    build(folder).encode([clip(8_000)])
    assert (root.handlers, root.level, torch.get_num_threads()) == (handlers, level, threads)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])  # noqa: NPY002
    assert capfd.readouterr() == ("", "")


def test_funasr_is_handed_this_folder_and_nothing_to_fetch(fake, folder):
    encoder = build(folder)
    encoder.encode([clip(8_000)])
    options = encoder._model.options
    assert options["model"] == options["model_path"] == str(folder)
    assert options["init_param"] == str(folder / "model.pt")
    assert options["disable_update"] is True
    assert options["trust_remote_code"] is False


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_no_code_comes_from_a_checkpoint(fake, tmp_path, capfd):
    evil = write(tmp_path / "emotion2vec_evil", {"weight": Evil()})
    with pytest.raises(EncoderError, match="cannot be read as weights alone"):
        build(evil).encode([clip(8_000)])
    assert "executed" not in capfd.readouterr().out
    written = write(tmp_path / "emotion2vec_eval", layers="__import__('os').getcwd()")
    with pytest.raises(EncoderError, match="more than numbers and brackets"):
        build(written)


def test_lacking_weights_are_an_error(fake, tmp_path):
    bare = write(tmp_path / "emotion2vec_bare", {"other": torch.zeros(2)})
    with pytest.raises(
        EncoderError, match=r"emotion2vec_bare lacks 1 weights \(weight\): it would run on random"
    ):
        build(bare).encode([clip(8_000)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 1}, "no option 'layer'"),
        ({"dim": 64}, "no option 'dim'"),
        ({"precision": "bf16"}, "no option 'precision'"),
        ({"pooling": "cls"}, "no cls token"),
        ({"stride": 2}, "needs granularity=frames"),
        ({"revision": "v2"}, "no revision to choose"),
    ],
)
def test_options_it_does_not_have(folder, options, message):
    with pytest.raises(OptionError, match=message):
        build(folder, **options)


def test_names_and_folders(folder, tmp_path):
    assert is_emotion2vec("iic/emotion2vec_base")
    assert is_emotion2vec("emotion2vec/emotion2vec_plus_seed")
    assert is_emotion2vec(str(folder))
    assert not is_emotion2vec("someone/emotion2vec_plus_large")
    assert not is_emotion2vec(str(write(tmp_path / "asr", kind="Paraformer")))
    (folder / "model.pt").unlink()
    with pytest.raises(EncoderError, match="holds no model.pt"):
        build(folder)
    (folder / "config.yaml").write_text("model: Emotion2vec\nmodel_conf: {embed_dim: many}\n")
    torch.save({}, folder / "model.pt")
    with pytest.raises(EncoderError, match="does not describe an emotion2vec model"):
        build(folder)
    with pytest.raises(OptionError, match="is for audio, not for text"):
        load_encoder("text", EncoderSpec(name=str(write(tmp_path / "e2v"))))


def test_without_funasr(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "funasr", None)
    monkeypatch.setitem(sys.modules, "modelscope", None)
    for name, ask in ((folder, True), ("iic/emotion2vec_plus_large", False)):
        with pytest.raises(MissingExtraError, match=r"pip install 'emofuse\[emotion2vec\]'"):
            _ = build(name).encode([clip(800)]) if ask else build(name)


def test_from_the_hubs(fake, monkeypatch, folder):
    asked = {}

    def snapshot_download(name, **options):
        print("50 %")  # noqa: T201
        asked[name] = options
        return str(folder)

    module = ModuleType("modelscope")
    module.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "modelscope", module)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    encoder = build("iic/emotion2vec_plus_large")
    assert encoder.encode([clip(800)])[0].shape == (1, WIDTH)
    assert "iemocap" in encoder.provenance.labelled_on
    build("emotion2vec/emotion2vec_base", revision="abc")
    assert asked["iic/emotion2vec_plus_large"]["revision"] == "master"
    assert asked["emotion2vec/emotion2vec_base"]["revision"] == "abc"
    module.snapshot_download = lambda *_, **__: 1 / 0
    with pytest.raises(EncoderError, match="cannot be had from its hub: division by zero"):
        build("iic/emotion2vec_base")


def test_frames_that_are_none(fake, folder, monkeypatch):
    monkeypatch.setattr(
        AutoModel, "generate", lambda *_, **__: [{"feats": np.full((2, 6), np.nan)}]
    )
    with pytest.raises(EncoderError, match=r"gave \(2, 6\) instead of finite frames of 6"):
        build(folder).encode([clip(800)])


REAL = """
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np, torch, yaml
from emofuse.encoders.build import load_encoder
from emofuse.encoders.contract import EncoderSpec, Item
folder, config = sys.argv[1], yaml.safe_load(open(sys.argv[1] + "/config.yaml"))
import funasr
from funasr import AutoModel
from funasr.register import tables
torch.manual_seed(0)
network = tables.model_classes["Emotion2vec"](model_conf=config["model_conf"], vocab_size=-1)
torch.save({"model": network.state_dict()}, folder + "/model.pt")
wave = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
items = [Item("a", waveform=wave), Item("b", waveform=wave[:300])]
def ask(**options):
    return load_encoder("audio", EncoderSpec(name=folder, **options)).encode(items)
frames, pooled = ask(granularity="frames"), ask()
stock = AutoModel(model=folder, disable_update=True, disable_pbar=True, log_level="ERROR")
whole = stock.generate(wave, granularity="utterance", extract_embedding=True)[0]["feats"]
shapes = [list(one.shape) for one in frames]
gap = float(np.abs(pooled[0][0] - whole).max())
with open(folder + "/result.json", "w") as file:
    json.dump({"shapes": shapes, "gap": gap, "torchaudio": "torchaudio" in sys.modules}, file)
"""


@pytest.mark.slow
@pytest.mark.skipif(not HAS_FUNASR, reason="FunASR is not installed (extra emotion2vec)")
def test_with_funasr_itself(tmp_path):
    config = {"model": "Emotion2vec", "model_conf": MODEL}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    done = subprocess.run(
        [sys.executable, "-c", REAL, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["shapes"] == [[49, 32], [1, 32]]
    assert result["gap"] < 1e-5
