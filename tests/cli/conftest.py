"""The command line as a user has it: a process, a home of its own, none of this machine's presets."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.process import ADDONS, TIMEOUT, Cli, command
from midstream.replay.throwaway_ca import ThrowawayCA


@pytest.fixture
def home(tmp_path: Path, confdir: Path) -> Path:
    """A home with mitmproxy's CA in it: making one takes a second, so tests share it."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / ".mitmproxy").symlink_to(confdir)
    return folder


@pytest.fixture(scope="session")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from midstream.cli.ca import ensure_ca

    folder = tmp_path_factory.mktemp("confdir")
    ensure_ca(folder)
    return folder


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """Nothing preset: SSL_CERT_FILE and its like would make every test of trust pass."""
    return {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "PYTHONPATH": str(ADDONS),
    }


@pytest.fixture
def cli(environment: dict[str, str], tmp_path: Path) -> Cli:
    """Run `midstream ARGUMENTS` in a process and return what it printed; plain: with no addons."""

    def run(*arguments: str, plain: bool = False, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command(plain), *arguments],
            env=environment | extra,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )

    return run


class _Teapot(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(418)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="session")
def throwaway_ca(tmp_path_factory: pytest.TempPathFactory) -> tuple[ThrowawayCA, Path]:
    """A provider's CA, that no client knows: who reaches its server by TLS came through the proxy, which is told of it."""
    ca = ThrowawayCA()
    path = tmp_path_factory.mktemp("provider") / "ca.pem"
    ca.write(path)
    return ca, path


@pytest.fixture(scope="session")
def tls_server(throwaway_ca: tuple[ThrowawayCA, Path]) -> Iterator[str]:
    """The URL of a TLS server on this machine that answers 418."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Teapot)
    server.daemon_threads = True
    server.socket = (
        throwaway_ca[0].server_context(["localhost", "127.0.0.1"]).wrap_socket(server.socket, server_side=True)
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"https://localhost:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()
