"""Tiny checkpoints with random weights, saved to disk in the layout of the published ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emofuse.encoders.contract import Item

CONV = {"conv_dim": (16, 16, 16), "conv_kernel": (10, 3, 3), "conv_stride": (5, 4, 4)}
MARKS = ("<pad>", "<unk>", "<s>", "</s>")
WORDS = ("i", "am", "so", "happy", "sad", "you", "are", "it", "is", "not", "!", "?", ".", ",")
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "num_conv_pos_embedding_groups": 4,
    "mask_time_prob": 0.0,
}
SPEECH = {
    "wav2vec2-group": ("Wav2Vec2", {"feat_extract_norm": "group", "num_conv_pos_embeddings": 16}),
    "wav2vec2-layer": (
        "Wav2Vec2",
        {
            "feat_extract_norm": "layer",
            "do_stable_layer_norm": True,
            "conv_bias": True,
            "num_conv_pos_embeddings": 15,
        },
    ),
    "hubert-group": ("Hubert", {"feat_extract_norm": "group", "num_conv_pos_embeddings": 16}),
    "hubert-batch-norm": ("Hubert", {"conv_pos_batch_norm": True, "num_conv_pos_embeddings": 16}),
    "wavlm-group": ("WavLM", {"feat_extract_norm": "group", "num_conv_pos_embeddings": 16}),
    "wavlm-layer": (
        "WavLM",
        {
            "feat_extract_norm": "layer",
            "do_stable_layer_norm": True,
            "num_conv_pos_embeddings": 16,
        },
    ),
    "data2vec-audio": ("Data2VecAudio", {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 7}),
    "unispeech-sat": ("UniSpeechSat", {"num_conv_pos_embeddings": 16}),
}


def save_speech(kind: str, folder: Path) -> Path:
    import transformers

    name, options = SPEECH[kind]
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(
        **SIZES, **CONV, num_feat_extract_layers=3, **options
    )
    model = getattr(transformers, f"{name}Model")(config).eval()
    for parameter in model.parameters():  # so that nothing is near zero
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
    model.save_pretrained(folder)
    extractor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": kind != "wavlm-group",
        "sampling_rate": 16000,
        "return_attention_mask": "layer" in kind,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor))
    return folder


def save_whisper(folder: Path) -> Path:
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    torch.manual_seed(1)
    config = WhisperConfig(
        vocab_size=64,
        num_mel_bins=80,
        d_model=32,
        encoder_layers=3,
        encoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_layers=1,
        decoder_attention_heads=4,
        decoder_ffn_dim=32,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    WhisperModel(config).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


def save_text(kind: str, folder: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        BertConfig,
        BertModel,
        DistilBertConfig,
        DistilBertModel,
        PreTrainedTokenizerFast,
        RobertaConfig,
        RobertaModel,
    )

    words = [*MARKS, *WORDS]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token=MARKS[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=MARKS[0],
        unk_token=MARKS[1],
        cls_token=MARKS[2],
        sep_token=MARKS[3],
        model_max_length=24,
    )
    fast.save_pretrained(folder)
    torch.manual_seed(2)
    common: dict[str, Any] = {"vocab_size": len(words), "pad_token_id": 0}
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 24,
    }
    if kind == "bert":
        model: Any = BertModel(BertConfig(**common, **sizes))
    elif kind == "roberta":
        model = RobertaModel(RobertaConfig(**common, **{**sizes, "max_position_embeddings": 20}))
    else:
        model = DistilBertModel(
            DistilBertConfig(**common, dim=32, n_layers=3, n_heads=4, hidden_dim=48)
        )
    model.eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            folder = tmp_path_factory.mktemp("models") / kind
            if kind == "whisper":
                made[kind] = save_whisper(folder)
            elif kind in SPEECH:
                made[kind] = save_speech(kind, folder)
            else:
                made[kind] = save_text(kind, folder)
        return made[kind]

    return make


@pytest.fixture
def clips() -> list[Item]:
    rng = np.random.default_rng(3)
    lengths = (16000, 9000, 15999, 4000, 23456, 9001)
    return [
        Item(f"clip{place}", waveform=(rng.normal(size=n) * 0.1 * place + 0.01).astype(np.float32))
        for place, n in enumerate(lengths, start=1)
    ]
