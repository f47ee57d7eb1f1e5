"""What the commands print: tables, JSON, and text from the network made harmless."""

from __future__ import annotations

import json
import math
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

PIPE_WIDTH = 240
"""Columns where no terminal says how many: wide enough that no cell is cut before grep sees it."""

_HARMLESS = frozenset(" ")
_CONTROLLING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that could move the cursor, reverse the reading direction or hide: escapes, bidi marks, separators."""


def clean(value: object) -> str:
    """A stranger's text without anything a terminal would obey: control characters as visible escapes (`\\x1b`)."""
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char in _HARMLESS or not _obeyed(char) else _escaped(char) for char in text)


def _obeyed(char: str) -> bool:
    return unicodedata.category(char) in _CONTROLLING


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


@dataclass(frozen=True, slots=True)
class Column:
    """key: of the row; kind: how its value is written; drop: on a terminal too narrow for all, the highest goes first."""

    key: str
    title: str
    kind: Literal[
        "text", "id", "ms", "number", "rate", "money", "percent", "time", "moment", "bytes", "outcome", "spark"
    ] = "text"
    drop: int = 0

    @property
    def right(self) -> bool:
        return self.kind not in ("text", "id", "time", "moment", "outcome", "spark")

    @property
    def wraps(self) -> bool:
        return self.kind == "text"


OUTCOME_STYLES = {
    "complete": "green",
    "client_gone": "yellow",
    "truncated": "red",
    "failed": "red",
    "interrupted": "yellow",
    "waiting": "cyan",
    "streaming": "cyan",
    "stalled": "yellow",
    "held back": "yellow",
    "mending": "magenta",
}


def console(*, stderr: bool = False) -> Console:
    """Where tables go. Colours only on a terminal, none with NO_COLOR; markup in a text is text."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")  # a terminal without UTF-8 shows `?`, and no traceback
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)


def print_json(value: object) -> None:
    """One JSON document. Infinity and NaN, which JSON does not know, are null; control characters are escaped."""
    print(json.dumps(_finite(value), indent=2).replace("\x7f", "\\u007f"))


def print_json_line(value: object) -> None:
    """One line of JSON, at once."""
    print(json.dumps(_finite(value)).replace("\x7f", "\\u007f"), flush=True)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def print_table(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], *, title: str = "") -> None:
    """Print a table; columns that are empty in every row are left out, and those that a narrow terminal has no room for."""
    out = console()
    shown = table(columns, list(rows), out.width)
    shown.title = title or None
    out.print(shown)


def table(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], width: int) -> Table:
    """The same as something rich can draw, in so many columns of characters."""
    from rich import box
    from rich.table import Table

    shown = _fitting(
        [column for column in columns if any(row.get(column.key) not in (None, "") for row in rows)], rows, width
    )
    result = Table(box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in shown:
        side: Literal["left", "right"] = "right" if column.right else "left"
        result.add_column(column.title, justify=side, no_wrap=not column.wraps, overflow="fold")
    for row in rows:
        result.add_row(*(cell(column, row.get(column.key)) for column in shown))
    return result


WRAPPED = 14
"""Characters that a column of text is given at least before another column is dropped for it."""


def _fitting(columns: list[Column], rows: Sequence[Mapping[str, Any]], width: int) -> list[Column]:
    needs = {column.key: _need(column, rows) for column in columns}
    while sum(needs[column.key] + 3 for column in columns) > width and any(column.drop for column in columns):
        columns.remove(max(columns, key=lambda column: column.drop))
    return columns


def _need(column: Column, rows: Sequence[Mapping[str, Any]]) -> int:
    longest = max((len(written(column, row.get(column.key))) for row in rows), default=0)
    return max(len(column.title), min(longest, WRAPPED) if column.wraps else longest)


def cell(column: Column, value: object) -> Text:
    """A value as a cell: never markup, never a control character."""
    from rich.text import Text

    text = written(column, value)
    return Text(text, style=OUTCOME_STYLES.get(text, "") if column.kind == "outcome" else "")


def written(column: Column, value: object) -> str:
    """A value as text, in the column's unit."""
    if value is None or value == "":
        return "-"
    if not isinstance(value, int | float):
        return _written_text(column, str(value))
    match column.kind:
        case "ms":
            return milliseconds(value)
        case "rate":
            return f"{value:,.1f}"
        case "money":
            return f"${value:,.4f}" if value < 1 else f"${value:,.2f}"
        case "percent":
            return f"{value:.1%}"
        case "bytes":
            return size(value)
        case "number":
            return f"{value:,}"
        case _:
            return str(value)


ID_SHOWN = 15
"""Characters of an id in a table: its 11 of time and 4 more; `show` takes any beginning that no other has."""


def _written_text(column: Column, value: str) -> str:
    match column.kind:
        case "id":
            return clean(value[:ID_SHOWN])
        case "time":
            return local_time(value)
        case "moment":
            return local_time(value).partition("-")[2] or local_time(value)  # without the year: nobody looks for it
        case _:
            return clean(value)


def milliseconds(value: float) -> str:
    """A duration in the unit one would say it in."""
    if value < 1000 or not math.isfinite(value):  # a database may hold infinity
        return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"
    seconds = value / 1000
    return f"{seconds:.2f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"


def size(value: float) -> str:
    """A number of bytes."""
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def local_time(stamp: str) -> str:
    """UTC ISO 8601 as the clock on the wall; what cannot be read stays as it is."""
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(stamp).astimezone()
    except (ValueError, OverflowError):  # the latter at either end of the calendar
        return clean(stamp)
    return moment.strftime("%Y-%m-%d %H:%M:%S")
