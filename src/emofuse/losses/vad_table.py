"""Where emotion words lie in valence, arousal and dominance: one table for every label scheme.

Sources:

* ``nrc``: the entry of the NRC VAD Lexicon v1 (Mohammad, "Obtaining Reliable Human Ratings of
  Valence, Arousal, and Dominance for 20,000 English Words", ACL 2018), brought from [0, 1] to
  [-1, 1] by ``2 x - 1``; the entry of ``joy`` stands for ``happiness``. Its terms: free for
  research and education, with this citation; for commerce ask the National Research Council Canada.
* ``vga-fusion``: written into the released code of VGA-Fusion without a source. Its values of the
  other words are those of the lexicon, but for a second disgust and fear in its table of CREMA-D.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from emofuse.errors import OptionError

__all__ = ["TABLE", "Place", "places_of"]


class Place(NamedTuple):
    """A point in [-1, 1] cubed, and where it is from."""

    valence: float
    arousal: float
    dominance: float
    source: str


TABLE: Mapping[str, Place] = {
    "anger": Place(-0.666, 0.730, 0.314, "nrc"),
    "boredom": Place(-0.666, -0.722, -0.490, "nrc"),
    "calm": Place(0.750, -0.800, -0.436, "nrc"),
    "contempt": Place(-0.588, 0.270, -0.208, "nrc"),
    "disgust": Place(-0.896, 0.550, -0.366, "nrc"),
    "excitement": Place(0.850, 0.750, 0.450, "vga-fusion"),
    "fear": Place(-0.854, 0.680, -0.414, "nrc"),
    "frustration": Place(-0.500, 0.600, -0.200, "vga-fusion"),
    "happiness": Place(0.960, 0.648, 0.588, "nrc"),
    "neutral": Place(-0.062, -0.632, -0.286, "nrc"),
    "sadness": Place(-0.896, -0.424, -0.672, "nrc"),
    "surprise": Place(0.750, 0.750, 0.124, "nrc"),
}
"""Class name -> place."""


def places_of(classes: Sequence[str]) -> list[list[float]]:
    """Give ``[valence, arousal, dominance]`` of each class.

    Raises:
        OptionError: a class that the table does not have.

    >>> places_of(["calm"])
    [[0.75, -0.8, -0.436]]
    """
    lacking = [name for name in classes if name not in TABLE]
    if lacking:
        raise OptionError(
            f"the loss 'vad' knows no valence, arousal and dominance of the class {lacking[0]!r}; "
            f"it knows {', '.join(TABLE)}; take targets: corpus where utterances have their own"
        )
    return [list(TABLE[name][:3]) for name in classes]
