"""Layers: parts that several models share."""

from emofuse.layers.attention import MultiHeadAttention
from emofuse.layers.dropout import Dropout
from emofuse.layers.inputs import ModalityInput
from emofuse.layers.modality_dropout import keep_modalities
from emofuse.layers.pooling import AttentionPooling, Pooling, masked_max, masked_mean
from emofuse.layers.presence import AbsentToken
from emofuse.layers.standardise import Standardise

__all__ = [
    "AbsentToken",
    "AttentionPooling",
    "Dropout",
    "ModalityInput",
    "MultiHeadAttention",
    "Pooling",
    "Standardise",
    "keep_modalities",
    "masked_max",
    "masked_mean",
]
