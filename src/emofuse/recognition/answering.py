"""From what was read to answers: encoders, model, rules, and what to bear in mind."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from emofuse.encoders.contract import FloatArray, Item
from emofuse.errors import EncoderError
from emofuse.features.table import FeatureTable, Ragged
from emofuse.manifest import Modality
from emofuse.models.bundle import BundleConfig
from emofuse.models.contract import EmotionOutput, FusionModel
from emofuse.recognition.answer import Recognition
from emofuse.recognition.encoding import BundleEncoders
from emofuse.recognition.loading import licence_line, model_line
from emofuse.recognition.reading import Loaded
from emofuse.recognition.scoring import Scoring

__all__ = ["Answerer"]

LONG_SECONDS = 30.0  # longer than any utterance a model learns from


class Answerer:
    """Encodes, fuses and tells; any number of threads may ask, one is answered at a time.

    Args:
        model: in evaluation mode, on its device.
        config: the bundle's configuration.
        encoders: the bundle's.
        device: where the model runs.
        scoring: how logits become answers.
    """

    def __init__(
        self,
        model: FusionModel,
        config: BundleConfig,
        encoders: BundleEncoders,
        device: torch.device,
        scoring: Scoring,
    ) -> None:
        self._model, self._config, self._encoders = model, config, encoders
        self._device, self._scoring = device, scoring
        self._facts = {"model": model_line(config), "licence": licence_line(config)}
        self._turn = threading.Lock()
        self.modalities = tuple(config.dims)

    @property
    def needs(self) -> frozenset[str]:
        """Modalities that the model cannot do without."""
        return self._model.needs()

    def answer(self, chunk: Sequence[Loaded]) -> list[Recognition]:
        """Answer together what was read together.

        Raises:
            BundleError: an encoder that is needed is not the bundle's.
        """
        with self._turn, torch.inference_mode():
            for modality in ("audio", "text", "video"):
                self._encode(chunk, modality)
            for one in chunk:
                self._check(one)
            good = [one for one in chunk if one.error is None]
            output = self._forward([one.features for one in good]) if good else None
            if output is not None:
                output = self._distrust(good, output)
        places = {id(one): row for row, one in enumerate(good)}
        return [
            _failed(one)
            if output is None or one.error
            else self._tell(one, output, places[id(one)])
            for one in chunk
        ]

    def _encode(self, chunk: Sequence[Loaded], modality: Modality) -> None:
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
            else:
                one.features[modality] = outcome
            one.waveform = None if modality == "audio" else one.waveform

    def _check(self, one: Loaded) -> None:
        if one.error is not None:
            return
        have = set(one.features)
        lacking = sorted(self._model.needs() - have)
        if not have:
            one.error = f"nothing to go by: the model knows {_and(self.modalities)}"
        elif lacking:
            one.error = f"model {self._config.model.name!r} cannot do without {_and(lacking)}"

    def _forward(self, features: Sequence[Mapping[str, FloatArray]]) -> EmotionOutput:
        parts = {
            str(name): Ragged.from_arrays([one.get(name) for one in features], dim)
            for name, dim in self._config.dims.items()
        }
        ids = tuple(str(row) for row in range(len(features)))
        batch = FeatureTable(ids, parts, {}).batch(torch.arange(len(ids)))
        output: EmotionOutput = self._model(batch.to(self._device))
        return output

    def _distrust(self, good: Sequence[Loaded], output: EmotionOutput) -> EmotionOutput:
        """Let words that may be wrong count for less: never for more.

        With ``c`` the share of the words expected to be right (`Query.trust`), the probabilities
        are ``c p(audio, text) + (1 - c) p(audio)``, and so are weights and dimensions.
        """
        rows = [row for row, one in enumerate(good) if self._doubted(one)]
        if not rows:
            return output
        kept = [{k: v for k, v in good[row].features.items() if k != "text"} for row in rows]
        without = self._forward(kept)
        trust = output.logits.new_tensor([good[row].query.trust for row in rows])
        index = torch.tensor(rows, device=self._device)
        shares = _blend(
            torch.softmax(output.logits[index], 1), torch.softmax(without.logits, 1), trust
        )
        logits = output.logits.index_copy(0, index, shares.clamp(min=1e-30).log())
        weights = {
            name: value.index_copy(
                0, index, _blend(value[index], _share(without, name, len(rows), value), trust)
            )
            for name, value in output.weights.items()
        }
        vad = output.vad
        if vad is not None and without.vad is not None:
            vad = vad.index_copy(0, index, _blend(vad[index], without.vad, trust))
        return replace(output, logits=logits, weights=weights, vad=vad)

    def _doubted(self, one: Loaded) -> bool:
        others = set(one.features) - {"text"}
        if "text" not in one.features or one.query.trust >= 1.0 or not others:
            return False
        return not self._model.needs() - others

    def _tell(self, one: Loaded, output: EmotionOutput, row: int) -> Recognition:
        logits = output.logits[row].double().cpu()
        if not bool(torch.isfinite(logits).all()):
            one.error = "the model gave NaN or infinity; the features are far from its training's"
            return _failed(one)
        used = tuple(name for name in self.modalities if name in one.features)
        missing = tuple(name for name in self.modalities if name not in used)
        weights = {
            name: float(output.weights[name][row]) for name in used if name in output.weights
        }
        start = None if one.seconds is None else one.query.start or 0.0
        return Recognition(
            id=one.query.id,
            **self._scoring.tell(logits),
            modalities=used,
            weights=weights or ({used[0]: 1.0} if len(used) == 1 else {}),
            missing=missing,
            vad=None if output.vad is None else self._scaled(output.vad[row]),
            seconds=one.seconds,
            start=start,
            end=None if start is None else start + (one.seconds or 0.0),
            channel=one.query.channel,
            transcript=one.query.transcript,
            notes=self._notes(one, used, missing),
            **self._facts,
        )

    def _scaled(self, vad: Tensor) -> dict[str, float]:
        """Put a model's [-1, 1] on the scheme's scale."""
        values = vad.double().cpu().tolist()
        found: dict[str, float] = {}
        for name, value in zip(("valence", "arousal", "dominance"), values, strict=True):
            if name in self._config.scheme.vad:
                low, high = self._config.scheme.vad[name]
                found[name] = low + (value + 1.0) / 2.0 * (high - low)
        return found

    def _notes(
        self, one: Loaded, used: tuple[str, ...], missing: tuple[str, ...]
    ) -> tuple[str, ...]:
        notes = []
        if missing:
            line = (
                f"trained on {'+'.join(self.modalities)}; {_and(missing)} missing: "
                f"answered from {_and(used)} alone"
            )
            if not self._config.trained_with_dropout:
                line += " (less reliable: the model was trained without modality dropout)"
            notes.append(line)
        given = {
            "text": one.query.has_text,
            "audio": one.query.audio is not None,
            "video": one.query.video is not None,
        }
        notes += [
            f"the {name} was not used: the model knows {_and(self.modalities)} alone"
            for name, there in given.items()
            if there and name not in self.modalities
        ]
        if one.seconds is not None and one.seconds > LONG_SECONDS:
            notes.append(
                f"{one.seconds:.1f} s long: one answer for all of it; models learn from single "
                "utterances, so cut it up for more"
            )
        if one.silent:
            notes.append("the audio is digital silence: the answer means nothing")
        return tuple(notes)


def _blend(whole: Tensor, part: Tensor, trust: Tensor) -> Tensor:
    share = trust.reshape(-1, *[1] * (whole.ndim - 1)).to(whole.dtype)
    return share * whole + (1.0 - share) * part.to(whole.dtype)


def _share(output: EmotionOutput, name: str, count: int, like: Tensor) -> Tensor:
    found = output.weights.get(name)
    return like.new_zeros(count) if found is None else found.to(like.dtype)


def _item(one: Loaded, modality: Modality) -> Item | None:
    query = one.query
    if modality == "audio":
        return None if one.waveform is None else Item(query.id, waveform=one.waveform)
    if modality == "video":
        if query.video is None:
            return None
        return Item(query.id, video=query.video, start=query.start, end=query.end)
    return Item(query.id, text=query.words) if query.has_text else None


def _failed(one: Loaded) -> Recognition:
    query = one.query
    return Recognition(id=query.id, seconds=one.seconds, channel=query.channel, error=one.error)


def _and(names: Iterable[str]) -> str:
    return " and ".join(names)
