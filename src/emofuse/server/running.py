"""A service on a port: from the first check to the last answer."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from emofuse.errors import OptionError, WorkError
from emofuse.server.app import make_app
from emofuse.server.keys import ENVIRONMENT, Keys
from emofuse.server.logs import event
from emofuse.server.options import ServerOptions, is_loopback
from emofuse.server.service import Service
from emofuse.server.stream import MAX_MESSAGE

__all__ = ["Running", "check_open", "in_thread", "run"]

LINGER = 0.5  # seconds in which a service that stops still says so to who comes


def check_open(options: ServerOptions, keys: Keys) -> None:
    """Refuse to let strangers in by accident.

    Raises:
        OptionError: the address is reached from other machines and there is no key.
    """
    if not keys and not options.open and not is_loopback(options.host):
        raise OptionError(
            f"host {options.host} is reached from other machines and there are no API keys: give "
            f"--keys-file FILE or set {ENVIRONMENT}, or say --open to let everybody in"
        )


class Running(uvicorn.Server):
    """A web server that finishes what it took.

    Asked to stop, it tells whoever comes that it stops (503), answers what it accepted, ends
    streams with their last segments, and closes. A second interrupt ends it at once.

    Args:
        service: what it serves.
        told: called with the address once it listens.
    """

    def __init__(
        self, service: Service, told: Callable[[str], None] = lambda address: None
    ) -> None:
        o = service.options
        super().__init__(
            uvicorn.Config(
                make_app(service),
                host=o.host,
                port=o.port,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="websockets-sansio",
                ws_max_size=MAX_MESSAGE + 1024,
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=2,
                lifespan="on",
            )
        )
        self.service = service
        self._told = told
        self._asked: float | None = None

    def ask_to_stop(self) -> None:
        """Begin to stop; from any thread, also from a signal."""
        if self._asked is None:
            self._asked = time.monotonic()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; the second interrupt is not patient."""
        if self._asked is not None and sig == signal.SIGINT:
            self.force_exit = self.should_exit = True
        self.ask_to_stop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and tell where."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._told(f"http://{f'[{host}]' if ':' in host else host}:{port}")
            event("started", model=self.service.model, port=port)

    async def on_tick(self, counter: int) -> bool:
        """Look ten times a second whether the end has come."""
        if self._asked is not None:
            if not self.service.stopping.is_set():
                self.service.stopping.set()
                event("stopping", taken=self.service.queue.taken)
            waited = time.monotonic() - self._asked
            if waited >= LINGER and (self._idle() or waited >= self.service.options.drain_seconds):
                event("stopped", taken=self.service.queue.taken, seconds=round(waited, 1))
                self.should_exit = True
        return await super().on_tick(counter)

    def _idle(self) -> bool:
        found = self.service
        return not (found.queue.taken or found.recordings.taken or found.streams.taken)


def run(service: Service, told: Callable[[str], None] = lambda address: None) -> None:
    """Serve until a signal asks to stop.

    Raises:
        WorkError: the address cannot be had.
    """
    _check_address(service.options)
    running = Running(service, told)
    running.run()


def _check_address(options: ServerOptions) -> None:
    """Say in one line why an address cannot be had."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((options.host.strip("[]"), options.port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise WorkError(
                f"cannot listen at {options.host} port {options.port}: {reason}; take another "
                "--port (0 takes a free one)"
            ) from error


def in_thread(service: Service) -> tuple[Running, str, threading.Thread]:
    """Serve in a thread, for tests and notebooks; give server, address and thread.

    Raises:
        WorkError: it did not start.
    """
    place: list[str] = []
    there = threading.Event()

    def told(address: str) -> None:
        place.append(address)
        there.set()

    running = Running(service, told)
    thread = threading.Thread(target=running.run, name="emofuse-serve", daemon=True)
    thread.start()
    while not there.wait(0.1):
        if not thread.is_alive():
            raise WorkError("the service did not start")
    return running, place[0], thread
