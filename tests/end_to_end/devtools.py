"""A tab of the headless Chromium, driven over the DevTools protocol: what a page shows, says and looks like."""

from __future__ import annotations

import base64
import contextlib
import json
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from end_to_end.chromium import Chromium
from end_to_end.harness import DEADLINE

LARGEST = 64 * 1024 * 1024
"""Bytes of a message: a screenshot is one."""


class Tab:
    """One page. problems: what its console called an error, what threw, and what its content-security policy kept out."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._id = 0
        self.problems: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.do(f"{domain}.enable")

    def do(self, method: str, **params: Any) -> Any:
        """Run one command and return its result; what happens meanwhile is taken down."""
        self._id += 1
        self._socket.send(json.dumps({"id": self._id, "method": method, "params": params}))
        while True:
            said = json.loads(self._socket.recv(DEADLINE))
            if said.get("id") == self._id:
                assert "error" not in said, said["error"]
                return said["result"]
            self._note(said.get("method", ""), said.get("params", {}))

    def _note(self, method: str, params: Any) -> None:
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.problems.append(" ".join(str(arg.get("value", arg)) for arg in params["args"]))

    def go(self, url: str) -> None:
        self.do("Page.navigate", url=url)

    def js(self, expression: str) -> Any:
        """The value of an expression in the page, awaited if it is a promise."""
        found = self.do("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = DEADLINE) -> Any:
        """Wait until an expression is true, and return its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(AssertionError):  # the page is only about to be there
                if value := self.js(expression):
                    return value
            time.sleep(0.05)  # polls another process
        text = self.js("document.body.innerText.slice(0, 3000)")
        raise AssertionError(f"this never came true: {expression}; {self.problems}\n{text}")

    def text(self, selector: str) -> str:
        found: str = self.js(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")
        return found

    def click(self, selector: str) -> None:
        self.js(f"document.querySelector({json.dumps(selector)}).click()")

    def key(self, key: str) -> None:
        """Press a key, as a keyboard does."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        self.do("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.do("Input.dispatchKeyEvent", type="keyUp", key=key)

    def size(self, width: int, height: int, *, mobile: bool = False) -> None:
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def prefers(self, scheme: str) -> None:
        self.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, file: Path, *, whole: bool = False) -> None:
        found = self.do("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(found["data"]))


@contextlib.contextmanager
def tab(chromium: Chromium, url: str = "about:blank") -> Iterator[Tab]:
    """Open a tab; its console is listened to before its page is there."""
    opened = json.loads(chromium._tell("new?about:blank", "PUT"))
    address = urllib.parse.urlsplit(opened["webSocketDebuggerUrl"])
    with connect(address.geturl(), max_size=LARGEST, proxy=None, ping_interval=None) as socket:
        page = Tab(socket)
        page.go(url)
        try:
            yield page
        finally:
            chromium._tell(f"close/{opened['id']}")
