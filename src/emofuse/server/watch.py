"""What a service counts, in a registry of its own, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

__all__ = ["CONTENT_TYPE", "Watch"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Watch:
    """The counters of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._requests = Counter(
            "emofuse_requests", "Requests answered.", ["route", "status"], registry=self.registry
        )
        self._took = Histogram(
            "emofuse_request_seconds",
            "Seconds from a request's first byte to its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._refused = Counter(
            "emofuse_refused",
            "Requests and streams that got an error.",
            ["code"],
            registry=self.registry,
        )
        self._sizes = Histogram(
            "emofuse_batch_size",
            "Utterances answered together.",
            buckets=SIZES,
            registry=self.registry,
        )
        self._batch = Histogram(
            "emofuse_batch_seconds",
            "Seconds that a batch took.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._waits = Histogram(
            "emofuse_wait_seconds",
            "Seconds that an utterance waited for its batch.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._audio = Counter(
            "emofuse_audio_seconds", "Seconds of audio taken in.", ["route"], registry=self.registry
        )
        self._segments = Counter(
            "emofuse_stream_segments", "Segments given by streams.", registry=self.registry
        )
        ProcessCollector(registry=self.registry)

    def gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Show a value that is looked up when somebody asks."""
        Gauge(f"emofuse_{name}", meaning, registry=self.registry).set_function(value)

    def model(self, name: str, classes: Sequence[str]) -> None:
        """Show which model answers."""
        gauge = Gauge(
            "emofuse_model", "The model that answers.", ["model", "classes"], registry=self.registry
        )
        gauge.labels(name, ",".join(classes)).set(1)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._took.labels(route).observe(seconds)

    def refused(self, code: str) -> None:
        """Count an error by its code."""
        self._refused.labels(code).inc()

    def batch(self, size: int, seconds: float, waits: Sequence[float]) -> None:
        """Count a batch."""
        self._sizes.observe(size)
        self._batch.observe(seconds)
        for wait in waits:
            self._waits.observe(wait)

    def heard(self, route: str, seconds: float) -> None:
        """Count audio."""
        self._audio.labels(route).inc(max(seconds, 0.0))

    def segments(self, count: int) -> None:
        """Count segments of streams."""
        self._segments.inc(count)

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self.registry)
