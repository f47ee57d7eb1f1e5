"""In which line of a TOML text a key stands: tomllib does not say. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

type Path = tuple[str | int, ...]

PARSES = 5_000
"""Attempts at parsing a piece of the text, at most: one an ordinary line, some more for values of several lines."""

STATEMENT = 200
"""Lines of one value that are put together before it is given up, and with it the lines below."""


class Lines:
    """The keys of a TOML text that is known to be right, and their lines, numbered from 1."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Path, int] = {}
        self._lengths: dict[Path, int] = {}
        table: Path = ()
        for number, source, statement in _statements(text):
            if source[0].lstrip().startswith("["):
                table = self._open(statement, number)
            else:
                self._note(table, statement, number)
                self._spread(table, statement, number, source)

    def line_of(self, path: Path) -> int:
        """The line of a key, or of the nearest table around it that has one; 0 if nothing of it stands anywhere."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 0)

    def _open(self, header: dict[str, Any], number: int) -> Path:
        """Note a [table], or an [[array of tables]]; return its path, with the indexes of the arrays that it stands in."""
        path: Path = ()
        node: Any = header
        while node:
            ((name, node),) = node.items()
            path = (*path, name)
            if isinstance(node, list):
                self._lengths[path] = self._lengths.get(path, 0) + 1
                node = None
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
        self._lines.setdefault(path, number)
        return path

    def _note(self, table: Path, value: Any, number: int) -> None:
        """Note a key and all that its value has in it: an inline table's keys are looked for as well."""
        if table:
            self._lines.setdefault(table, number)
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for name, item in items:
            self._note((*table, name), item, number)

    def _spread(self, table: Path, value: dict[str, Any], number: int, source: list[str]) -> None:
        """The strings of a list of several lines have lines of their own."""
        for name, item in value.items() if len(source) > 1 else ():
            for i, text in enumerate(item if isinstance(item, list) else ()):
                at = next((n for n, line in enumerate(source) if isinstance(text, str) and text in line), 0)
                self._lines[(*table, name, i)] = number + at


def _statements(text: str) -> Iterator[tuple[int, list[str], dict[str, Any]]]:
    """Yield each header and each `key = value`: the number of its first line, its lines, what they parse to.

    A statement ends with the first line up to which it parses: strings and arrays of several lines need no knowledge here.
    """
    lines = text.split("\n")
    budget, start = PARSES, 0
    while start < len(lines):
        for end in range(start + 1, min(start + STATEMENT, len(lines)) + 1):
            budget -= 1
            parsed = _parse("\n".join(lines[start:end]))
            if parsed is not None or budget <= 0:
                break
        if parsed is None:
            return
        if parsed:
            yield start + 1, lines[start:end], parsed
        start = end


def _parse(piece: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(piece)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
