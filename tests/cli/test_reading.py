"""What the reading commands say where there is nothing to read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from midstream.cli import main

COMMANDS = (["stats"], ["stats", "--json"], ["streams"], ["show", "abc"], ["tail", "--json"])


@pytest.fixture(params=["empty file", "migrations only"])
def aborted(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A database whose first start was broken off before it had its tables."""
    path = tmp_path / "streams.db"
    path.touch()
    if request.param == "migrations only":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE _sqlite_migrations (name text)")
            connection.commit()
    return path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_database_whose_first_start_was_broken_off_has_nothing_in_it_yet(aborted: Path, command: list[str]) -> None:
    result = CliRunner().invoke(main, [*command, "--db", str(aborted)])
    assert result.exit_code == 2
    assert f"nothing has been recorded in {aborted} yet" in result.stderr
    assert "midstream exec" in result.stderr
    assert (result.stdout, "no such table" in result.stderr) == ("", False)
