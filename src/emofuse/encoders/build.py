"""From an `EncoderSpec` to an `Encoder`."""

from __future__ import annotations

from typing import cast

from emofuse.encoders import ENCODERS
from emofuse.encoders.contract import Encoder, EncoderSpec, Provenance
from emofuse.errors import EncoderError, OptionError
from emofuse.manifest import Modality

__all__ = ["IMPORTED", "describe_encoder", "load_encoder"]

IMPORTED = "imported:"
"""Prefix of names that stand for imported vectors, not for an encoder."""


def load_encoder(modality: Modality, spec: EncoderSpec, device: str = "cpu") -> Encoder:
    """Build the encoder that a spec names; weights are read when it first encodes.

    Args:
        modality: ``audio``, ``text`` or ``video``.
        spec: a built-in name, a local folder or a Hugging Face hub name, with its options.
        device: ``cpu``, ``cuda`` or ``auto``.

    Raises:
        OptionError: the encoder is for another modality, or does not have an option.
        EncoderError: the encoder cannot be found or read.
        MissingExtraError: the encoder needs an extra that is not installed.

    >>> load_encoder("audio", EncoderSpec(name="logmel")).dim
    64
    """
    device = _device(device)
    if spec.name.startswith(IMPORTED):
        raise EncoderError(
            f"{spec.name} names imported vectors: there is nothing to encode new files with; "
            "train on an encoder instead"
        )
    encoder = _load(modality, spec, device)
    if encoder.modality != modality:
        raise OptionError(f"encoder {spec.name!r} is for {encoder.modality}, not for {modality}")
    return encoder


def _load(modality: Modality, spec: EncoderSpec, device: str) -> Encoder:
    """Find out what a name stands for; a formula that needs no PyTorch does not load it."""
    if spec.name in ENCODERS:
        return cast("Encoder", ENCODERS.load(spec.name)(spec, device))
    from emofuse.encoders.emotion2vec_folder import is_emotion2vec
    from emofuse.encoders.vggish import is_vggish, load_vggish

    if is_vggish(spec.name):
        return load_vggish(spec, device)
    if is_emotion2vec(spec.name):
        from emofuse.encoders.emotion2vec import Emotion2Vec

        return Emotion2Vec(spec, device)
    if modality == "audio":
        from emofuse.encoders.hf_audio import load_audio

        return load_audio(spec, device)
    if modality == "text":
        from emofuse.encoders.hf_text import HFText

        return HFText(spec, device)
    from emofuse.encoders.clip_video import load_video

    return load_video(spec, device)


def _device(name: str) -> str:
    if name == "cpu":
        return name
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise OptionError(f"unknown device {name!r}; legal: auto, cpu, cuda, cuda:N") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise OptionError(f"device {name!r}: there is no CUDA device here; take cpu or auto")
    return name


def _adapted(provenance: Provenance) -> dict[str, object]:
    return {"adapted_on": list(provenance.adapted_on)} if provenance.adapted_on else {}


def describe_encoder(encoder: Encoder) -> dict[str, object]:
    """Describe an encoder in JSON: enough, with `load_encoder`, to encode again.

    Keys: ``modality``, ``spec``, ``revision``, ``precision`` (as resolved here), ``dim``,
    ``frame_rate``, ``sample_rate``, ``provenance``.
    """
    return {
        "modality": encoder.modality,
        "spec": encoder.spec.model_dump(mode="json"),
        "revision": encoder.revision,
        "precision": encoder.precision,
        "dim": encoder.dim,
        "frame_rate": encoder.frame_rate,
        "sample_rate": encoder.sample_rate,
        "provenance": {
            "licence": encoder.provenance.licence,
            "pretrained_on": list(encoder.provenance.pretrained_on),
            "labelled_on": list(encoder.provenance.labelled_on),
            **_adapted(encoder.provenance),
            "known": encoder.provenance.known,
            "source": encoder.provenance.source,
        },
    }
