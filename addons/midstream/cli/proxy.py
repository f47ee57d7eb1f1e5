"""The proxy as a process: is one listening, is it ours; start one, wait until it serves, stop it."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from midstream.cli.ca import certificates
from midstream.cli.paths import LOOPBACK, launcher

type Listener = Literal["nothing", "ours", "mitmproxy", "other"]

READY_SECONDS = 60.0
"""How long a proxy may take to start: it takes two seconds, on a machine with nothing better to do."""

STOP_SECONDS = 20.0
"""How long it may take to let its streams finish (`streams.drain`), to settle those that are left, and to flush all."""

PROBE_SECONDS = 5.0


class ProxyError(Exception):
    """The proxy did not start; the message says why."""


def identify(port: int, ca: Sequence[str], host: str = LOOPBACK) -> Listener:
    """Find out what listens on a port, by asking a mitmproxy for its certificate, as a browser does at http://mitm.it/.

    ours: it signs with our CA; mitmproxy: with another, or does not say; other: it is no mitmproxy, or does not answer.
    """
    try:
        socket.create_connection((host, port), PROBE_SECONDS).close()
    except OSError:
        return "nothing"
    status, body = _ask(host, port, "http://mitm.it/cert/pem")
    if status == 200 and set(certificates(body)) & set(ca):
        return "ours"
    if status == 200 and certificates(body):
        return "mitmproxy"
    status, body = _ask(host, port, "http://mitm.it/")
    return "mitmproxy" if "mitmproxy" in body else "other"


def _ask(host: str, port: int, url: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(host, port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", url, headers={"Host": "mitm.it", "Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read(256 * 1024).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(
    arguments: Sequence[str], port: int, ca: Sequence[str], log: Path, auth: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a mitmdump on a port for the time of the block. Raises ProxyError if it does not come up.

    It has a session of its own: Ctrl-C in the terminal is for the program, whose last streams the proxy still sees through.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"MIDSTREAM_GUARD": "1", "MIDSTREAM_UPSTREAM_AUTH": auth}
    command = [*launcher("mitmdump"), "--listen-port", str(port), *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, port, ca, log)
        yield process
    finally:
        stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, ca: Sequence[str], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None:
        if identify(port, ca) == "ours":
            return
        if time.monotonic() > deadline:
            raise ProxyError(
                f"the proxy did not answer on port {port} within {READY_SECONDS:.0f} s:\n{last_lines(log)}"
            )
        time.sleep(0.02)
    raise ProxyError(f"mitmdump ended with code {process.returncode}:\n{last_lines(log)}")


def last_lines(log: Path, limit: int = 2000) -> str:
    """The end of a log, so many bytes of it at most, from a line's beginning; of a longer line its end."""
    with contextlib.suppress(OSError):
        data = log.read_bytes()
        end = data[-limit:]
        if len(data) > limit and data[-limit - 1 : -limit] != b"\n":
            end = end.partition(b"\n")[2] or end
        return end.decode("utf-8", "replace").strip()
    return ""


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to finish, wait for it to flush, and end it by force only if it does not."""
    for end in (process.terminate, process.terminate, process.kill):  # the second one ends the streams that are left
        end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            break
    if process.stdin is not None:
        process.stdin.close()
