"""What SQLite's errors mean, and what to do about them."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def code(error: Exception) -> int:
    """SQLite's primary result code; 0 if the error is not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def advice(error: Exception, path: Path | str, option: str = "--set midstream_db=PATH") -> str:
    """What to do about it. option: by which another file is chosen."""
    match code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "Another program holds it locked: end that."
        case sqlite3.SQLITE_FULL:
            return f"Make room on the disk, or choose another file with {option}."
        case sqlite3.SQLITE_IOERR:  # so says a full disk, too, where the -shm file cannot grow, by which one reads
            return f"The disk is full or fails: make room on it, or choose another file with {option}."
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return (
                f"It is damaged or no SQLite database: move it away (mv {path} {path}.damaged), and a new one is made."
            )
    return f"Check that you may write to it and its folder, or choose another file with {option}."
