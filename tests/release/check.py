"""Proves what a release promises: `just release-check`. What this machine cannot do is skipped with a word.

The wheel is built, looked into, and installed alone in an environment of its own for each Python that mitmproxy supports;
there it passes `midstream doctor` and the demo. Then `uv tool` and pipx, the Dockerfile's own commands, and the systemd unit.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from release.deployments import dockerfile, unit
from release.wheel import contents

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.12", "3.13", "3.14", "3.15")
"""What mitmproxy 12.3 names in its classifiers."""

HELP_LIMIT = 0.3
"""Seconds of processor time that `midstream --help` may take: what it takes on the clock of a machine with nothing else to do."""

RUNS = 10

CLEAR = "\x1b[2K"
"""Takes back what a terminal's line says."""


class Skipped(Exception):
    """This machine cannot do it; the message says what is missing."""


class Check:
    """One run: a folder for everything, the wheel, and what has failed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dist = folder / "dist"
        self.failed: list[str] = []
        self.skipped: list[str] = []
        self._uv = os.environ.get("UV") or shutil.which("uv") or "uv"

    @property
    def wheel(self) -> Path:
        return next(self.dist.glob("*.whl"))

    def step(self, name: str, work: Callable[[], str]) -> None:
        """Do it, and say how it went."""
        if sys.stdout.isatty():
            print(f"     {name} …", end="\r", flush=True)
        began = time.monotonic()
        try:
            said, mark = work(), "ok  "
        except Skipped as reason:
            said, mark = str(reason), "skip"
            self.skipped.append(name)
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            said, mark = _told(error), "FAIL"
            self.failed.append(name)
        print(
            f"{CLEAR if sys.stdout.isatty() else ''}{mark} {name}: {said}  ({time.monotonic() - began:.0f} s)",
            flush=True,
        )

    def uv(self, *words: str | Path, env: Mapping[str, str] | None = None) -> str:
        return self.run(self._uv, *words, cwd=ROOT, env=env)

    def run(
        self, *words: str | Path, cwd: Path | None = None, timeout: float = 900, env: Mapping[str, str] | None = None
    ) -> str:
        """What a command prints; one that fails raises. It sees nothing of this machine's own settings for midstream."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        ours = {k: v for k, v in os.environ.items() if not _telling(k)}
        done = subprocess.run(
            [str(word) for word in words],
            cwd=cwd or home,
            env=ours | {"HOME": str(home), "NO_COLOR": "1", **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=True,
        )
        return done.stdout

    def environment(self, name: str, python: str, *wanted: str) -> Path:
        """An environment with nothing in it but the wheel and what it depends on; returns its folder of programs."""
        place = self.folder / name
        self.uv("venv", "-q", "--no-python-downloads", "--python", python, place)
        self.uv("pip", "install", "-q", "--python", place / "bin" / "python", *(wanted or (str(self.wheel),)))
        return place / "bin"


def _telling(name: str) -> bool:
    return (
        name.startswith(("MIDSTREAM_", "PYTHON", "VIRTUAL_ENV"))
        or "_PROXY" in name.upper()
        or name.endswith("_API_KEY")
    )


def _told(error: BaseException) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"{' '.join(map(str, error.cmd))[:200]} ended with {error.returncode}\n{error.stdout}\n{error.stderr}"
    return f"{type(error).__name__}: {error}"


def build(check: Check) -> str:
    check.uv("build", "-q", "-o", check.dist)
    return f"{check.wheel.name}, {check.wheel.stat().st_size // 1024} KiB, by way of the sdist"


def installed(check: Check, version: str) -> str:
    """Alone in its environment: it starts, and the doctor finds nothing wrong."""
    programs = check.environment(f"alone-{version}", _python(check, version))
    check.run(programs / "midstream", "--version")
    check.run(programs / "midstream", "doctor")
    return "the doctor finds nothing wrong"


def demo(check: Check, version: str) -> str:
    programs = check.environment(f"demo-{version}", _python(check, version), f"{check.wheel}[demo]")
    said = check.run(programs / "midstream", "demo")
    assert "joined to what the app had" in said, said
    return "its app got a whole answer over a break"


def _python(check: Check, version: str) -> str:
    try:
        return check.uv("python", "find", "--no-python-downloads", "--system", version).strip()
    except subprocess.CalledProcessError:
        raise Skipped(f"no Python {version} on this machine") from None


def resolved(check: Check, version: str) -> str:
    """There is a wheel of everything for this Python, whether or not it is on this machine."""
    wanted = check.folder / "wanted.in"
    wanted.write_text(f"midstream[demo,otel] @ {check.wheel.as_uri()}\n")
    options = ("--python-version", version, "--only-binary", ":all:", "--no-header", "--no-annotate")
    try:
        found = check.uv("pip", "compile", "-q", wanted, *options, "--python-platform", "x86_64-manylinux_2_28")
    except subprocess.CalledProcessError as error:
        raise Skipped(f"a dependency has no wheel for it yet: {error.stderr.strip().splitlines()[-1]}") from None
    mitmproxy = re.search(r"^mitmproxy==(\S+)", found, re.M)
    assert mitmproxy, found
    return f"{len(found.splitlines())} packages, mitmproxy {mitmproxy[1]}"


def starts_fast(check: Check, version: str) -> str:
    """Measured as the least of some runs, in processor time: the clock of a busy machine would tell of the machine."""
    program = check.folder / f"alone-{version}" / "bin" / "midstream"
    walls, times = [], []
    for _ in range(RUNS):
        before, began = os.times(), time.monotonic()
        check.run(program, "--help")
        walls.append(time.monotonic() - began)
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(times) < HELP_LIMIT, f"{min(times):.2f} s of processor time at the least"
    return f"{min(times):.2f} s of processor time, {min(walls):.2f} s on the clock, at the least of {RUNS} runs"


def uv_tool(check: Check) -> str:
    places = {"UV_TOOL_DIR": str(check.folder / "uv-tools"), "UV_TOOL_BIN_DIR": str(check.folder / "uv-bin")}
    check.uv("tool", "install", "-q", "--no-python-downloads", "--python", sys.executable, str(check.wheel), env=places)
    return _of_tool(check, check.folder / "uv-bin" / "midstream")


def pipx(check: Check) -> str:
    places = {"PIPX_HOME": str(check.folder / "pipx"), "PIPX_BIN_DIR": str(check.folder / "pipx-bin")}
    check.uv("tool", "run", "-q", "pipx", "install", "--python", sys.executable, check.wheel, env=places)
    return _of_tool(check, check.folder / "pipx-bin" / "midstream")


def _of_tool(check: Check, program: Path) -> str:
    version = check.run(program, "--version").strip()
    check.run(program, "doctor")
    return f"{version}; the doctor finds nothing wrong"


def _one_python(check: Check, version: str) -> None:
    check.step(f"Python {version}, resolve", lambda: resolved(check, version))
    check.step(f"Python {version}, doctor", lambda: installed(check, version))
    if f"Python {version}, doctor" not in check.skipped:
        check.step(f"Python {version}, --help", lambda: starts_fast(check, version))
        check.step(f"Python {version}, demo", lambda: demo(check, version))


def main(words: Sequence[str]) -> int:
    """words: the Pythons to check, all that mitmproxy supports if there are none."""
    with tempfile.TemporaryDirectory(prefix="midstream-release-") as folder:
        check = Check(Path(folder))
        check.step("build", lambda: build(check))
        if check.failed:
            return 1
        check.step("contents", lambda: contents(check.wheel, ROOT))
        for version in words or PYTHONS:
            _one_python(check, version)
        check.step("uv tool install", lambda: uv_tool(check))
        check.step("pipx install", lambda: pipx(check))
        for name, work in (*dockerfile(check, ROOT, Skipped), *unit(check, ROOT, Skipped)):
            check.step(name, work)
        print(f"{len(check.failed)} failed, {len(check.skipped)} skipped" + "".join(f"\n  {n}" for n in check.failed))
        return bool(check.failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
