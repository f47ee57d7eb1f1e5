"""A real mitmweb, and its own HTTP API."""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from end_to_end.harness import DEADLINE, Authority, Provider, Proxy
from midstream.cli.proxy import free_port

PASSWORD = "the-test's"
VIEW = "LLM%20stream"
XSRF = "ab" * 16


class Mitmweb:
    """`proxy` is its proxy; everything else asks its page's API."""

    def __init__(self, folder: Path, authority: Authority, primary: Provider, backup: Provider, toml: str) -> None:
        config = folder / "midstream.toml"
        config.write_text(
            f'[providers.backup]\ndialect = "openai_chat"\nbase_url = "https://localhost:{backup.port}/v1"\n'
            f'api_key = "sk-backup"\n{toml}'
        )
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        options = {"midstream_config": config, "web_password": PASSWORD, "web_port": port, "web_open_browser": "false"}
        self.proxy = Proxy(
            folder,
            *(word for name, value in options.items() for word in ("--set", f"{name}={value}")),
            scripts=("relay_streams.py", "connect_to.py", "watch_streams.py", "render_streams.py"),
            trust=authority.file,
            upstream=f"api.openai.com:443:127.0.0.1:{primary.port}",
            program="mitmweb",
        )

    def flows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("/flows")
        return found

    def until(self, reached: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait until the newest flow is so far, and return it."""
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until:
            flows = self.flows()
            if flows and reached(flows[-1]):
                return flows[-1]
            time.sleep(0.02)  # another process's page
        raise AssertionError(f"the newest flow never came so far: {self.flows()[-1:]}")

    def shown(self, flow: str, message: str = "response", view: str = "auto") -> Any:
        return self.ask(f"/flows/{flow}/{message}/content/{view}.json")

    def command(self, name: str, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask(f"/commands/{name}", json.dumps({"arguments": arguments}).encode())
        return found

    def dump(self) -> bytes:
        return self._open("/flows/dump", None)

    def load(self, saved: bytes) -> None:
        self._open("/flows/dump", saved, "application/octet-stream")

    def ask(self, path: str, body: bytes | None = None) -> Any:
        return json.loads(self._open(path, body))

    def _open(self, path: str, body: bytes | None, kind: str = "application/json") -> bytes:
        headers = {
            "authorization": f"Bearer {PASSWORD}",
            "content-type": kind,
            "cookie": f"_mitmproxy_xsrf={XSRF}",
            "x-xsrftoken": XSRF,
        }
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(urllib.request.Request(self.url + path, body, headers), timeout=DEADLINE) as response:
            answer: bytes = response.read()
            return answer
