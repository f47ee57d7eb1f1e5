"""A headless Chromium, a server for the pages in clients/, and what such a page reports."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import queue
import signal
import subprocess
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from end_to_end.gateway_chats import ASK
from end_to_end.harness import DEADLINE, Authority, Provider, clean_environment
from end_to_end.web_clients import CLIENTS, TOKEN, need


class Pages:
    """Serves the pages in tests/end_to_end/clients to a browser, and takes their reports."""

    def __init__(self, authority: Authority) -> None:
        self._server = Provider(authority, tls=False)
        self._server.handler = self._answer
        self.port = self._server.port
        self.loop = self._server.loop
        self.reports: dict[str, queue.Queue[Any]] = {}
        self.issue_client = ""
        self.stop = self._server.stop

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/report/"):
            self.reports[request.path.removeprefix("/report/")].put(await request.json())
            return web.Response(status=204)
        name = request.path.removeprefix("/")
        if name == "issue.js":
            return web.Response(text=self.issue_client, content_type="text/javascript")
        if name not in ("page.html", "page.js", "issue.html"):
            return web.Response(status=404)
        return web.FileResponse(CLIENTS / name, headers={"cache-control": "no-store"})


FLAGS = (
    "--headless",
    "--no-sandbox",  # tests run as root in containers
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--remote-debugging-port=0",
)


class Chromium:
    """A headless Chromium with a fresh profile, which trusts one certificate authority's key. `*.example` is this machine.

    proxy: through which it goes to all that is not this machine; "" for none."""

    def __init__(self, folder: Path, ca: Path, proxy: str = "") -> None:
        need("chromium")
        trusted = f"--ignore-certificate-errors-spki-list={_key_hash(ca)}"
        names = "--host-resolver-rules=MAP *.example 127.0.0.1"
        way = f"--proxy-server={proxy}" if proxy else "--no-proxy-server"
        self._log = (folder / "chromium.log").open("w+")
        self._process = subprocess.Popen(
            ["chromium", *FLAGS, way, trusted, names, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdout=self._log,
            stderr=self._log,
            env=clean_environment(HOME=str(folder)),
            start_new_session=True,
        )
        self._port = self._debugging_port(folder / "profile" / "DevToolsActivePort")

    def _debugging_port(self, file: Path) -> int:
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until and self._process.poll() is None:
            if file.exists() and (text := file.read_text()).count("\n"):
                return int(text.split()[0])
            time.sleep(0.02)  # another process writes the file
        self.stop()
        raise AssertionError("chromium did not come up")

    @contextlib.contextmanager
    def tab(self, url: str) -> Iterator[None]:
        """A page that is open for the time of the context."""
        opened = json.loads(self._tell(f"new?{urllib.parse.quote(url, safe='')}", "PUT"))
        try:
            yield
        finally:
            self._tell(f"close/{opened['id']}")

    def _tell(self, what: str, method: str = "GET") -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/json/{what}", method=method)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=DEADLINE) as response:
            body: bytes = response.read()
            return body

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(DEADLINE)
        self._log.close()


def _key_hash(ca: Path) -> str:
    """What Chromium calls a key by; mitmproxy's certificates all have the key of its authority."""
    key = x509.load_pem_x509_certificate(ca.read_bytes()).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


class Page:
    """A page in the browser, and what it reports."""

    def __init__(self, reports: queue.Queue[Any]) -> None:
        self._reports = reports

    def next(self) -> Any:
        report = self._reports.get(timeout=DEADLINE)
        assert "failed" not in report, report
        return report

    def texts_until(self, text: str) -> None:
        """Wait until the texts it reported, and nothing else, are together exactly this one."""
        got = ""
        while len(got) < len(text):
            got += self.next()["text"]
        assert got == text


@contextlib.contextmanager
def page(
    chromium: Chromium, pages: Pages, how: str, url: str, host: str = "localhost", accept: str = ""
) -> Iterator[Page]:
    """Open a page that does as `how` says with the gateway's chat stream at `url`; see clients/page.js."""
    run = uuid.uuid4().hex
    reports = pages.reports[run] = queue.Queue()
    told = {"run": run, "how": how, "url": url, "token": TOKEN, "ask": ASK, "accept": accept}
    file = "issue.html" if how == "issue" else "page.html"
    with chromium.tab(f"http://{host}:{pages.port}/{file}#{urllib.parse.quote(json.dumps(told))}"):
        yield Page(reports)
