"""Queries whose sound is read, and the bundle that answers them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from emofuse.media.audio import SAMPLE_RATE
from emofuse.models.bundle_config import BundleConfig
from emofuse.progress import Progress, ProgressEvent
from emofuse.recognition.adapting.reference import Reference, read_reference
from emofuse.recognition.answer import Recognition
from emofuse.recognition.answering import Answerer, refuse
from emofuse.recognition.encoding import BundleEncoders
from emofuse.recognition.fusion import Fusion
from emofuse.recognition.query import Query
from emofuse.recognition.reading import THREADS, Loaded, group, read
from emofuse.recognition.scoring import Scoring

if TYPE_CHECKING:
    from emofuse.recognition.transcribe import Transcriber

__all__ = ["Hearer"]

HEARING_RATE = SAMPLE_RATE


class Hearer:
    """A bundle at work on queries, one stretch after another: what `Recognizer` stands on.

    Args:
        fusion: the model at work.
        config: the bundle's configuration.
        encoders: what turns queries into the features that the model was trained on.
        scoring: how logits become answers; None = probabilities as the model gives them.
        transcriber: hears the words where none are given; None = nobody does.
        lanes: threads that are answered at once.
    """

    def __init__(
        self,
        fusion: Fusion,
        config: BundleConfig,
        encoders: BundleEncoders,
        scoring: Scoring | None = None,
        *,
        transcriber: Transcriber | None = None,
        lanes: int = 1,
    ) -> None:
        self.config = config
        self.scoring = scoring or Scoring(config.scheme.classes)
        self.transcriber = transcriber
        self._encoders = encoders
        self._answerer = Answerer(fusion, config, encoders, self.scoring, lanes)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the label scheme."""
        return self.config.scheme.classes

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the model was trained on."""
        return tuple(self.config.dims)

    @property
    def needs(self) -> frozenset[str]:
        """Modalities that the model cannot do without."""
        return self._answerer.needs

    @property
    def reference(self) -> Reference:
        """Where the voices of training lie, for adapting to a speaker.

        Raises:
            OptionError: the model cannot be adapted to a speaker.
        """
        return read_reference(self.config)

    @property
    def precision(self) -> str:
        """What the encoders compute in: fp32, bf16, or how an ONNX bundle was exported."""
        return self._encoders.precision

    @property
    def lanes(self) -> int:
        """Threads that are answered at once."""
        return self._answerer.lanes.count

    @property
    def listens(self) -> bool:
        """Whether anybody wants the sound of a query."""
        return "audio" in self.modalities or self.transcriber is not None

    @property
    def sample_rate(self) -> int:
        """Hertz at which the model hears; 16 kHz where it takes no audio."""
        if "audio" not in self.modalities:
            return HEARING_RATE
        return self._encoders.get("audio").sample_rate or HEARING_RATE

    def read_loaded(self, chunk: Sequence[Loaded], pool: ThreadPoolExecutor) -> None:
        """Read the sound of queries, and let the transcriber hear the words nobody gave."""
        if any(one.error is None and one.seconds is not None for one in chunk):
            read(chunk, self.sample_rate, pool)
            self.hear(chunk)

    def listen_loaded(self, chunk: Sequence[Loaded]) -> None:
        """Encode the sound of queries, so that a voice can be told before they are answered."""
        self._answerer.listen(chunk)

    def answer_loaded(self, chunk: Sequence[Loaded]) -> list[Recognition]:
        """Answer together queries whose sound is read already, at `sample_rate`."""
        return self._answerer.answer(chunk)

    def hear(self, chunk: Sequence[Loaded]) -> None:
        """Let the transcriber write down what is said where nobody has yet."""
        if self.transcriber is None or "text" not in self.modalities:
            return
        for one in chunk:
            written = one.query.has_text or one.query.transcript is not None
            if one.error is None and one.waveform is not None and not written:
                heard = self.transcriber.transcribe(one.waveform, self.sample_rate)
                one.query = replace(one.query, text=None, transcript=heard)

    def take_warnings(self) -> tuple[str, ...]:
        """Give what the encoders found since the last call, such as a text that was cut."""
        return self._encoders.take_warnings()

    def _answers(
        self, every: list[Query], progress: Progress, strict: bool
    ) -> Iterator[Recognition]:
        done = 0
        with ThreadPoolExecutor(THREADS) as pool:
            for chunk in group(every, self.listens, pool):
                self.read_loaded(chunk, pool)
                answers = self._answerer.answer(chunk)
                if strict:
                    refuse(answers)
                done += len(answers)
                progress(ProgressEvent("recognise", done, len(every), "utterances"))
                yield from answers
