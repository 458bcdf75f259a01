"""Layers: parts that several models share."""

from emofuse.layers.dropout import Dropout
from emofuse.layers.inputs import ModalityInput
from emofuse.layers.modality_dropout import keep_modalities
from emofuse.layers.pooling import AttentionPooling, Pooling, masked_max, masked_mean
from emofuse.layers.standardise import Standardise

__all__ = [
    "AttentionPooling",
    "Dropout",
    "ModalityInput",
    "Pooling",
    "Standardise",
    "keep_modalities",
    "masked_max",
    "masked_mean",
]
