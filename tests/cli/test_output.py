"""What reaches the terminal: readable, and nothing that the terminal would obey."""

from __future__ import annotations

import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from midstream.cli.output import (
    Column,
    clean,
    milliseconds,
    print_json,
    print_json_line,
    print_table,
    size,
    table,
    written,
)
from midstream.cli.streams import COLUMNS

HOSTILE = "gpt\x1b]0;owned\x07\x1b[2J\u202e[red]x[/red]\r\n\x9b31m\x7f"


@given(st.text())
def test_no_control_character_survives(text: str) -> None:
    cleaned = clean(text)
    assert cleaned.isprintable() or "\u3000" in text or any(char.isspace() for char in cleaned)
    assert not any(
        ord(char) < 32 or 127 <= ord(char) < 160 or char in "\u202a\u202b\u202c\u202d\u202e\u2028" for char in cleaned
    )


def test_what_is_harmless_stays_as_it_is() -> None:
    assert clean("gpt-4o é 模型 [bold]") == "gpt-4o é 模型 [bold]"
    assert clean("\x1b[31m\u202e") == "\\x1b[31m\\u202e"


def test_a_table_shows_hostile_names_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([Column("model", "model")], [{"model": HOSTILE}])
    printed = capsys.readouterr().out
    assert "\\x1b]0;owned\\x07" in printed
    assert "[red]x[/red]" in printed
    assert printed.replace("\n", "").isprintable()


def test_a_pipe_gets_whole_cells_and_no_colours(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = "m" * 150
    print_table(
        [Column("model", "model"), Column("outcome", "outcome", "outcome")], [{"model": name, "outcome": "failed"}]
    )
    printed = capsys.readouterr().out
    assert name in printed
    assert "\x1b" not in printed


def test_empty_columns_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([Column("a", "first"), Column("b", "second")], [{"a": 1, "b": None}, {"a": 2, "b": ""}])
    printed = capsys.readouterr().out
    assert "first" in printed
    assert "second" not in printed


def test_json_is_json_whatever_the_values(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"model": HOSTILE, "ttft_ms": math.nan, "rows": [math.inf, 1.5, None]}
    print_json(value)
    print_json_line(value)
    document, line = capsys.readouterr().out.rstrip("\n").rsplit("\n", 1)
    assert json.loads(document) == json.loads(line) == {"model": HOSTILE, "ttft_ms": None, "rows": [None, 1.5, None]}
    assert line.isprintable()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.04, "0.0 ms"),
        (9.5, "9.5 ms"),
        (999.4, "999 ms"),
        (1500, "1.50 s"),
        (59_990, "59.99 s"),
        (61_000, "1 min 1 s"),
        (float("inf"), "inf ms"),
        (float("nan"), "nan ms"),
    ],
)
def test_durations_in_the_unit_one_would_say(value: float, text: str) -> None:
    assert milliseconds(value) == text


@pytest.mark.parametrize("stamp", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "yesterday\x1b"])
def test_a_moment_that_no_clock_here_can_show_stays_as_it_is(stamp: str) -> None:
    assert written(Column("t", "time", "time"), stamp) == clean(stamp)


def test_sizes_and_money() -> None:
    assert [size(1023), size(1536), size(5 * 2**30)] == ["1023 B", "1.5 KiB", "5.0 GiB"]
    assert written(Column("c", "cost", "money"), 0.00123) == "$0.0012"
    assert written(Column("c", "cost", "money"), None) == "-"


def test_a_narrow_terminal_loses_what_matters_least_and_no_name() -> None:
    columns = (
        Column("id", "id", "id"),
        Column("model", "model"),
        Column("in", "in", "number", drop=2),
        Column("out", "out", "number", drop=1),
    )
    row = {"id": "0123456789abcdef0123", "model": "a-model-with-a-long-name", "in": 1234567, "out": 1234567}
    titles = [[column.header for column in table(columns, [row], width).columns] for width in (120, 50, 40)]
    assert titles == [["id", "model", "in", "out"], ["id", "model", "out"], ["id", "model"]]


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_list_of_streams_fits(width: int) -> None:
    row = {column.key: 12345.678 if column.right else "x" * 27 for column in COLUMNS}
    row |= {"started_at": "2026-11-24T00:00:00Z", "outcome": "client_gone"}
    lines = [line for line in _drawn(table(COLUMNS, [row], width), width).splitlines() if line.strip()]
    assert max(len(line.rstrip()) for line in lines) <= width
    assert all(title in lines[0] for title in ("id", "model", "outcome", "first token"))
    assert "…" not in "".join(lines)


def _drawn(drawing: Table, width: int) -> str:
    out = Console(file=io.StringIO(), width=width)
    out.print(drawing)
    return out.file.getvalue()  # type: ignore[attr-defined,no-any-return]
