"""A command that is told to end leaves nothing behind, and says so by its exit code, not by a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.process import ADDONS, TIMEOUT, command
from databases import until
from midstream.cli.proxy import free_port
from midstream.store.database import open_writer


def started(environment: dict[str, str], folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """A command whose temporary files are in this folder."""
    folder.mkdir()
    pipe = subprocess.PIPE
    told = environment | {"TMPDIR": str(folder), "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
    return subprocess.Popen([*command(), *arguments], env=told, stdout=pipe, stderr=pipe, encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("demo", "--db", "{home}/demo.db"), 128 + signal.SIGTERM),
        (("doctor", "--port", "{port}"), 128 + signal.SIGTERM),
        (("replay", "--tls", "--port", "0"), 0),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_command_that_is_terminated_takes_its_files_away(
    environment: dict[str, str], home: Path, tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    folder = tmp_path / "temporary"
    given = (word.format(home=home, port=free_port()) for word in arguments)
    with started(environment, folder, *given) as process:
        until(lambda: any(file.name.startswith(f"midstream-{arguments[0]}-") for file in folder.iterdir()))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == code, err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_datasette_is_left_without_a_word(environment: dict[str, str], tmp_path: Path, number: signal.Signals) -> None:
    pytest.importorskip("datasette_dashboards")
    open_writer(tmp_path / "x.db").conn.close()
    with started(environment, tmp_path / "t", "datasette", "--port", "0", "--db", str(tmp_path / "x.db")) as process:
        assert process.stdout is not None
        assert "http://127.0.0.1:" in process.stdout.readline()
        process.send_signal(number)
        _, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize("module", ["click", "aiohttp"])
def test_an_interrupt_while_modules_are_loaded_is_no_traceback(
    environment: dict[str, str], tmp_path: Path, module: str
) -> None:
    """That of all commands, and one that a command loads by itself."""
    file = tmp_path / f"{module}.py"
    file.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    path = os.pathsep.join((str(tmp_path), str(ADDONS)))
    line = [
        sys.executable,
        "-c",
        "from midstream.__main__ import main; main()",
        "demo",
        "--help",
    ]  # as the script has it
    done = subprocess.run(
        line, env=environment | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
