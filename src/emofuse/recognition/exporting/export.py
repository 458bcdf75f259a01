"""``export``: a run's bundle as an ONNX bundle, which answers without PyTorch.

The graphs are checked by answering real utterances with both, each modality also left out; a
bundle that is too far from PyTorch is not written.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from emofuse.encoders.onnx_graph import OnnxEncoderNote
from emofuse.errors import BundleError, WorkError
from emofuse.manifest import Modality
from emofuse.models.bundle import read_bundle
from emofuse.models.bundle_config import (
    CARD_NAME,
    CONFIG_NAME,
    WEIGHTS_NAME,
    BundleConfig,
    OnnxCheck,
    OnnxNote,
    Precision,
    read_config,
)
from emofuse.models.card import model_card
from emofuse.models.card_sections import keep_sections
from emofuse.options import Options
from emofuse.progress import Progress, ProgressEvent, silent
from emofuse.recognition.encoding import BundleEncoders
from emofuse.recognition.exporting.again import graphs_again
from emofuse.recognition.exporting.compare import Difference, compare, variants
from emofuse.recognition.exporting.graphs import encoder_graph, fusion_graph
from emofuse.recognition.exporting.material import Material, find_material
from emofuse.recognition.exporting.shrink import shrink
from emofuse.recognition.exporting.trace import OPSET
from emofuse.recognition.loading import find_bundle
from emofuse.recognition.recognizer import Recognizer
from emofuse.storage import write_bytes, write_json, write_text

__all__ = ["ExportOptions", "Exported", "export_onnx"]

TOLERANCES: dict[Precision, float] = {"fp32": 1e-3, "fp16": 2e-2, "int8": 0.25}
AGREEMENTS: dict[Precision, float] = {"fp32": 1.0, "fp16": 0.98, "int8": 0.95}


class ExportOptions(Options):
    """How a bundle is exported.

    Attributes:
        precision: of the encoders' networks; the fusion model stays in fp32 (see `shrink`).
        tolerance: greatest difference of a probability that is allowed; unless told 0.001 in fp32,
            0.02 in fp16, 0.25 in int8.
        agreement: least share of equal emotions that is allowed; unless told 1, 0.98, 0.95.
        utterances: compared.
    """

    precision: Precision = "fp32"
    tolerance: float | None = Field(default=None, gt=0.0, le=1.0)
    agreement: float | None = Field(default=None, ge=0.0, le=1.0)
    utterances: int = Field(default=40, ge=1, le=10_000)

    @property
    def bounds(self) -> tuple[float, float]:
        """Tolerance and agreement, as told or by default."""
        tolerance, agreement = self.tolerance, self.agreement
        return (
            TOLERANCES[self.precision] if tolerance is None else tolerance,
            AGREEMENTS[self.precision] if agreement is None else agreement,
        )


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        folder: the ONNX bundle.
        config: its configuration.
        difference: between PyTorch and ONNX.
        sizes: file -> bytes.
        against: what it was compared with.
    """

    folder: Path
    config: BundleConfig
    difference: Difference
    sizes: dict[str, int]
    against: str = "PyTorch"


@dataclass
class _Parts:
    """Files and notes of a bundle in the making."""

    files: dict[str, bytes] = field(default_factory=dict)
    encoders: dict[Modality, OnnxEncoderNote] = field(default_factory=dict)


def export_onnx(
    run: Path | str,
    folder: Path,
    options: ExportOptions | None = None,
    audio: Sequence[str] = (),
    progress: Progress = silent,
) -> Exported:
    """Write the bundle of a run as an ONNX bundle.

    Args:
        run: a run directory, a bundle (an ONNX bundle too: in another precision), or the name of
            the bundle that comes along.
        folder: where it goes; an ONNX bundle that is there is replaced.
        options: precision and what is allowed.
        audio: files, folders or manifests to compare on; the run's manifest unless given, and
            synthetic voices where that cannot be read.
        progress: told of the stages ``export`` and ``compare``.

    Raises:
        WorkError: a part cannot be exported, or ONNX is too far from PyTorch; nothing is written.
        BundleError: there is no bundle, or ``folder`` holds something else.
    """
    options = options or ExportOptions()
    source = find_bundle(run)
    check_target(folder)
    if folder.resolve() == source.resolve():
        raise BundleError(f"{folder} is what is exported; choose another folder (-o)")
    progress(ProgressEvent("export", 0, None, "parts"))
    parts, note, config = _graphs(source, options, progress)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as home:
        new = Path(home) / "bundle"
        for name, data in parts.files.items():
            write_bytes(new / name, data)
        card = _card_of(source)
        _write_config(new, config, note, parts, card)
        with find_material(Path(run), audio, tuple(config.dims), options.utterances) as material:
            difference = _judge(source, new, material, options, progress)
        check = _check(options, material, difference)
        final = _write_config(new, config, note.model_copy(update={"check": check}), parts, card)
        _put(new, folder, Path(home) / "old")
    sizes = {one.name: one.stat().st_size for one in sorted(folder.iterdir())}
    against = "PyTorch" if config.onnx is None else f"ONNX ({config.onnx.precision})"
    return Exported(folder, final, difference, sizes, against)


