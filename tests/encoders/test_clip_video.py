from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.media.clips import frame_at, write_clip

from emofuse.encoders.build import load_encoder
from emofuse.encoders.clip_video import Preprocessing
from emofuse.encoders.contract import EncoderSpec, Item
from emofuse.encoders.crop import make_crop
from emofuse.errors import EncoderError, MissingExtraError, OptionError

ASSETS = os.environ.get("EMOFUSE_ASSETS")
SIDE = 16
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": 8,
    "projection_dim": 24,
}


def save(kind, folder):
    import transformers

    torch.manual_seed(0)
    if kind == "CLIPModel":
        text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
        text |= {"num_attention_heads": 2, "vocab_size": 32}
        config = transformers.CLIPConfig(
            vision_config=VISION, text_config=text, projection_dim=VISION["projection_dim"]
        )
    else:
        config = transformers.CLIPVisionConfig(**VISION)
    model = getattr(transformers, kind)(config).eval()
    for parameter in model.parameters():  # so that nothing is near zero
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    settings = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    kinds = ("CLIPModel", "CLIPVisionModelWithProjection", "CLIPVisionModel")
    return {kind: save(kind, tmp_path_factory.mktemp(kind)) for kind in kinds}


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("video") / "clip.mp4")


def build(folder, **options):
    return load_encoder("video", EncoderSpec(name=str(folder), **options))


def encode(folder, path, start=None, end=None, **options):
    item = Item("x", video=path, start=start, end=end)
    return build(folder, granularity="frames", **options).encode([item])[0]


@pytest.mark.parametrize("shape", [(48, 64, 3), (71, 33, 3), (16, 16, 3), (480, 360, 3)])
def test_preprocessing_is_the_stock_one(shape):
    from transformers import CLIPImageProcessorPil

    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    size = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    expected = CLIPImageProcessorPil(**size)(image, return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(Preprocessing.of(size, SIDE)(image), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["CLIPModel", "CLIPVisionModelWithProjection", "CLIPVisionModel"])
def test_it_is_the_stock_model(kind, models, clip):
    import transformers

    encoder = build(models[kind], granularity="frames")
    assert encoder.dim == (32 if kind == "CLIPVisionModel" else 24)
    stock = getattr(transformers, kind).from_pretrained(models[kind]).eval()
    from emofuse.media.video import read_frames

    frames = list(read_frames(clip))
    pixels = torch.from_numpy(np.stack([encoder.preprocess(f) for f in frames]))
    with torch.no_grad():
        if kind == "CLIPModel":
            vision = stock.vision_model(pixel_values=pixels).pooler_output
            expected = stock.visual_projection(vision)
        elif kind == "CLIPVisionModel":
            expected = stock(pixel_values=pixels).pooler_output
        else:
            expected = stock(pixel_values=pixels).image_embeds
    found = encoder.encode([Item("x", video=clip)])[0]
    assert found.shape == (30, encoder.dim)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_alone_as_in_a_batch(models, clip):
    encoder = build(models["CLIPModel"], granularity="frames")
    items = [
        Item("a", video=clip),
        Item("b", video=clip, start=0.5, end=0.6),
        Item("c", video=clip, end=0.7),
    ]
    together = encoder.encode(items)
    assert [len(part) for part in together] == [30, 2, 14]
    for item, part in zip(items, together, strict=True):
        np.testing.assert_allclose(encoder.encode([item])[0], part, atol=1e-4)
    np.testing.assert_allclose(together[1], together[0][10:12], atol=1e-4)


def test_which_frames(models, clip):
    folder = models["CLIPModel"]
    whole = encode(folder, clip)
    np.testing.assert_allclose(encode(folder, clip, every=7), whole[::7], atol=1e-4)
    np.testing.assert_allclose(encode(folder, clip, fps=5.0), whole[::4][:8], atol=1e-4)
    np.testing.assert_allclose(encode(folder, clip, max_frames=5), whole[:5], atol=1e-4)
    pairs = whole.reshape(15, 2, -1).mean(axis=1)
    np.testing.assert_allclose(encode(folder, clip, stride=2), pairs, atol=1e-4)
    assert build(folder, granularity="frames", fps=5.0).frame_rate == 5.0


def test_pooled(models, clip):
    folder = models["CLIPModel"]
    whole = encode(folder, clip)
    encoder = build(folder, pooling="mean+std")
    (found,) = encoder.encode([Item("x", video=clip)])
    assert encoder.dim == 48
    expected = np.concatenate([whole.mean(axis=0), whole.std(axis=0)])[None]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_crops():
    image = frame_at(10)
    assert make_crop("whole")(image).shape == (48, 64, 3)
    assert not make_crop("left")(image)[..., 1:].any()
    assert make_crop("right")(image)[..., 1:].all()
    assert make_crop("centre")(image).shape == (48, 48, 3)
    np.testing.assert_array_equal(make_crop("4x6+30+2")(image), image[2:8, 30:34])
    assert make_crop("4x6+64+2")(image) is None


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("Ses01F_impro01_F002", True),
        ("Ses01F_impro01_M002", False),
        ("iemocap/Ses05M_script01_1b_M034", True),
    ],
)
def test_the_speaker_of_iemocap(name, left):
    """720 x 480; the actor with the markers, whom the session's letter names, is on the left."""
    image = np.zeros((480, 720, 3), np.uint8)
    image[112:368, :360] = 1
    image[112:368, 360:] = 2
    cut = make_crop("iemocap", name)(image)
    assert cut.shape == (256, 360, 3)
    assert (cut == (1 if left else 2)).all()
    with pytest.raises(EncoderError, match="is no id of IEMOCAP"):
        make_crop("iemocap", "clip05")


