"""What a bundle says of itself: ``config.json``, typed; it is read without PyTorch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from emofuse import __version__
from emofuse.encoders.onnx_graph import FileName, OnnxEncoderNote
from emofuse.errors import BundleError, OptionError, shorten
from emofuse.labels import LabelScheme
from emofuse.manifest import Modality
from emofuse.models.voices_note import VoicesNote
from emofuse.options import Options

if TYPE_CHECKING:
    from emofuse.models.contract import ModelSpec

__all__ = [
    "CARD_NAME",
    "CONFIG_NAME",
    "FORMAT",
    "WEIGHTS_NAME",
    "BundleConfig",
    "DataNote",
    "ModelNote",
    "OnnxCheck",
    "OnnxNote",
    "ProtocolNote",
    "read_checked",
    "read_config",
]

FORMAT = 1  # raised when an older emofuse could no longer read the bundle
WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
CARD_NAME = "README.md"
MAX_CONFIG_BYTES = 4 << 20
LocalFolder = Annotated[str, Field(pattern=r"^encoders/(audio|text|video)$")]
Precision = Literal["fp32", "fp16", "int8"]


class ModelNote(Options):
    """Which model, with which options.

    Attributes:
        name: name in the registry of models.
        options: every option of the model, resolved.
    """

    name: str = Field(min_length=1)
    options: dict[str, Any] = Field(default_factory=dict)


class ProtocolNote(Options):
    """How the figures of a bundle were measured.

    Attributes:
        name: name of the protocol.
        stamp: the audit in one line, as printed in tables.
        speaker_independent: ``yes``, ``no`` or ``unknown``.
    """

    name: str = "unknown"
    stamp: str = "not audited"
    speaker_independent: str = "unknown"


class DataNote(Options):
    """What a bundle learnt from.

    Attributes:
        corpora: names of the training corpora.
        licences: corpus -> licence.
        utterances: number of utterances it was fitted on, where known.
        languages: languages of the utterances, where known.
    """

    corpora: tuple[str, ...] = ()
    licences: dict[str, str] = Field(default_factory=dict)
    utterances: int | None = None
    languages: tuple[str, ...] = ()


class OnnxCheck(Options):
    """How far ONNX was from PyTorch when the bundle was exported.

    Attributes:
        on: what both answered for.
        answers: how many answers were compared, those with a modality left out among them.
        tolerance: greatest difference of a probability that was allowed.
        largest: greatest difference of a probability that was seen.
        agreement: least share of equal emotions that was allowed.
        agreed: share of equal emotions that was seen.
    """

    on: str
    answers: int = Field(ge=1)
    tolerance: float = Field(gt=0.0)
    largest: float = Field(ge=0.0)
    agreement: float = Field(ge=0.0, le=1.0)
    agreed: float = Field(ge=0.0, le=1.0)


class OnnxNote(Options):
    """What makes a bundle an ONNX bundle: graphs in the place of weights.

    Attributes:
        opset: version of the ONNX operators.
        precision: how weights are kept: ``fp32``; ``fp16`` (computed with in fp32); ``int8``
            (products of matrices are computed in 8 bits).
        file: of the fusion model's graph.
        source: SHA-256 of the weights that were exported.
        encoders: modality -> its graph, for the encoders that are networks.
        needs: modalities that the model cannot do without.
        weights: modalities whose weights the graph gives, in its order.
        vad: whether it gives valence, arousal and dominance.
        frames: modalities that enter as sequences; the others enter as one vector.
        check: how far it was from PyTorch.
    """

    opset: int = Field(ge=1)
    precision: Precision = "fp32"
    file: FileName = "model.onnx"
    source: str
    encoders: dict[Modality, OnnxEncoderNote] = Field(default_factory=dict)
    needs: tuple[Modality, ...] = ()
    weights: tuple[Modality, ...] = ()
    vad: bool = False
    frames: tuple[Modality, ...] = ()
    check: OnnxCheck


class BundleConfig(Options):
    """Everything that a bundle knows besides its weights.

    Attributes:
        format: version of this layout; a newer one is refused.
        emofuse: version of emofuse that wrote the bundle.
        model: model name and options.
        dims: modality -> feature size, in the model's order.
        scheme: the label scheme; its classes are the model's outputs, in order.
        encoders: modality -> description that is enough to encode again: ``spec``, ``revision``,
            ``dim``, ``frame_rate``, ``sample_rate``, ``provenance``.
        protocol: how the metrics were measured.
        metrics: metric -> figure (``ua``, ``ua_low``, ``ua_high``, ``wa``, ``wf1``, ``mf1`` ...).
        data: training corpora and their licences.
        calibration: how logits become answers (`evaluation.rules.AnswerRules`), fitted on what the
            training held out; None where nothing was.
        trained_with_dropout: whether whole modalities were left out in training, so that an
            answer from fewer modalities can be relied on.
        voices: where the voices of training lie, for adapting to a speaker; None where the audio
            is no single vector an utterance, or an older emofuse wrote the bundle.
        encoders_local: modality -> folder inside the bundle, where the encoder learned in the run
            and travels with it.
        onnx: what is in an ONNX bundle; None in a bundle of PyTorch.
        hashes: file name -> SHA-256; written by whoever writes the bundle.
    """

    format: int = Field(default=FORMAT, ge=1)
    emofuse: str = __version__
    model: ModelNote
    dims: dict[Modality, int] = Field(min_length=1)
    scheme: LabelScheme
    encoders: dict[Modality, dict[str, Any]]
    protocol: ProtocolNote = ProtocolNote()
    metrics: dict[str, float | None] = Field(default_factory=dict)
    data: DataNote = DataNote()
    calibration: dict[str, Any] | None = None
    trained_with_dropout: bool = False
    voices: VoicesNote | None = None
    encoders_local: dict[Modality, LocalFolder] = Field(default_factory=dict)
    onnx: OnnxNote | None = None
    hashes: dict[str, str] = Field(default_factory=dict)

    @property
    def model_spec(self) -> ModelSpec:
        """The sizes that the model is built for."""
        from emofuse.models.contract import ModelSpec

        return ModelSpec(
            dims={str(name): size for name, size in self.dims.items()},
            classes=len(self.scheme.classes),
        )


def read_config(folder: Path) -> BundleConfig:
    """Read the configuration of a bundle alone.

    Raises:
        BundleError: no bundle, no JSON, an unknown key, or a newer format.
    """
    path = folder / CONFIG_NAME
    record = _read_record(folder, path)
    version = record.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BundleError(f"{path}: format {shorten(version)} is no emofuse bundle format")
    if version > FORMAT:
        raise BundleError(
            f"{path} has format {version}, this emofuse reads up to {FORMAT}; upgrade emofuse"
        )
    try:
        config = BundleConfig.parse(record, str(path))
    except OptionError as error:
        raise BundleError(str(error)) from error
    absent = [name for name in config.dims if name not in config.encoders]
    if absent:
        raise BundleError(f"{path}: no encoder is described for {absent[0]!r}")
    return config


def _read_record(folder: Path, path: Path) -> dict[str, Any]:
    try:
        if not folder.is_dir():
            what = "a file" if folder.is_file() else "missing"
            raise BundleError(f"{folder} is {what}; a bundle is a folder with {CONFIG_NAME}")
        if not path.is_file():
            raise BundleError(f"{folder} is no bundle: it holds no {CONFIG_NAME}")
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise BundleError(f"{path} is over {MAX_CONFIG_BYTES:,} bytes: not a bundle's")
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise BundleError(f"{path} is not a JSON object")
    return record


def read_checked(folder: Path, config: BundleConfig, name: str) -> bytes:
    """Read a file of a bundle that is the one its configuration describes.

    Raises:
        BundleError: it is missing, cannot be read, or is another one.
    """
    path = folder / name
    promised = config.hashes.get(name)
    if promised is None:
        raise BundleError(f"{folder / CONFIG_NAME} holds no hash of {name}")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise BundleError(f"{folder} is no whole bundle: it holds no {name}") from error
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror or error}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != promised:
        raise BundleError(
            f"{path} ({len(data):,} bytes) is not the file that {CONFIG_NAME} describes: SHA-256 "
            f"{found[:12]} instead of {promised[:12]}; it is cut short or altered, copy it again"
        )
    return data
