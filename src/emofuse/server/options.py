"""What a service may be told; the command line and the documentation are made from these fields."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from emofuse.options import Options

__all__ = ["MEGABYTE", "ServerOptions", "is_loopback"]

MEGABYTE = 1 << 20
ORIGIN = re.compile(r"https?://[^\s/?#@*,]+")
HOST = re.compile(r"[^\s/?#@*,]+")


class ServerOptions(Options):
    """How a service listens, what it takes, and how long it works on it."""

    host: str = Field(
        default="127.0.0.1", min_length=1, description="Address to listen at; loopback by default."
    )
    port: int = Field(default=8000, ge=0, le=65_535, description="Port; 0 takes a free one.")
    keys_file: Path | None = Field(
        default=None,
        description="File with an API key a line; or set EMOFUSE_API_KEYS, separated by commas.",
    )
    open: bool = Field(
        default=False, description="Listen beyond loopback without keys: anybody may ask."
    )
    allow_host: tuple[str, ...] = Field(
        default=(),
        description="Host names that requests may name; on loopback its own names, else any.",
    )
    allow_origin: tuple[str, ...] = Field(
        default=(), description="Origins of other pages whose browsers may ask; none by default."
    )
    page: bool = Field(default=True, description="Serve the page at /.")
    max_upload_mb: float = Field(
        default=25.0, gt=0, le=4096, description="Megabytes (2^20 bytes) of one request's audio."
    )
    held_mb: float = Field(
        default=512.0, gt=0, description="Megabytes of requests held in memory at once."
    )
    max_seconds: float = Field(
        default=120.0, gt=0, le=3600, description="Seconds of audio of one utterance."
    )
    max_items: int = Field(default=32, ge=1, le=1024, description="Utterances of one batch call.")
    max_text: int = Field(default=10_000, ge=1, description="Characters of one text.")
    time_limit: float = Field(
        default=60.0, gt=0, description="Seconds from the first byte of a request to its answer."
    )
    queue: int = Field(
        default=64, ge=1, description="Utterances waiting or being answered; more get 429."
    )
    max_batch: int = Field(default=16, ge=1, le=1024, description="Utterances answered together.")
    batch_seconds: float = Field(
        default=120.0, gt=0, description="Seconds of audio answered together at most."
    )
    gather_ms: float = Field(
        default=2.0, ge=0, le=1000, description="Milliseconds that a batch waits for company."
    )
    lanes: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Batches answered at once, on a processor core each; one a core by default.",
    )
    precision: Literal["auto", "fp32", "bf16"] | None = Field(
        default=None,
        description="What encoders of PyTorch compute in: fp32, bf16 or auto (bf16 where the "
        "processor multiplies it natively); by default as they were trained with.",
    )
    decoders: int = Field(default=2, ge=1, le=64, description="Threads that decode audio.")
    timelines: int = Field(default=2, ge=1, description="Long recordings at once; more get 429.")
    timeline_seconds: float = Field(
        default=1800.0, gt=0, description="Seconds of audio of one long recording."
    )
    timeline_limit: float = Field(
        default=300.0, gt=0, description="Seconds of work on one long recording."
    )
    streams: int = Field(default=8, ge=1, description="Streams open at once; more are turned away.")
    stream_seconds: float = Field(
        default=3600.0, gt=0, description="Seconds of audio of one stream."
    )
    idle_seconds: float = Field(
        default=30.0, gt=0, description="Seconds after which a silent stream is ended."
    )
    drain_seconds: float = Field(
        default=30.0, ge=0, description="Seconds for what was accepted when asked to stop."
    )

    @field_validator("allow_origin")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not ORIGIN.fullmatch(one):
                raise ValueError(
                    f"{one!r} is no origin; write as a browser does: https://example.org"
                )
        return value

    @field_validator("allow_host")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not HOST.fullmatch(one) or (one.count(":") == 1):
                raise ValueError(f"{one!r} is no host name; write it without scheme, port and path")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.held_mb < self.max_upload_mb:
            raise ValueError(
                f"held_mb {self.held_mb:g} is less than max_upload_mb {self.max_upload_mb:g}"
            )
        if self.max_items > self.queue:
            raise ValueError(f"max_items {self.max_items} is more than queue {self.queue}")
        return self

    @property
    def max_bytes(self) -> int:
        """Bytes of one request's audio."""
        return round(self.max_upload_mb * MEGABYTE)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.2", "::1", "0.0.0.0")]
    [True, True, True, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
