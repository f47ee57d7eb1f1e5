"""The command as a whole: quick to start, helpful, every command there."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.process import ADDONS, Cli
from midstream.cli import COMMANDS, main
from midstream.cli.reading import Moment

HEAVY = ("rich", "mitmproxy", "sqlite_utils", "pydantic", "aiohttp", "cryptography", "tiktoken", "asyncio")


def test_the_overview_imports_nothing_heavy() -> None:
    """What makes `midstream --help` instant, without a clock in the test."""
    script = f"""
import sys
from midstream.cli import main
main(["--help"], standalone_mode=False)
assert not [name for name in {HEAVY!r} if name in sys.modules], sys.modules.keys()
assert not [name for name in sys.modules if name.startswith("midstream.cli.")]
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(ADDONS)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"], prog_name="midstream")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Usage: midstream {name} ")


@pytest.mark.parametrize("name", [*COMMANDS, "keys new", "keys list"])
def test_the_help_of_a_command_has_an_example(name: str) -> None:
    result = CliRunner().invoke(main, [*name.split(), "--help"], prog_name="midstream")
    assert f"\n  midstream {name}" in result.output


def test_an_unknown_command_is_an_error() -> None:
    assert CliRunner().invoke(main, ["nonsense"]).exit_code == 2


def test_python_dash_m_is_the_command(cli: Cli) -> None:
    done = cli("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("midstream ")


@pytest.mark.parametrize("command", [("stats",), ("streams",), ("show", "last"), ("tail",)])
def test_without_a_database_the_way_to_one_and_exit_code_2(cli: Cli, command: tuple[str, ...]) -> None:
    done = cli(*command, "--db", "missing.db")
    assert done.returncode == 2
    assert "there is no database at" in done.stderr
    assert "midstream exec" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("text", "ago"), [("90s", 90), ("30m", 1800), ("24h", 86400), ("1.5d", 129600), ("2w", 1209600)]
)
def test_a_moment_as_a_duration(text: str, ago: float) -> None:
    stamp = Moment().convert(text, None, None)
    assert abs(datetime.now(UTC) - timedelta(seconds=ago) - datetime.fromisoformat(stamp)) < timedelta(minutes=1)
    assert len(stamp) == len("2026-11-24T01:02:03.004Z")
    assert stamp.endswith("Z")


def test_a_moment_as_a_time_is_converted_to_utc() -> None:
    assert Moment().convert("2026-11-24T01:30:00+02:00", None, None) == "2026-11-23T23:30:00.000Z"


@pytest.mark.parametrize("text", ["", "yesterday", "5y", "999999999999w", "2026-13-01"])
def test_a_moment_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Moment().convert(text, None, None)


@pytest.mark.parametrize("command", [("run",), ("exec", "--", "true"), ("demo",)])
def test_a_folder_is_no_database_and_nothing_is_started(cli: Cli, tmp_path: Path, command: tuple[str, ...]) -> None:
    done = cli(command[0], "--db", str(tmp_path), *command[1:])
    assert done.returncode == 1
    assert done.stderr == f"Error: {tmp_path} is a folder, not the path of a database\n"
    assert done.stdout == ""


@pytest.mark.parametrize("command", [("stats",), ("streams",), ("show", "last"), ("tail",), ("vacuum",)])
def test_a_folder_is_no_database_to_read(cli: Cli, tmp_path: Path, command: tuple[str, ...]) -> None:
    done = cli(*command, "--db", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == f"midstream: {tmp_path} is a folder, not the path of a database\n"


def test_an_option_that_exec_does_not_have_is_no_program(cli: Cli) -> None:
    done = cli("exec", "--nonsense", "--", "true")
    assert done.returncode == 2
    assert "No such option" in done.stderr
