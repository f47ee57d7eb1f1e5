"""What is compared: no proxy at all, mitmdumps with different scripts, and what peers.py installs."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import peers
import trustme

HERE = Path(__file__).parent
ADDONS = HERE.parent.parent / "addons"
SCRIPTS = {
    "plain": HERE / "plain_streaming.py",
    "measuring": ADDONS / "measure_streams.py",
    "relaying": ADDONS / "relay_streams.py",
    "healing": ADDONS / "relay_streams.py",
    "all": ADDONS / "all.py",
}
PROXIES = tuple(SCRIPTS)
ROUTED = """
[providers.bench]
dialect = "openai_chat"
base_url = "http://127.0.0.1:{port}/v1"
hosts = ["127.0.0.1"]

[[routes]]
targets = ["bench"]
on_break = "continue"
"""
"""The configuration of `healing`: every chunk is looked at before it is passed on, and kept to go on from."""

PEER_WAIT = 180.0
"""Seconds that a peer may take to come up: LiteLLM alone imports for 10 to 60."""


class Provider(NamedTuple):
    """The ports of provider.py, and the file of the authority its certificate is from."""

    port: int
    tls_port: int
    authority: Path


@dataclass
class Contender:
    """One mitmdump, one peer, or, under the name `direct`, none."""

    name: str
    port: int = 0
    folder: Path = Path()
    process: subprocess.Popen[str] | None = None
    results: dict[str, float] = field(default_factory=dict)
    """Measure → what was measured of it."""

    @property
    def database(self) -> Path:
        return self.folder / f"{self.name}.db"

    @property
    def certificate(self) -> Path:
        return self.folder / "conf" / "mitmproxy-ca-cert.pem"

    @property
    def peer(self) -> peers.Peer | None:
        """What it is, if it is no mitmdump."""
        return peers.PEERS.get(self.name)

    def start(self, folder: Path, provider: Provider, *more: str) -> None:
        self.folder = folder
        if self.peer is not None:
            self._start_peer(self.peer, provider)
            return
        command = [sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()"]
        command += ["-s", str(SCRIPTS[self.name]), "--listen-host", "127.0.0.1", "--listen-port", "0"]
        command += ["--set", f"confdir={folder / 'conf'}", "--set", "flow_detail=0"]
        command += ["--set", f"ssl_verify_upstream_trusted_ca={provider.authority}"]
        if self.name != "plain":
            command += ["--set", f"midstream_db={self.database}"]
        if self.name == "healing":
            (folder / "routed.toml").write_text(ROUTED.format(port=provider.port))
            command += ["--set", f"midstream_config={folder / 'routed.toml'}"]
        self.process = subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.port = self._listening()

    def _start_peer(self, peer: peers.Peer, provider: Provider) -> None:
        self.port = free_port()
        with (self.folder / f"{self.name}.log").open("w") as log:
            command = peer.command(self.folder, self.port, provider.port)
            environment = {**os.environ, **peer.environment}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, text=True, env=environment)

    def _listening(self) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        said = []
        for line in self.process.stdout:
            said.append(line)
            if found := re.search(r"^(?!.*reverse).*listening at .*?:(\d+)", line):
                threading.Thread(target=self.process.stdout.read, daemon=True).start()  # else the pipe fills
                return int(found.group(1))
        raise SystemExit(f"{self.name}: mitmdump did not come up:\n{''.join(said)}")

    def wait(self) -> None:
        """Until it takes connections."""
        until = time.monotonic() + PEER_WAIT
        while self.process is not None and time.monotonic() < until:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.2)
        if self.process is not None:
            log = self.folder / f"{self.name}.log"
            raise SystemExit(f"{self.name} did not come up:\n{log.read_text()[-2000:]}")

    def rss_kib(self) -> int:
        """Resident memory, of child processes too."""
        if self.process is None:
            return 0
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in _family(self.process.pid)]
        return sum(int(found.group(1)) for status in statuses if (found := re.search(r"VmRSS:\s+(\d+)", status)))

    def cpu_seconds(self) -> float:
        """Processor time used so far, by child processes too."""
        if self.process is None:
            return 0.0
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in _family(self.process.pid)]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def _family(pid: int) -> list[int]:
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    below = [int(child) for child in children.read_text().split()] if children.exists() else []
    return [pid, *(one for child in below for one in _family(child))]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(names: tuple[str, ...], provider: Provider, *more: str) -> Iterator[list[Contender]]:
    """Fresh processes, all up at once: what one part leaves behind does not weigh on the next."""
    contenders = [Contender(name) for name in names]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            for contender in contenders:
                if contender.name != "direct":
                    contender.start(Path(folder), provider, *more)
            for contender in contenders:
                contender.wait()
            yield contenders
        finally:
            for contender in contenders:
                contender.stop()


@contextmanager
def providing() -> Iterator[Provider]:
    """provider.py in a process of its own, plain and over TLS."""
    with tempfile.TemporaryDirectory() as name:
        folder, ca = Path(name), trustme.CA()
        ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "own.pem"))
        command = [sys.executable, str(HERE / "provider.py"), str(folder / "own.pem")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            port, tls_port = map(int, process.stdout.readline().split())
            yield Provider(port, tls_port, folder / "ca.pem")
        finally:
            process.terminate()
            process.wait()
