"""eGeMAPSv02 by openSMILE (extra ``opensmile``): 88 functionals, or 25 descriptors a frame.

openSMILE is free for research and private use only (audEERING research licence), which is why it
is not part of the core; `Provenance.licence` says so in every bundle that is trained on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from emofuse.encoders.contract import Encoder, EncoderSpec, FloatArray, Item, Provenance
from emofuse.encoders.settings import refuse_options, require_waveform
from emofuse.errors import EncoderError, MissingExtraError, OptionError
from emofuse.media.audio import SAMPLE_RATE

__all__ = ["EGeMAPS"]

FUNCTIONALS, DESCRIPTORS = 88, 25
FRAMES_A_SECOND = 100.0
SHORTEST = 1600  # samples: openSMILE finds no frame in less than its 60 ms window


class EGeMAPS(Encoder):
    """The extended Geneva minimalistic acoustic parameter set.

    ``pooled`` gives the set's own functionals, ``frames`` its low-level descriptors (100 a second).
    A clip under 100 ms is repeated up to that length, since openSMILE finds no frame in it.

    Args:
        spec: only ``granularity`` counts; the functionals are the pooling.
        device: taken for the sake of the contract; openSMILE runs on the processor.

    Raises:
        MissingExtraError: openSMILE is not installed.
    """

    modality = "audio"
    sample_rate = SAMPLE_RATE
    provenance = Provenance(
        licence="audEERING research licence (openSMILE): no commercial use",
        known=True,
        source="Eyben et al. 2016, doi:10.1109/TAFFC.2015.2457417",
    )

    def __init__(self, spec: EncoderSpec, device: str = "cpu") -> None:
        refuse_options(spec, "layer", "pooling", "dim", "revision")
        if not device:
            raise OptionError("a device is named, such as 'cpu'")
        try:
            import opensmile
        except ImportError as error:
            raise MissingExtraError("opensmile", "opensmile") from error
        self.spec = spec
        pooled = spec.granularity == "pooled"
        self.dim = FUNCTIONALS if pooled else DESCRIPTORS
        self.frame_rate = None if pooled else FRAMES_A_SECOND
        self.revision = f"egemaps-1-opensmile-{opensmile.__version__}"
        level = opensmile.FeatureLevel
        self._smile: Any = opensmile.Smile(
            feature_set=opensmile.FeatureSet.eGeMAPSv02,
            feature_level=level.Functionals if pooled else level.LowLevelDescriptors,
            num_workers=1,
        )

    def encode(self, items: Sequence[Item]) -> list[FloatArray]:
        """Give one ``(1, 88)`` or ``(frames, 25)`` array an item (see `Encoder.encode`)."""
        return [self._encode_one(item) for item in items]

    def _encode_one(self, item: Item) -> FloatArray:
        wave = require_waveform(item)
        if len(wave) < SHORTEST:
            wave = np.resize(wave, SHORTEST)
        try:
            table = self._smile.process_signal(wave, SAMPLE_RATE)
        except (RuntimeError, ValueError) as error:
            raise EncoderError(f"{item.id}: openSMILE failed: {error}") from error
        values = table.to_numpy(dtype=np.float32)
        if not len(values) or not np.isfinite(values).all():
            raise EncoderError(f"{item.id}: openSMILE gave {len(values)} frames, or NaN")
        return np.ascontiguousarray(values)
