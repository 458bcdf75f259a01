"""A bundle at work: files, samples and texts in, emotions out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from emofuse.encoders.contract import Item
from emofuse.errors import BundleError, EncoderError, MediaError, OptionError, WorkError
from emofuse.features.table import FeatureTable, Ragged
from emofuse.manifest import Modality
from emofuse.models.bundle import CONFIG_NAME, BundleConfig, read_bundle
from emofuse.models.contract import EmotionOutput, FusionModel
from emofuse.options import Options
from emofuse.progress import Progress, ProgressEvent, silent
from emofuse.recognition.encoding import BundleEncoders
from emofuse.recognition.query import (
    AudioSource,
    Query,
    Sound,
    path_id,
    read_sound,
    seconds_of,
    video_query,
)
from emofuse.recognition.scoring import Scoring, load_scoring

__all__ = ["Query", "Recognition", "Recognizer"]

FloatArray = NDArray[np.float32]
CHUNK_ITEMS = 64
CHUNK_SECONDS = 300.0
LONG_SECONDS = 30.0  # longer than any utterance a model learns from
THREADS = 4


class Recognition(Options):
    """The answer to one query.

    Attributes:
        id: of the query.
        emotion: the most probable class, or None where ``error`` says why not.
        probabilities: class -> probability, in the order of the label scheme; they sum to 1.
            Calibrated where the bundle can.
        calibrated: whether they are; else they are as the model gave them.
        emotion_set: emotions that hold the right one as often as the bundle promises, likeliest
            first; empty where it promises nothing.
        too_unsure: whether the confidence is below what the bundle answers from; None where it
            has no such limit.
        modalities: what the answer rests on.
        weights: modality -> share of the decision; empty where the model does not say.
        missing: modalities that the model knows and the query lacks.
        vad: valence, arousal and dominance on the scheme's scale, where the model gives them.
        seconds: length of the audio, where there is any.
        notes: what to bear in mind.
        error: why there is no answer.
    """

    id: str
    emotion: str | None = None
    probabilities: dict[str, float] = Field(default_factory=dict)
    calibrated: bool = False
    emotion_set: tuple[str, ...] = ()
    too_unsure: bool | None = None
    modalities: tuple[str, ...] = ()
    weights: dict[str, float] = Field(default_factory=dict)
    missing: tuple[str, ...] = ()
    vad: dict[str, float] | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass
class _Loaded:
    """A query with what was read and encoded of it so far."""

    query: Query
    seconds: float | None = None
    error: str | None = None
    waveform: FloatArray | None = None
    features: dict[str, FloatArray] | None = None
    silent: bool = False


class Recognizer:
    """Answers with a trained model; make one with `load`.

    Args:
        model: in evaluation mode.
        config: the bundle's configuration.
        encoders: what turns queries into the features that the model was trained on.
        device: where the model runs, ``cpu`` or ``cuda``.
        scoring: how logits become answers; None = probabilities as the model gives them.
    """

    def __init__(
        self,
        model: FusionModel,
        config: BundleConfig,
        encoders: BundleEncoders,
        device: str = "cpu",
        scoring: Scoring | None = None,
    ) -> None:
        self.config = config
        self.scoring = scoring or Scoring(config.scheme.classes)
        self._device = torch.device(device)
        self._model = model.to(self._device).eval()
        self._encoders = encoders

    @classmethod
    def load(
        cls,
        path: Path | str,
        device: str = "cpu",
        encoders: Mapping[Modality, str] | None = None,
        *,
        raw: bool = False,
        corpus: str | None = None,
    ) -> Recognizer:
        """Load a bundle.

        Args:
            path: a run directory, or the bundle inside one.
            device: ``cpu``, ``cuda`` or ``auto``.
            encoders: modality -> where its encoder lies now, if it was moved; the weights must be
                the ones that the bundle was trained with.
            raw: leave calibration, sets and silence aside.
            corpus: the speech is like that of this corpus: its own scaling is taken.

        Raises:
            BundleError: no bundle there, a damaged one, or one trained on imported features.
            OptionError: no such device, or no scaling for this corpus.
        """
        device = _device(device)
        folder = _find_bundle(Path(path))
        model, config = read_bundle(folder)
        scoring = load_scoring(folder, config, raw=raw, corpus=corpus)
        ready = BundleEncoders(config, device, encoders or {}, folder)
        return cls(model, config, ready, device, scoring)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the label scheme."""
        return self.config.scheme.classes

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the model was trained on."""
        return tuple(self.config.dims)

    def recognise(
        self,
        audio: Path | str | tuple[NDArray[Any], int] | None = None,
        text: str | None = None,
        id: str | None = None,  # noqa: A002 (the field's name everywhere)
        video: Path | str | None = None,
    ) -> Recognition:
        """Recognise one utterance.

        Args:
            audio: a file, or samples (``(samples,)`` or ``(samples, channels)``) and their rate in
                hertz.
            text: what is said.
            id: for the answer; the path unless given.
            video: a video file; its sound track counts where ``audio`` is not given.

        Raises:
            WorkError: the audio cannot be used, or there is neither audio nor text that the model
                knows.
        """
        source: AudioSource | None = None
        if isinstance(audio, tuple):
            source = Sound(np.asarray(audio[0]), int(audio[1]))
        elif audio is not None:
            source = Path(audio)
        picture = None if video is None else Path(video)
        named = source if isinstance(source, Path) else picture
        if picture is not None and source is None:
            query = video_query(picture, text)
        else:
            query = Query("", source, text=text, video=picture)
        name = id or ("utterance" if named is None else path_id(named))
        return next(self.stream([replace(query, id=name)], strict=True))

    def recognise_many(
        self, queries: Iterable[Query], progress: Progress = silent, *, strict: bool = False
    ) -> list[Recognition]:
        """Recognise many utterances; see `stream`."""
        return list(self.stream(queries, progress, strict=strict))

    def stream(
        self, queries: Iterable[Query], progress: Progress = silent, *, strict: bool = False
    ) -> Iterator[Recognition]:
        """Recognise utterances in order, giving answers as batches are finished.

        A query that cannot be answered gives a `Recognition` with its reason in ``error``, and the
        rest goes on.

        Args:
            queries: what to recognise.
            progress: told of the stage ``recognise``.
            strict: the first query that cannot be answered is an error.

        Raises:
            BundleError: an encoder that the queries need is not the bundle's.
            WorkError: (strict) the first query that cannot be answered.
        """
        every = list(queries)
        done = 0
        with ThreadPoolExecutor(THREADS) as pool:
            for chunk in self._chunks(every, pool):
                self._read(chunk, pool)
                answers = self._answer(chunk)
                if strict:
                    _refuse(answers)
                done += len(answers)
                progress(ProgressEvent("recognise", done, len(every), "utterances"))
                yield from answers

    def take_warnings(self) -> tuple[str, ...]:
        """Give what the encoders found since the last call, such as a text that was cut."""
        return self._encoders.take_warnings()

    def _chunks(self, queries: list[Query], pool: ThreadPoolExecutor) -> Iterator[list[_Loaded]]:
        """Group queries, in order, by number and by seconds of audio held in memory at once."""
        for first in range(0, len(queries), CHUNK_ITEMS):
            chunk: list[_Loaded] = []
            held = 0.0
            for one in pool.map(self._measure, queries[first : first + CHUNK_ITEMS]):
                size = one.seconds or 0.0
                if chunk and held + size > CHUNK_SECONDS:
                    yield chunk
                    chunk, held = [], 0.0
                chunk.append(one)
                held += size
            if chunk:
                yield chunk

    def _measure(self, query: Query) -> _Loaded:
        if query.error is not None:
            return _Loaded(query, error=query.error)
        if query.audio is None or "audio" not in self.modalities:
            return _Loaded(query)
        try:
            return _Loaded(query, seconds=seconds_of(query))
        except (MediaError, OSError) as error:
            return _Loaded(query, error=str(error))

    def _read(self, chunk: list[_Loaded], pool: ThreadPoolExecutor) -> None:
        wanted = [one for one in chunk if one.error is None and one.seconds is not None]
        if not wanted:
            return
        rate = self._encoders.get("audio").sample_rate

        def read(one: _Loaded) -> None:
            try:
                one.waveform = read_sound(one.query, rate)
                one.silent = not np.any(one.waveform)
            except (MediaError, OSError) as error:
                one.error = str(error)

        list(pool.map(read, wanted))

    def _answer(self, chunk: list[_Loaded]) -> list[Recognition]:
        for one in chunk:
            one.features = {}
        self._encode(chunk, "audio")
        self._encode(chunk, "text")
        self._encode(chunk, "video")
        for one in chunk:
            self._check(one)
        good = [one for one in chunk if one.error is None]
        output = self._forward(good) if good else None
        places = {id(one): row for row, one in enumerate(good)}
        return [
            _failed(one)
            if output is None or one.error
            else self._tell(one, output, places[id(one)])
            for one in chunk
        ]

    def _encode(self, chunk: list[_Loaded], modality: Modality) -> None:
        if modality not in self.modalities:
            return
        asked = [(one, _item(one, modality)) for one in chunk if one.error is None]
        wanted = [(one, item) for one, item in asked if item is not None]
        if not wanted:
            return
        outcomes = self._encoders.encode(modality, [item for _, item in wanted])
        for (one, _), outcome in zip(wanted, outcomes, strict=True):
            if isinstance(outcome, EncoderError):
                one.error = str(outcome)
            elif one.features is not None:
                one.features[modality] = outcome
            one.waveform = None if modality == "audio" else one.waveform

    def _check(self, one: _Loaded) -> None:
        if one.error is not None:
            return
        have = set(one.features or ())
        lacking = sorted(self._model.needs() - have)
        if not have:
            one.error = f"nothing to go by: the model knows {_and(self.modalities)}"
        elif lacking:
            one.error = f"model {self.config.model.name!r} cannot do without {_and(lacking)}"

    def _forward(self, good: list[_Loaded]) -> EmotionOutput:
        parts = {
            name: Ragged.from_arrays([(one.features or {}).get(name) for one in good], dim)
            for name, dim in self.config.dims.items()
        }
        ids = tuple(str(row) for row in range(len(good)))
        table = FeatureTable(ids, {str(k): v for k, v in parts.items()}, {})
        with torch.inference_mode():
            output: EmotionOutput = self._model(
                table.batch(torch.arange(len(good))).to(self._device)
            )
        return output

    def _tell(self, one: _Loaded, output: EmotionOutput, row: int) -> Recognition:
        logits = output.logits[row].double().cpu()
        if not bool(torch.isfinite(logits).all()):
            one.error = "the model gave NaN or infinity; the features are far from its training's"
            return _failed(one)
        used = tuple(name for name in self.modalities if name in (one.features or {}))
        missing = tuple(name for name in self.modalities if name not in used)
        weights = {
            name: float(output.weights[name][row]) for name in used if name in output.weights
        }
        vad = None if output.vad is None else self._scaled(output.vad[row])
        return Recognition(
            id=one.query.id,
            **self.scoring.tell(logits),
            modalities=used,
            weights=weights or ({used[0]: 1.0} if len(used) == 1 else {}),
            missing=missing,
            vad=vad,
            seconds=one.seconds,
            notes=self._notes(one, used, missing),
        )

    def _scaled(self, vad: Tensor) -> dict[str, float]:
        """Put a model's [-1, 1] on the scheme's scale."""
        values = vad.double().cpu().tolist()
        found: dict[str, float] = {}
        for name, value in zip(("valence", "arousal", "dominance"), values, strict=True):
            if name in self.config.scheme.vad:
                low, high = self.config.scheme.vad[name]
                found[name] = low + (value + 1.0) / 2.0 * (high - low)
        return found

    def _notes(
        self, one: _Loaded, used: tuple[str, ...], missing: tuple[str, ...]
    ) -> tuple[str, ...]:
        notes = []
        if missing:
            line = (
                f"trained on {'+'.join(self.modalities)}; {_and(missing)} missing: "
                f"answered from {_and(used)} alone"
            )
            if not self.config.trained_with_dropout:
                line += " (less reliable: the model was trained without modality dropout)"
            notes.append(line)
        if one.query.has_text and "text" not in self.modalities:
            notes.append(f"the text was not used: the model knows {_and(self.modalities)} alone")
        if one.query.audio is not None and "audio" not in self.modalities:
            notes.append(f"the audio was not used: the model knows {_and(self.modalities)} alone")
        if one.query.video is not None and "video" not in self.modalities:
            notes.append(f"the video was not used: the model knows {_and(self.modalities)} alone")
        if one.seconds is not None and one.seconds > LONG_SECONDS:
            notes.append(
                f"{one.seconds:.1f} s long: one answer for all of it; models learn from single "
                "utterances, so cut it up for more"
            )
        if one.silent:
            notes.append("the audio is digital silence: the answer means nothing")
        return tuple(notes)


def _item(one: _Loaded, modality: Modality) -> Item | None:
    if modality == "audio":
        if one.waveform is None:
            return None
        return Item(one.query.id, waveform=one.waveform)
    query = one.query
    if modality == "video":
        if query.video is None:
            return None
        return Item(query.id, video=query.video, start=query.start, end=query.end)
    return Item(query.id, text=query.text) if query.has_text else None


def _failed(one: _Loaded) -> Recognition:
    return Recognition(id=one.query.id, seconds=one.seconds, error=one.error)


def _refuse(answers: list[Recognition]) -> None:
    for answer in answers:
        if answer.error is not None:
            known = answer.error.startswith(answer.id)
            raise WorkError(answer.error if known else f"{answer.id}: {answer.error}")


def _and(names: Iterable[str]) -> str:
    return " and ".join(names)


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise OptionError(f"unknown device {name!r}; legal: auto, cpu, cuda, cuda:N") from error
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise OptionError(f"device {name!r} is not to be had here; take cpu or auto")
    return name


def _find_bundle(path: Path) -> Path:
    for folder in (path, path / "bundle"):
        if (folder / CONFIG_NAME).is_file():
            return folder
    if (path / "recipe.yaml").is_file():
        raise BundleError(
            f"{path} is a run without a bundle; finish it with the same 'emofuse train' command"
        )
    if (path / "bundle").is_dir():
        return path / "bundle"
    return path
