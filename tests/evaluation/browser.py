"""A page in headless Chromium, at the size of a telephone or a screen; for tests and screenshots.

By hand: ``python tests/evaluation/browser.py PAGE OUT.png WIDTH HEIGHT [dark]``.
"""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


def find() -> str | None:
    """Path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Tab:
    """An open page: ask it for a value, a screenshot, or what went wrong."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._numbers = socket, itertools.count(1)
        self.complaints: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            self._note(answer)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Log.entryAdded":
            self.complaints.append(event["params"]["entry"]["text"])
        if event.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            self.complaints.append(json.dumps(event["params"])[:300])

    def value(self, expression: str) -> Any:
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    def screenshot(self, whole: bool = False) -> bytes:
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(found["data"])


@contextmanager
def opened(page: Path, width: int, height: int, dark: bool = False):
    """Open a page in a window of so many CSS pixels."""
    from websockets.sync.client import connect

    chromium = find()
    assert chromium is not None
    with tempfile.TemporaryDirectory() as folder:
        command = [chromium, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = _port(Path(folder) / "DevToolsActivePort", process)
            with connect(f"ws://127.0.0.1:{port}{_page(port)}", max_size=None) as socket:
                tab = Tab(socket)
                for domain in ("Page", "Log", "Runtime"):
                    tab.call(f"{domain}.enable")
                scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
                tab.call("Emulation.setEmulatedMedia", features=[scheme])
                size = {"width": width, "height": height, "deviceScaleFactor": 1}
                tab.call("Emulation.setDeviceMetricsOverride", mobile=width < 600, **size)
                tab.call("Page.navigate", url=page.resolve().as_uri())
                for _ in range(200):
                    if tab.value("document.readyState") == "complete":
                        break
                    time.sleep(0.05)
                yield tab
        finally:
            process.terminate()
            process.wait(timeout=20)


def _port(path: Path, process: subprocess.Popen[bytes]) -> int:
    for _ in range(600):
        if path.is_file() and path.read_text().count("\n"):
            return int(path.read_text().splitlines()[0])
        assert process.poll() is None, "Chromium ended"
        time.sleep(0.05)
    raise AssertionError("Chromium does not start")


def _page(port: int) -> str:
    from urllib.request import urlopen

    with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=20) as answer:
        pages = [one for one in json.load(answer) if one["type"] == "page"]
    address = str(pages[0]["webSocketDebuggerUrl"])
    return address[address.index("/devtools") :]


if __name__ == "__main__":
    source, target, wide, high, *look = sys.argv[1:]
    with opened(Path(source), int(wide), int(high), "dark" in look) as shown:
        if "bottom" in look:
            shown.value("window.scrollTo(0, document.body.scrollHeight)")
        for word in look:
            if word.startswith("#"):
                shown.value(f"document.querySelector({word!r}).scrollIntoView()")
        Path(target).write_bytes(shown.screenshot())
        print(shown.value("document.documentElement.scrollWidth"), shown.complaints)  # noqa: T201