def check_target(folder: Path) -> None:
    """See that a folder is free for an ONNX bundle.

    Raises:
        BundleError: it holds something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if (folder / CONFIG_NAME).is_file() and read_config(folder).onnx is not None:
        return
    raise BundleError(f"{folder} is there and is no ONNX bundle; choose another folder (-o)")


def _graphs(
    source: Path, options: ExportOptions, progress: Progress
) -> tuple[_Parts, OnnxNote, BundleConfig]:
    config = read_config(source)
    if config.onnx is not None:
        files = graphs_again(source, config, config.onnx, options.precision)
        note = config.onnx.model_copy(
            update={"precision": options.precision, "check": _unchecked(options)}
        )
        return _Parts(files, dict(config.onnx.encoders)), note, config
    model, config = read_bundle(source)
    parts = _Parts()
    encoders = BundleEncoders(_in_fp32(config), "cpu", folder=source)
    for done, modality in enumerate(config.dims, start=1):
        found = encoder_graph(modality, encoders.get(modality))
        progress(ProgressEvent("export", done, len(config.dims) + 1, "parts"))
        if found is None:
            continue
        parts.encoders[modality] = found.note
        parts.files[found.note.file] = shrink(found.model, options.precision)
        if found.tokenizer is not None and found.note.tokenizer is not None:
            parts.files[found.note.tokenizer] = found.tokenizer.encode()
    frames = tuple(name for name in config.dims if _granularity(config, name) == "frames")
    fused = fusion_graph(model, frames, config.model.name)
    progress(ProgressEvent("export", len(config.dims) + 1, len(config.dims) + 1, "parts"))
    note = OnnxNote(
        opset=OPSET,
        precision=options.precision,
        source=config.hashes[WEIGHTS_NAME],
        encoders=parts.encoders,
        needs=tuple(name for name in config.dims if name in model.needs()),
        weights=fused.weights,
        vad=fused.vad,
        frames=frames,
        check=_unchecked(options),
    )
    parts.files[note.file] = shrink(fused.model, "fp32")
    return parts, note, config


def _unchecked(options: ExportOptions) -> OnnxCheck:
    tolerance, agreement = options.bounds
    return OnnxCheck(
        on="nothing yet",
        answers=1,
        tolerance=tolerance,
        largest=0.0,
        agreement=agreement,
        agreed=0.0,
    )


def _in_fp32(config: BundleConfig) -> BundleConfig:
    """Graphs are made of fp32 weights, whatever format the training computed in."""
    plain = {name: {**one, "precision": "fp32"} for name, one in config.encoders.items()}
    return config.model_copy(update={"encoders": plain})


def _granularity(config: BundleConfig, modality: Modality) -> str:
    spec: dict[str, Any] = config.encoders[modality].get("spec") or {}
    return str(spec.get("granularity", "pooled"))


def _card_of(folder: Path) -> str:
    """Read the card of what is exported; a bundle may have lost it."""
    path = folder / CARD_NAME
    return path.read_text("utf-8") if path.is_file() else ""


def _write_config(
    folder: Path, config: BundleConfig, note: OnnxNote, parts: _Parts, card: str
) -> BundleConfig:
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in parts.files.items()}
    final = config.model_copy(
        update={"onnx": note, "hashes": hashes, "encoders_local": {}}, deep=True
    )
    write_text(folder / CARD_NAME, keep_sections(model_card(final), card))
    write_json(folder / CONFIG_NAME, final.model_dump(mode="json"))
    return final


def _judge(
    source: Path, new: Path, material: Material, options: ExportOptions, progress: Progress
) -> Difference:
    first, second = Recognizer.load(source), Recognizer.load(new)
    queries = variants(material.queries, first.needs)
    found = compare(first, second, queries, progress)
    tolerance, agreement = options.bounds
    if max(found.largest, found.weights, found.vad) > tolerance or found.agreed < agreement:
        raise WorkError(
            f"ONNX ({options.precision}) is too far from PyTorch on {material.source}: "
            f"{100 * found.agreed:.1f} % of {found.answers} answers agree (at least "
            f"{100 * agreement:.1f} %), the greatest difference of a probability is "
            f"{found.largest:.2g}, of a weight {found.weights:.2g}, of a dimension {found.vad:.2g} "
            f"(at most {tolerance:g}; worst: {found.worst}); nothing was written"
        )
    return found


def _check(options: ExportOptions, material: Material, found: Difference) -> OnnxCheck:
    tolerance, agreement = options.bounds
    return OnnxCheck(
        on=material.source,
        answers=found.answers,
        tolerance=tolerance,
        largest=found.largest,
        agreement=agreement,
        agreed=found.agreed,
    )


def _put(new: Path, folder: Path, old: Path) -> None:
    """Put a whole folder in the place of an older one, which goes to ``old``."""
    try:
        if folder.is_dir():
            folder.rename(old)
        new.rename(folder)
    except OSError as error:
        raise WorkError(f"cannot write {folder}: {error.strerror or error}") from error
