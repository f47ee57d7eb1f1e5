"""A program as our child: signals go to it, its end is ours."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

FORWARDED = ("SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2")
FROM_TERMINAL = ("SIGINT", "SIGQUIT")

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # what a shell returns

NODE_PROGRAMS = frozenset({"node", "npm", "npx", "pnpm", "yarn", "corepack", "tsx", "ts-node"})


class Signals:
    """Passes signals on to the child; one that comes before it runs ends us instead, by SystemExit."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None
        self.starting = False
        self._early: list[int] = []

    def handle(self, number: int, _: FrameType | None) -> None:
        if self.child is not None:
            if not (signal.Signals(number).name in FROM_TERMINAL and _in_foreground()):
                self.child.send_signal(number)
        elif self.starting:
            self._early.append(number)
        else:
            raise SystemExit(128 + number)

    def attach(self, child: subprocess.Popen[bytes]) -> None:
        self.child = child
        for number in self._early:
            child.send_signal(number)

    def detach(self) -> None:
        self.child = None
        self.starting = False


@contextlib.contextmanager
def forwarding() -> Iterator[Signals]:
    """Take the signals over for the time of the block. One that is ignored (nohup) stays ignored, for the child as well."""
    signals = Signals()
    before = {}
    for name in FORWARDED:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, signals.handle)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    """Whether the terminal sends its Ctrl-C to our whole process group: the child has it already."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def run_program(command: Sequence[str], environment: Mapping[str, str], signals: Signals) -> int:
    """Run it to its end and return its exit code as a shell would: 128 + n after signal n, 127 if there is no such program."""
    signals.starting = True
    try:
        child = subprocess.Popen(list(command), env=environment)  # noqa: S603 - to run it is what we were asked
    except FileNotFoundError:
        return _complain(f"{command[0]}: command not found", NOT_FOUND)
    except OSError as error:
        return _complain(f"{command[0]}: {error.strerror}", NOT_EXECUTABLE)
    try:
        signals.attach(child)
        code = child.wait()
    finally:
        signals.detach()
    return 128 - code if code < 0 else code


def _complain(message: str, code: int) -> int:
    import click

    click.echo(f"midstream: {message}", err=True)
    return code


def node_version(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """The major and minor version of the `node` on the PATH; None without one."""
    node = shutil.which("node", path=environment.get("PATH"))
    if node is None:
        return None
    try:
        said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(r"v(\d+)\.(\d+)", said.stdout)
    return (int(match.group(1)), int(match.group(2))) if match else None


def node_ignores_proxy(version: tuple[int, int]) -> bool:
    """Whether this Node's fetch goes straight out whatever is set. NODE_USE_ENV_PROXY is known from 22.21 and 24.0 on."""
    return version < (22, 21) or version[0] == 23


def node_hint(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """What to say about a Node program that will not come through the proxy; "" for any other."""
    if not _runs_on_node(command[0], environment):
        return ""
    version = node_version(environment)
    if version is None or not node_ignores_proxy(version):
        return ""
    return (
        f"Node {version[0]}.{version[1]} ignores HTTPS_PROXY, so its fetch is not measured. Use Node 24 (or 22.21), or call "
        "setGlobalDispatcher(new EnvHttpProxyAgent()) from the package undici"
    )


def _runs_on_node(program: str, environment: Mapping[str, str]) -> bool:
    path = shutil.which(program, path=environment.get("PATH"))
    if Path(program).stem in NODE_PROGRAMS:
        return True
    if path is None:
        return False
    try:
        with Path(path).open("rb") as file:
            first = file.readline(256)
    except OSError:
        return False
    return first.startswith(b"#!") and re.search(rb"\bnode\b", first) is not None
