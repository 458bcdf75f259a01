"""What one recording and one text can be ill with."""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from emofuse.errors import MediaError
from emofuse.media.audio import SAMPLE_RATE, AudioInfo, is_lfs_pointer, probe, to_mono
from emofuse.media.fingerprint import Fingerprint, sound_shape

__all__ = ["Fault", "Heard", "check_audio", "check_text", "hear"]

FloatArray = NDArray[np.float32]

BLOCK = 1 << 18  # samples a channel in memory at once
SHAPE_SECONDS = 120.0  # how much of a long recording is compared with others
TOO_SHORT, TOO_LONG = 0.1, 60.0  # seconds
SILENT_PEAK, SILENT_RMS = 1e-3, 1e-4  # -60 and -80 dBFS
FULL_SCALE, CLIP_RUN, CLIP_SHARE = 0.997, 3, 1e-3
DC_LEVEL, DC_SHARE = 0.02, 0.3  # of full scale, and of RMS
CANCELLED = 0.1  # RMS of the channels' mean, over the RMS of the loudest channel
LENGTH_OFF = (0.05, 0.01)  # seconds, share
FASTEST, SLOWEST = 40.0, 0.3  # characters a second
SLOW_FROM = 10.0  # seconds: below that a single word may stand alone

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_CP1252_TAIL = "".join(
    bytes([code]).decode("cp1252")
    for code in range(0x80, 0xA0)
    if code not in b"\x81\x8d\x8f\x90\x9d"
)
_TAIL = "[\u0080-\u00bf" + re.escape(_CP1252_TAIL) + "]"
_UTF8_AS_LATIN = re.compile(f"[Â-ß]{_TAIL}|[à-ï]{_TAIL}{{2}}|ð{_TAIL}{{3}}")


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, by its kind, with figures."""

    kind: str
    detail: str


@dataclass
class Heard:
    """What was heard in a recording, or in a slice of it, read block by block.

    Attributes:
        info: what the header says.
        promised: samples a channel that the header promises for the slice.
        frames: samples a channel decoded.
        peak, square_sum, sum: per channel ``(channels,)``; non-finite samples left out.
        mono_square_sum: of the mean of the channels.
        difference: largest difference between the first channel and any other.
        not_finite: samples that are NaN or infinite.
        clipped: samples in runs at full scale.
        print: fingerprint, to find copies by.
    """

    info: AudioInfo
    promised: int
    frames: int = 0
    peak: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    square_sum: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    sum: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    mono_square_sum: float = 0.0
    difference: float = 0.0
    not_finite: int = 0
    clipped: int = 0
    print: Fingerprint | None = None

    @property
    def seconds(self) -> float:
        """Length that was decoded."""
        return self.frames / self.info.sample_rate

    @property
    def rms(self) -> float:
        """Root mean square of the loudest channel."""
        return float(np.sqrt(self.square_sum.max() / max(self.frames, 1)))

    def add(self, block: FloatArray) -> FloatArray:
        """Count a block ``(samples, channels)``; gives its mono mix, finite."""
        if not np.isfinite(block).all():
            self.not_finite += int((~np.isfinite(block)).sum())
            block = np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)
        if not self.frames:
            self.peak, self.square_sum, self.sum = np.zeros((3, block.shape[1]))
        self.frames += len(block)
        magnitude = np.abs(block)
        wide = block.astype(np.float64)
        self.peak = np.maximum(self.peak, magnitude.max(axis=0))
        self.square_sum = self.square_sum + (wide**2).sum(axis=0)
        self.sum = self.sum + wide.sum(axis=0)
        mono = wide.mean(axis=1)
        self.mono_square_sum += float((mono**2).sum())
        if block.shape[1] > 1:
            self.difference = max(self.difference, float(np.abs(wide - wide[:, :1]).max()))
        self.clipped += sum(_in_runs(magnitude[:, c] >= FULL_SCALE) for c in range(block.shape[1]))
        mixed: FloatArray = mono.astype(np.float32)
        return mixed


def _in_runs(flags: NDArray[np.bool_]) -> int:
    """Count the True that stand in runs of `CLIP_RUN` or more."""
    if not flags.any():
        return 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    lengths = edges[1::2] - edges[::2]
    return int(lengths[lengths >= CLIP_RUN].sum())


def hear(path: Path, start: float | None, end: float | None) -> Heard | Fault:
    """Read a recording, or a slice of it; a file that cannot be read gives the fault."""
    try:
        info = probe(path)
    except MediaError as error:
        return Fault(_why_unreadable(path), str(error))
    first = min(round((start or 0.0) * info.sample_rate), info.frames)
    last = info.frames if end is None else round(end * info.sample_rate)
    heard = Heard(info, promised=max(last - first, 0))
    digest = hashlib.sha256()
    kept: list[FloatArray] = []
    try:
        with soundfile.SoundFile(str(path)) as stream:
            if first:
                stream.seek(first)
            while heard.frames < heard.promised:
                wanted = min(BLOCK, heard.promised - heard.frames)
                block = stream.read(wanted, dtype="float32", always_2d=True)
                if not len(block):
                    break
                digest.update(np.ascontiguousarray(block).tobytes())
                mono = heard.add(block)
                if heard.seconds < SHAPE_SECONDS + BLOCK / info.sample_rate:
                    kept.append(mono)
    except (soundfile.LibsndfileError, RuntimeError, OSError, ValueError, MemoryError) as error:
        reason = getattr(error, "error_string", None) or str(error)
        return Fault("unreadable", f"stops after {heard.seconds:.3f} s: {reason}")
    if not heard.frames:
        return Fault("no-samples", f"no sample in the slice; the file has {info.seconds:.3f} s")
    heard.print = Fingerprint(digest.hexdigest(), heard.seconds, _shape(kept, info.sample_rate))
    return heard


def _shape(blocks: list[FloatArray], rate: int) -> FloatArray:
    mono = np.concatenate(blocks)[: int(SHAPE_SECONDS * rate)]
    return sound_shape(np.nan_to_num(to_mono(mono[:, None], rate, SAMPLE_RATE)))


def _why_unreadable(path: Path) -> str:
    try:
        if not path.exists():
            return "missing"
        if path.is_file() and path.stat().st_size == 0:
            return "empty"
        if path.is_file() and is_lfs_pointer(path):
            return "lfs-pointer"
    except (OSError, ValueError):
        return "unreadable"
    return "unreadable"


def check_audio(path: Path, heard: Heard) -> list[Fault]:
    """Name what is wrong with a recording that could be read."""
    return [*_length_faults(path, heard), *_level_faults(heard), *_channel_faults(heard)]


def _length_faults(path: Path, heard: Heard) -> list[Fault]:
    found = []
    if heard.seconds < TOO_SHORT:
        found.append(Fault("too-short", f"{heard.seconds:.3f} s, under {TOO_SHORT:g} s"))
    if heard.seconds > TOO_LONG:
        found.append(Fault("too-long", f"{heard.seconds:.1f} s, over {TOO_LONG:g} s"))
    promised = heard.promised / heard.info.sample_rate
    if abs(promised - heard.seconds) > max(LENGTH_OFF[0], LENGTH_OFF[1] * promised):
        found.append(
            Fault("length", f"{promised:.3f} s are promised, {heard.seconds:.3f} s are there")
        )
    else:
        found.extend(_riff_faults(path))
    if heard.info.sample_rate < SAMPLE_RATE:
        found.append(
            Fault("low-rate", f"{heard.info.sample_rate:,} Hz: nothing above half of that is heard")
        )
    return found


def _riff_faults(path: Path) -> list[Fault]:
    """Tell a WAV file that was cut off: libsndfile reads on and takes what is left for all."""
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(12)
    except OSError as error:
        return [Fault("unreadable", error.strerror or str(error))]
    if len(head) < 12 or head[:4] != b"RIFF":
        return []
    promised = struct.unpack("<I", head[4:8])[0] + 8
    if promised >= 0xFFFFFF00 or promised <= size + 1:
        return []
    return [Fault("length", f"the header promises {promised:,} bytes, the file has {size:,}")]


def _level_faults(heard: Heard) -> list[Fault]:
    found = []
    if heard.not_finite:
        found.append(Fault("not-finite", f"{heard.not_finite:,} samples are NaN or infinite"))
    peak, channels = float(heard.peak.max()), len(heard.peak)
    if peak < SILENT_PEAK or heard.rms < SILENT_RMS:
        return [*found, Fault("silent", f"peak {peak:.2g}, RMS {heard.rms:.2g} of full scale")]
    share = heard.clipped / (heard.frames * channels)
    if share > CLIP_SHARE:
        found.append(Fault("clipped", f"{share:.2%} of samples stand at full scale"))
    offset = float(np.abs(heard.sum).max()) / heard.frames
    if offset > DC_LEVEL and offset > DC_SHARE * heard.rms:
        found.append(Fault("offset", f"constant part {offset:.3f} of full scale"))
    return found


def _channel_faults(heard: Heard) -> list[Fault]:
    channels = len(heard.peak)
    if channels == 1:
        return []
    loudest = int(heard.square_sum.argmax())
    rest = np.delete(heard.peak, loudest)
    mono = float(np.sqrt(heard.mono_square_sum / heard.frames))
    if heard.rms >= SILENT_RMS and mono < CANCELLED * heard.rms:
        return [Fault("channels-cancel", f"the mean of {channels} channels is near silence")]
    if heard.rms >= SILENT_RMS and float(rest.max()) < SILENT_PEAK:
        return [Fault("one-channel", f"all sound is in channel {loudest + 1} of {channels}")]
    same = "all alike" if heard.difference < 1e-4 else "averaged to mono"
    return [Fault("channels", f"{channels} channels, {same}")]


def check_text(text: str, seconds: float | None) -> list[Fault]:
    """Name what is wrong with a transcript.

    Args:
        text: what is said.
        seconds: how long that takes, where it is known.

    >>> [fault.kind for fault in check_text("schÃ¶n", None)]
    ['encoding']
    """
    if not text.strip():
        return [Fault("blank-text", "the text has no characters; leave it out")]
    found = []
    if "\ufffd" in text:
        found.append(Fault("encoding", "holds U+FFFD: a character was lost when it was decoded"))
    control = _CONTROL.search(text)
    if control:
        found.append(
            Fault("encoding", f"holds the control character U+{ord(control[0]):04X}: see prepare")
        )
    garbled = _UTF8_AS_LATIN.search(text)
    if garbled and _repaired(garbled[0]):
        found.append(
            Fault(
                "encoding", f"{garbled[0]!r} looks like {_repaired(garbled[0])!r}, decoded wrongly"
            )
        )
    if seconds:
        rate = len(text.strip()) / seconds
        if rate > FASTEST:
            found.append(Fault("speaking-rate", f"{rate:.0f} characters a second: not this text"))
        elif rate < SLOWEST and seconds > SLOW_FROM:
            found.append(Fault("slow-text", f"{rate:.2f} characters a second: is text missing?"))
    return found


def _repaired(garbled: str) -> str:
    """Undo UTF-8 that was read as Windows-1252 or Latin-1; empty where that is not what it is."""
    for codec in ("cp1252", "latin-1"):
        try:
            return garbled.encode(codec).decode("utf-8")
        except UnicodeError:
            continue
    return ""