def test_halves_differ(models, clip):
    left, right = (encode(models["CLIPModel"], clip, crop=crop) for crop in ("left", "right"))
    assert np.abs(left - right).max() > 0.01


def test_a_clip_without_a_face(models, clip):
    with pytest.raises(EncoderError, match="no frame shows anything at crop=face"):
        encode(models["CLIPModel"], clip, crop="face", max_frames=2)


def test_without_opencv(models, clip, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"emofuse\[video\]"):
        encode(models["CLIPModel"], clip, crop="face")


@pytest.mark.skipif(not ASSETS, reason="EMOFUSE_ASSETS names no folder")
def test_the_face_of_a_real_clip(models):
    from emofuse.media.video import probe_video, read_frames

    path = next((Path(ASSETS) / "data" / "ravdess_faces").glob("*.mp4"))
    assert probe_video(path).sound
    crop = make_crop("face")
    faces = [crop(frame) for frame in read_frames(path, every=20)]
    assert len(faces) > 3
    for face in faces:  # 1280 x 720, a head in the middle
        assert 300 < face.shape[0] < 700
        assert abs(face.shape[0] - face.shape[1]) < 0.3 * face.shape[0]
    whole, cut = (
        encode(models["CLIPModel"], path, crop=name, every=20) for name in ("whole", "face")
    )
    assert whole.shape == cut.shape == (len(faces), 24)
    assert np.abs(whole - cut).max() > 0.01


def test_mistakes_are_named(models, clip, tmp_path):
    folder = models["CLIPModel"]
    text = tmp_path / "text.mp4"
    text.write_text("words")
    (tmp_path / "pointer.mp4").write_text("version https://git-lfs.github.com/spec/v1\n")
    for path, message in [
        (text, "is not video that can be read"),
        (tmp_path / "pointer.mp4", "Git-LFS pointer"),
        (None, "has no video"),
    ]:
        with pytest.raises(EncoderError, match=message):
            encode(folder, path)
    with pytest.raises(EncoderError, match="no video frame in"):
        encode(folder, clip, start=20.0)
    for options, message in [
        ({"layer": 1}, "no option 'layer'"),
        ({"pooling": "cls"}, "no cls frame"),
        ({"crop": "middle"}, "crop"),
        ({"stride": 2}, "needs granularity=frames"),
    ]:
        with pytest.raises(OptionError, match=message):
            build_options(folder, options)
    with pytest.raises(OptionError, match="no option 'crop'"):
        load_encoder("audio", EncoderSpec(name="logmel", crop="left"))
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(EncoderError, match="'bert' model, not an image encoder"):
        build(tmp_path)


def build_options(folder, options):
    spec = EncoderSpec.parse({"name": str(folder), **options}, "encoder")
    return load_encoder("video", spec)


def test_arrays_in_the_place_of_videos(tmp_path):
    values = np.random.default_rng(0).normal(size=(7, 10)).astype(np.float32)
    np.save(tmp_path / "u.npy", values)
    item = Item("u", video=tmp_path / "u.npy")

    def read(**options):
        spec = EncoderSpec(name="arrays", dim=10, **options)
        return load_encoder("video", spec).encode([item])[0]

    np.testing.assert_array_equal(read(granularity="frames"), values)
    np.testing.assert_array_equal(read(granularity="frames", max_frames=3), values[:3])
    np.testing.assert_allclose(read(), values.mean(axis=0, keepdims=True), atol=1e-6)
    with pytest.raises(OptionError, match="arrays:dim=768"):
        load_encoder("video", EncoderSpec(name="arrays"))
    with pytest.raises(EncoderError, match="vectors of size 10, not 12"):
        load_encoder("video", EncoderSpec(name="arrays", dim=12)).encode([item])
    with pytest.raises(EncoderError, match="start and end cannot cut"):
        cut = Item("u", video=tmp_path / "u.npy", end=1.0)
        load_encoder("video", EncoderSpec(name="arrays", dim=10)).encode([cut])
    with pytest.raises(OptionError, match="is for video, not for audio"):
        load_encoder("audio", EncoderSpec(name="arrays", dim=10))
