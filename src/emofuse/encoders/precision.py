"""Which number format an encoder computes in."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch

from emofuse.encoders.contract import EncoderSpec

__all__ = ["fast_bf16", "resolve_precision"]

CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # x86, x86 with AMX, ARM
CPU_INFO = Path("/proc/cpuinfo")


def fast_bf16(device: str) -> bool:
    """Tell whether a device multiplies bfloat16 natively (elsewhere it is slower than fp32)."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return _cpu_has_bf16()


@lru_cache(maxsize=1)
def _cpu_has_bf16() -> bool:
    try:
        text = CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = (line.partition(":")[2].split() for line in text.splitlines() if _names_flags(line))
    return bool(CPU_FLAGS & set(next(flags, [])))


def _names_flags(line: str) -> bool:
    return line.lower().startswith(("flags", "features"))


def resolve_precision(spec: EncoderSpec, device: str) -> Literal["fp32", "bf16"]:
    """Say what ``spec.precision`` comes to on a device."""
    if spec.precision == "auto":
        return "bf16" if fast_bf16(device) else "fp32"
    return spec.precision
