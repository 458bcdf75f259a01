"""A service on a real port, with a bundle whose weights are drawn, and voices to send it."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emofuse.recognition.recognizer import Recognizer

collect_ignore_glob = [] if importlib.util.find_spec("fastapi") else ["test_*.py"]
RATE = 16_000


def _load(name: str):
    place = Path(__file__).parents[1] / name
    spec = importlib.util.spec_from_file_location(f"loaded_{place.stem}", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


timeline = _load("timeline/conftest.py")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    return timeline.make_bundle(tmp_path_factory.mktemp("b") / "bundle", "audio", "text")


@pytest.fixture(scope="session")
def recognizer(bundle: Path) -> Recognizer:
    return Recognizer.load(bundle)


@contextmanager
def served(recognizer: Recognizer, keys: tuple[str, ...] = (), **options) -> Iterator[tuple]:
    """Give a running service and its address."""
    from emofuse.server.keys import Keys
    from emofuse.server.options import ServerOptions
    from emofuse.server.running import in_thread
    from emofuse.server.service import Service

    service = Service(recognizer, ServerOptions(port=0, **options), Keys(keys))
    running, address, thread = in_thread(service)
    try:
        yield service, address
    finally:
        running.ask_to_stop()
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def serve(recognizer: Recognizer):
    """Open a service: ``with serve(queue=2) as (service, address)``."""

    @contextmanager
    def opened(model: Recognizer | None = None, keys: tuple[str, ...] = (), **options):
        with served(model or recognizer, keys, **options) as found:
            yield found

    return opened


@pytest.fixture(scope="session")
def address(recognizer: Recognizer) -> Iterator[str]:
    """Where a service with the defaults listens, for the whole session."""
    with served(recognizer) as (_, place):
        yield place


@pytest.fixture(scope="session")
def crowded(bundle: Path) -> Iterator[str]:
    """Where a service in two lanes listens, for the whole session."""
    with served(Recognizer.load(bundle, lanes=2)) as (_, place):
        yield place


@pytest.fixture(scope="session")
def voices() -> dict[str, np.ndarray]:
    return {
        "short": timeline.voice(1.2, 140),
        "long": timeline.recording((0.4, 2.5), (0.9, 3.0), (1.2, 1.4)),
    }


def wav(samples: np.ndarray, rate: int = RATE, form: str = "WAV", subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype=subtype)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def clip(voices) -> bytes:
    return wav(voices["short"])


@pytest.fixture(scope="session")
def meeting(voices) -> bytes:
    return wav(voices["long"])


@pytest.fixture(scope="session")
def as_wav():
    return wav
