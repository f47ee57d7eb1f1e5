"""A command that is told to end leaves nothing behind, and says so by its exit code, not by a traceback."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from cli.process import TIMEOUT, command
from databases import until
from midstream.cli.proxy import free_port


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
    assert (process.returncode, "Traceback" in err) == (code, False), err
    assert list(folder.iterdir()) == []
