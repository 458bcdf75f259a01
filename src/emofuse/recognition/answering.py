"""From what was read to answers: encoders, model, rules, and what to bear in mind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from emofuse.encoders.contract import Item
from emofuse.errors import EncoderError, WorkError
from emofuse.evaluation.calibration import softmax
from emofuse.manifest import Modality
from emofuse.models.bundle_config import BundleConfig
from emofuse.recognition.adapting.voice import FEW, FEW_NOTE
from emofuse.recognition.answer import Recognition
from emofuse.recognition.encoding import BundleEncoders
from emofuse.recognition.fusion import Floats, Fusion, Said
from emofuse.recognition.lanes import Lanes
from emofuse.recognition.loading import licence_line, model_line
from emofuse.recognition.reading import Loaded
from emofuse.recognition.scoring import Scoring

__all__ = ["Answerer", "failed", "refuse"]

LONG_SECONDS = 30.0  # longer than any utterance a model learns from


class Answerer:
    """Encodes, fuses and tells; any number of threads may ask, one a lane is answered at a time.

    Args:
        fusion: the model.
        config: the bundle's configuration.
        encoders: the bundle's.
        scoring: how logits become answers.
        lanes: passes at once.
    """

    def __init__(
        self,
        fusion: Fusion,
        config: BundleConfig,
        encoders: BundleEncoders,
        scoring: Scoring,
        lanes: int = 1,
    ) -> None:
        self._fusion, self._config, self._encoders = fusion, config, encoders
        self._scoring = scoring
        self._facts = {"model": model_line(config), "licence": licence_line(config)}
        self.lanes = Lanes(lanes)
        self.modalities = tuple(config.dims)

    @property
    def needs(self) -> frozenset[str]:
        """Modalities that the model cannot do without."""
        return self._fusion.needs

    def listen(self, chunk: Sequence[Loaded]) -> None:
        """Encode the sound of what was read, let go of it, and say what it tells by itself.

        `answer` does the rest.

        Raises:
            BundleError: the encoder is not the bundle's.
        """
        with self.lanes.take():
            self._encode(chunk, "audio")
            heard = [one for one in chunk if one.error is None and "audio" in one.features]
            if not heard or self._fusion.needs - {"audio"}:
                return
            said = self._fusion.say([{"audio": one.features["audio"]} for one in heard])
        for one, shares in zip(heard, self._scoring.shares(said.logits), strict=True):
            one.shares = shares if np.isfinite(shares).all() else None

    def answer(self, chunk: Sequence[Loaded]) -> list[Recognition]:
        """Answer together what was read together.

        Features that are there already are not made again. A query with a voice is moved by it.

        Raises:
            BundleError: an encoder that is needed is not the bundle's.
        """
        with self.lanes.take():
            for modality in ("audio", "text", "video"):
                self._encode(chunk, modality)
            for one in chunk:
                self._check(one)
            good = [one for one in chunk if one.error is None]
            for one in good:
                _adapt(one)
            said = self._fusion.say([one.features for one in good]) if good else None
            if said is not None:
                said = self._distrust(good, said)
        places = {id(one): row for row, one in enumerate(good)}
        return [
            failed(one) if said is None or one.error else self._tell(one, said, places[id(one)])
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
        lacking = sorted(self._fusion.needs - have)
        if not have:
            one.error = f"nothing to go by: the model knows {_and(self.modalities)}"
        elif lacking:
            one.error = f"model {self._config.model.name!r} cannot do without {_and(lacking)}"

    def _distrust(self, good: Sequence[Loaded], said: Said) -> Said:
        """Let words that may be wrong count for less: never for more.

        With ``c`` the share of the words expected to be right (`Query.trust`), the probabilities
        are ``c p(audio, text) + (1 - c) p(audio)``, and so are weights and dimensions.
        """
        rows = [row for row, one in enumerate(good) if self._doubted(one)]
        if not rows:
            return said
        without = self._fusion.say(
            [{k: v for k, v in good[row].features.items() if k != "text"} for row in rows]
        )
        trust = np.array([good[row].query.trust for row in rows])
        logits = said.logits.copy()
        shares = _blend(softmax(said.logits[rows]), softmax(without.logits), trust)
        logits[rows] = np.log(np.maximum(shares, 1e-30))
        weights = {name: value.copy() for name, value in said.weights.items()}
        for name, value in weights.items():
            rest = without.weights.get(name, np.zeros(len(rows)))
            value[rows] = _blend(value[rows], rest, trust)
        vad = said.vad
        if vad is not None and without.vad is not None:
            vad = vad.copy()
            vad[rows] = _blend(vad[rows], without.vad, trust)
        return replace(said, logits=logits, weights=weights, vad=vad)

    def _doubted(self, one: Loaded) -> bool:
        others = set(one.features) - {"text"}
        if "text" not in one.features or one.query.trust >= 1.0 or not others:
            return False
        return not self._fusion.needs - others

    def _tell(self, one: Loaded, said: Said, row: int) -> Recognition:
        logits = said.logits[row]
        if not np.isfinite(logits).all():
            one.error = "the model gave NaN or infinity; the features are far from its training's"
            return failed(one)
        used = tuple(name for name in self.modalities if name in one.features)
        missing = tuple(name for name in self.modalities if name not in used)
        weights = {name: float(said.weights[name][row]) for name in used if name in said.weights}
        start = None if one.seconds is None else one.query.start or 0.0
        return Recognition(
            id=one.query.id,
            **self._scoring.tell(logits),
            modalities=used,
            weights=weights or ({used[0]: 1.0} if len(used) == 1 else {}),
            missing=missing,
            vad=None if said.vad is None else self._scaled(said.vad[row]),
            seconds=one.seconds,
            start=start,
            end=None if start is None else start + (one.seconds or 0.0),
            channel=one.query.channel,
            transcript=one.query.transcript,
            adapted=one.adapted,
            notes=self._notes(one, used, missing),
            **self._facts,
        )

    def _scaled(self, vad: Floats) -> dict[str, float]:
        """Put a model's [-1, 1] on the scheme's scale."""
        found: dict[str, float] = {}
        for name, value in zip(("valence", "arousal", "dominance"), vad.tolist(), strict=True):
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
        if one.adapted is not None and one.adapted.utterances < FEW:
            notes.append(FEW_NOTE)
        if one.silent:
            notes.append("the audio is digital silence: the answer means nothing")
        return tuple(notes)


def _adapt(one: Loaded) -> None:
    """Move the sound of a query by the voice that it was given, once."""
    voice = one.query.voice
    if voice is not None and "audio" in one.features and one.adapted is None:
        one.features["audio"] = voice.move(one.features["audio"])
        one.adapted = voice.note


def _blend(whole: Floats, part: Floats, trust: Floats) -> Floats:
    share = trust.reshape(-1, *[1] * (whole.ndim - 1))
    return np.asarray(share * whole + (1.0 - share) * part)


def _item(one: Loaded, modality: Modality) -> Item | None:
    query = one.query
    if modality == "audio":
        return None if one.waveform is None else Item(query.id, waveform=one.waveform)
    if modality == "video":
        if query.video is None:
            return None
        return Item(query.id, video=query.video, start=query.start, end=query.end)
    return Item(query.id, text=query.words) if query.has_text else None


def failed(one: Loaded) -> Recognition:
    """Give the answer of what cannot be answered: why."""
    query = one.query
    return Recognition(id=query.id, seconds=one.seconds, channel=query.channel, error=one.error)


def refuse(answers: Iterable[Recognition]) -> None:
    """Take the first answer that is none for an error.

    Raises:
        WorkError: with its reason.
    """
    for answer in answers:
        if answer.error is not None:
            known = answer.error.startswith(answer.id)
            raise WorkError(answer.error if known else f"{answer.id}: {answer.error}")


def _and(names: Iterable[str]) -> str:
    return " and ".join(names)
