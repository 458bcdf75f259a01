"""Two recognisers side by side: do they give the same answers?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from emofuse.errors import WorkError
from emofuse.progress import Progress, ProgressEvent
from emofuse.recognition.answer import Recognition
from emofuse.recognition.query import Query
from emofuse.recognition.recognizer import Recognizer

__all__ = ["Difference", "compare", "variants"]


@dataclass(frozen=True)
class Difference:
    """How far two recognisers are from each other.

    Attributes:
        answers: compared.
        largest: greatest difference of a probability.
        mean: average over the answers of the greatest difference in each.
        weights: greatest difference of a modality's weight.
        vad: greatest difference of a dimension, as a share of its range's half.
        agreed: share of equal emotions.
        worst: the query with the greatest difference.
    """

    answers: int
    largest: float
    mean: float
    weights: float
    vad: float
    agreed: float
    worst: str


def variants(queries: Iterable[Query], needs: frozenset[str]) -> list[Query]:
    """Ask everything with all that is there, and again with each modality left out.

    Args:
        queries: with audio, text, or both.
        needs: modalities that the model cannot do without.
    """
    found: list[Query] = []
    for query in queries:
        found.append(query)
        if query.audio is None or not query.has_text:
            continue
        if "text" not in needs:
            found.append(replace(query, id=f"{query.id} (no text)", text=None))
        if "audio" not in needs:
            found.append(replace(query, id=f"{query.id} (no audio)", audio=None))
    return found


def compare(
    first: Recognizer, second: Recognizer, queries: Sequence[Query], progress: Progress
) -> Difference:
    """Let two recognisers answer the same and measure the difference.

    Args:
        first: of PyTorch.
        second: of ONNX, of the same classes.
        queries: what they are asked.
        progress: told of the stage ``compare``.

    Raises:
        WorkError: no query got an answer, or one of them answers where the other does not.
    """
    pairs: list[tuple[Recognition, Recognition]] = []
    for query in queries:
        one, two = first.recognise_many([query])[0], second.recognise_many([query])[0]
        if (one.error is None) != (two.error is None):
            raise WorkError(
                f"{query.id}: PyTorch says {one.error or one.emotion!r}, ONNX says "
                f"{two.error or two.emotion!r}"
            )
        if one.error is None:
            pairs.append((one, two))
        progress(ProgressEvent("compare", len(pairs), len(queries), "answers"))
    if not pairs:
        raise WorkError("nothing could be answered, so PyTorch and ONNX cannot be compared")
    gaps = [_gap(one.probabilities, two.probabilities) for one, two in pairs]
    worst = int(np.argmax(gaps))
    return Difference(
        answers=len(pairs),
        largest=max(gaps),
        mean=float(np.mean(gaps)),
        weights=max(_gap(one.weights, two.weights) for one, two in pairs),
        vad=max(_vad_gap(one, two, first) for one, two in pairs),
        agreed=float(np.mean([one.emotion == two.emotion for one, two in pairs])),
        worst=pairs[worst][0].id,
    )


def _gap(one: dict[str, float], two: dict[str, float]) -> float:
    return max((abs(one[name] - two.get(name, 0.0)) for name in one), default=0.0)


def _vad_gap(one: Recognition, two: Recognition, recognizer: Recognizer) -> float:
    if one.vad is None or two.vad is None:
        return 0.0 if one.vad is two.vad else 1.0
    ranges: dict[str, tuple[float, float]] = dict(recognizer.config.scheme.vad)
    halves = {name: (ranges[name][1] - ranges[name][0]) / 2 for name in one.vad}
    return max((abs(one.vad[n] - two.vad[n]) / halves[n] for n in one.vad), default=0.0)
