"""Ask a service from Python; needs nothing but emofuse (streams: the extra ``server``)."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar
from urllib.parse import SplitResult, urlsplit

from pydantic import ValidationError

from emofuse.errors import MissingExtraError, OptionError, WorkError
from emofuse.options import Options
from emofuse.recognition.answer import Recognition
from emofuse.recognition.timeline import Timeline
from emofuse.server.client_stream import ClientStream
from emofuse.server.messages import BatchAnswer, Health, Models
from emofuse.server.problems import ErrorAnswer

__all__ = ["Client", "ServiceError"]

Sound = Path | str | bytes | BinaryIO
Model = TypeVar("Model", bound=Options)
LONGEST_PAUSE = 30.0  # seconds that a client waits at most because it is told to


class ServiceError(WorkError):
    """A service did not answer, or answered with an error.

    Args:
        message: one line.
        status: of the HTTP answer, 0 where there was none.
        code: of the error, such as ``bad_audio``.
        retry_after: seconds after which it may go better.
    """

    def __init__(
        self, message: str, status: int = 0, code: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.retry_after = status, code, retry_after


class Client:
    """A service at an address; any number of threads may ask.

    Args:
        address: such as ``http://127.0.0.1:8000``.
        key: API key, where the service wants one.
        timeout: seconds that an answer may take.
        retries: how often to ask again when the service is busy (429).

    Raises:
        OptionError: an address that is none.
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8000",
        key: str | None = None,
        timeout: float = 120.0,
        retries: int = 3,
    ) -> None:
        self._place = _split(address)
        self._key, self._timeout, self._retries = key, timeout, retries
        self._own = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection of this thread."""
        held: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        self._own.connection = None
        if held is not None:
            held.close()

    def recognise(
        self,
        audio: Sound | None = None,
        text: str | None = None,
        id: str | None = None,  # noqa: A002 (the field's name everywhere)
    ) -> Recognition:
        """Recognise one utterance.

        Args:
            audio: a path, the bytes of an audio file, or a binary file that is open.
            text: what is said.
            id: for the answer.

        Raises:
            ServiceError: there is no answer.
        """
        asked = _without_none({"audio": _encoded(audio), "text": text, "id": id})
        return _read(Recognition, self._ask("POST", "/v1/recognize", asked))

    def recognise_channels(
        self,
        audio: Sound,
        text: str | None = None,
        id: str | None = None,  # noqa: A002
    ) -> tuple[Recognition, ...]:
        """Recognise each channel by itself; arguments and errors are those of `recognise`."""
        asked = _without_none({"audio": _encoded(audio), "text": text, "id": id})
        answer = self._ask("POST", "/v1/recognize", asked | {"channels": "each"})
        return _read(BatchAnswer, answer).answers

    def recognise_many(
        self,
        every: Iterable[Sound],
        texts: Iterable[str | None] | None = None,
        speakers: Iterable[str | None] | None = None,
    ) -> tuple[Recognition, ...]:
        """Recognise several; one that cannot be answered says why in ``error``.

        Those that name a speaker are adapted to that voice.

        Raises:
            ServiceError: there is no answer.
            OptionError: another number of texts or speakers than of utterances.
        """
        sounds = list(every)
        said, who = _as_many(sounds, texts, "texts"), _as_many(sounds, speakers, "speakers")
        items = [
            _without_none({"audio": _encoded(one), "text": text, "speaker": speaker})
            for one, text, speaker in zip(sounds, said, who, strict=True)
        ]
        answer = self._ask("POST", "/v1/recognize/batch", {"items": items})
        return _read(BatchAnswer, answer).answers

    def timeline(
        self,
        audio: Sound,
        id: str | None = None,  # noqa: A002
        **settings: Any,
    ) -> Timeline:
        """Cut a recording into segments; settings are keys of `TimelineOptions`.

        Raises:
            ServiceError: there is no answer.
        """
        asked = _without_none({"audio": _encoded(audio), "id": id}) | {"settings": settings}
        return _read(Timeline, self._ask("POST", "/v1/timeline", asked))

    def timeline_text(
        self,
        audio: Sound,
        form: str = "srt",
        id: str | None = None,  # noqa: A002
        **settings: Any,
    ) -> str:
        """Do as `timeline`; give it as csv, srt, vtt, rttm, audacity or html.

        Raises:
            ServiceError: there is no answer.
        """
        asked = _without_none({"audio": _encoded(audio), "id": id, "format": form})
        return self._ask("POST", "/v1/timeline", asked | {"settings": settings}).decode()

    def models(self) -> Models:
        """Which model answers, and what the service takes.

        Raises:
            ServiceError: there is no answer.
        """
        return _read(Models, self._ask("GET", "/v1/models"))

    def ready(self) -> bool:
        """Whether the service would answer."""
        try:
            return _read(Health, self._ask("GET", "/readyz")).status == "ready"
        except ServiceError:
            return False

    @contextmanager
    def stream(self, rate: int, **settings: Any) -> Iterator[ClientStream]:
        """Open a stream: ``send`` samples, take ``segments`` as they settle, ``finish``.

        Args:
            rate: hertz of the samples.
            settings: keys of `TimelineOptions`.

        Raises:
            MissingExtraError: ``websockets`` is not installed.
            ServiceError: the service does not open one.
        """
        try:
            from websockets.exceptions import WebSocketException
            from websockets.sync.client import connect
        except ModuleNotFoundError as error:
            raise MissingExtraError("websockets", "server") from error
        scheme = "wss" if self._place.scheme == "https" else "ws"
        address = f"{scheme}://{self._place.netloc}{self._place.path}/v1/stream"
        try:
            with connect(
                address,
                additional_headers=self._headers(),
                open_timeout=self._timeout,
                compression=None,
            ) as socket:
                yield ClientStream(socket, rate, settings)
        except (WebSocketException, OSError) as error:
            raise ServiceError(f"the stream to {self._place.netloc} broke: {error}") from error

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        for turn in range(self._retries + 1):
            status, headers, content = self._exchange(method, path, data)
            if status < 400:
                return content
            error = _error_of(status, headers, content)
            if status != 429 or turn == self._retries:
                raise error
            time.sleep(min(error.retry_after or 1.0, LONGEST_PAUSE))
        raise AssertionError("unreachable")

    def _exchange(
        self, method: str, path: str, data: bytes | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = self._headers()
        if data is not None:
            headers["Content-Type"] = "application/json"
        held = getattr(self._own, "connection", None)
        for connection in [one for one in (held, self._open()) if one is not None]:
            self._own.connection = connection
            try:
                connection.request(method, self._place.path + path, data, headers)
                answer = connection.getresponse()
                return answer.status, dict(answer.getheaders()), answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if connection is not held or isinstance(error, TimeoutError):
                    raise ServiceError(
                        f"no answer from {self._place.netloc}: {error or type(error).__name__}"
                    ) from error
        raise AssertionError("unreachable")

    def _open(self) -> http.client.HTTPConnection:
        secure = self._place.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        return kind(self._place.hostname or "", self._place.port, timeout=self._timeout)

    def _headers(self) -> dict[str, str]:
        return {} if self._key is None else {"Authorization": f"Bearer {self._key}"}


def _split(address: str) -> SplitResult:
    try:
        place = urlsplit(address.rstrip("/"))
        legal = place.scheme in ("http", "https") and place.hostname and place.port != 0
    except ValueError:
        legal = False
    if not legal:
        raise OptionError(f"{address!r} is no address; give one like http://127.0.0.1:8000")
    return place


def _encoded(audio: Sound | None) -> str | None:
    if audio is None:
        return None
    if isinstance(audio, Path | str):
        try:
            audio = Path(audio).read_bytes()
        except OSError as error:
            raise ServiceError(f"{error.filename}: {error.strerror}") from error
    data = audio if isinstance(audio, bytes) else audio.read()
    return base64.b64encode(data).decode()


def _as_many(
    sounds: list[Sound], given: Iterable[str | None] | None, what: str
) -> list[str | None]:
    found: list[str | None] = [None] * len(sounds) if given is None else list(given)
    if len(found) != len(sounds):
        raise OptionError(f"there are {len(found)} {what} for {len(sounds)} utterances")
    return found


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _read(model: type[Model], content: bytes) -> Model:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise ServiceError(f"the answer is no {model.__name__} that this emofuse knows") from error


def _error_of(status: int, headers: Mapping[str, str], content: bytes) -> ServiceError:
    after = {name.lower(): value for name, value in headers.items()}.get("retry-after", "")
    pause = float(after) if after.isdigit() else None
    try:
        note = ErrorAnswer.model_validate_json(content).error
    except ValidationError:
        return ServiceError(f"HTTP {status}", status, retry_after=pause)
    return ServiceError(note.message, status, note.code, pause)
