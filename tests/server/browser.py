"""A page of a service in headless Chromium, with a microphone that plays a file."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_place = Path(__file__).parents[1] / "evaluation" / "browser.py"
_spec = importlib.util.spec_from_file_location("emofuse_tests_browser", _place)
assert _spec is not None
assert _spec.loader is not None
plain = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = plain
_spec.loader.exec_module(plain)
find = plain.find
MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
FLAGS = (*plain.FLAGS, "--disable-quic", "--no-proxy-server", "--mute-audio")


class Page(plain.Tab):
    """A tab that can be used as a person would: click, type, choose a file, wait, download."""

    downloads: Path

    def click(self, selector: str) -> None:
        place = self.value(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            "return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=place[0],
                y=place[1],
                button="left",
                clickCount=1,
            )

    def press(self, key: str, number: int = 0) -> None:
        for kind in ("keyDown", "keyUp"):
            named = {"key": key, "code": key, "windowsVirtualKeyCode": number}
            self.call("Input.dispatchKeyEvent", type=kind, **named)

    def type(self, selector: str, text: str) -> None:
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)

    def choose(self, selector: str, file: Path) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def wait(self, expression: str, seconds: float = 60.0) -> Any:
        """Wait until an expression is true; give its value."""
        until = time.monotonic() + seconds
        while True:
            found = self.value(expression)
            if found:
                return found
            if time.monotonic() > until:
                shown = self.value("document.body.innerText")
                raise AssertionError(f"never true: {expression}\n{shown}\n{self.complaints}")
            time.sleep(0.05)

    def text(self, selector: str) -> str:
        return str(self.value(f"document.querySelector({json.dumps(selector)}).textContent"))

    def downloaded(self, name: str) -> str:
        file = self.downloads / name
        until = time.monotonic() + 60
        while not file.is_file():
            assert time.monotonic() < until, f"{name} was not downloaded"
            time.sleep(0.05)
        return file.read_text()


@contextmanager
def visit(
    address: str,
    size: tuple[int, int] = (1100, 900),
    *,
    dark: bool = False,
    microphone: Path | None = None,
    devices: bool = True,
) -> Iterator[Page]:
    """Open an address; ``microphone`` is what is spoken into it."""
    from websockets.sync.client import connect

    flags = MICROPHONE if devices else ("--use-fake-ui-for-media-stream",)
    if microphone is not None:
        flags = (*flags, f"--use-file-for-fake-audio-capture={microphone}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "profile"
        command = [str(find()), *FLAGS, *flags, f"--user-data-dir={home}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = plain._port(home / "DevToolsActivePort", process)
            with connect(f"ws://127.0.0.1:{port}{plain._page(port)}", max_size=None) as socket:
                page = Page(socket)
                page.downloads = Path(folder) / "downloads"
                page.downloads.mkdir()
                for domain in ("Page", "Log", "Runtime", "DOM"):
                    page.call(f"{domain}.enable")
                page.call(
                    "Browser.setDownloadBehavior",
                    behavior="allow",
                    downloadPath=str(page.downloads),
                )
                scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
                page.call("Emulation.setEmulatedMedia", features=[scheme])
                page.call(
                    "Emulation.setDeviceMetricsOverride",
                    width=size[0],
                    height=size[1],
                    deviceScaleFactor=1,
                    mobile=size[0] < 600,
                )
                page.call("Page.navigate", url=address)
                page.wait("document.readyState === 'complete' && location.href !== 'about:blank'")
                yield page
        finally:
            process.terminate()
            process.wait(timeout=20)
