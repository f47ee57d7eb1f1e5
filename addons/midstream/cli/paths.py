"""Where things are: the database, mitmproxy's folder, the addon files, the interpreter's mitmdump."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from midstream.locate import addon_path

DEFAULT_DB = "~/.midstream/streams.db"
DEFAULT_CONFDIR = "~/.mitmproxy"
DEFAULT_PORT = 8080
LOOPBACK = "127.0.0.1"

ADDON_SETS = (("all.py",), ("measure_streams.py", "record_streams.py"))
"""What to load: the first set of which a file is there."""


def version() -> str:
    """The installed version, or that of nothing but a checkout."""
    from importlib import metadata

    try:
        return metadata.version("midstream")
    except metadata.PackageNotFoundError:
        return "(not installed: running from a checkout)"


def addon_files() -> list[Path]:
    """The addon set to start mitmdump with. Raises FileNotFoundError if the installation is damaged."""
    folder = addon_path("measure_streams.py").parent  # looked for by name alone, an `all.py` could be a stranger's
    for names in ADDON_SETS:
        found = [folder / name for name in names if (folder / name).is_file()]
        if found:
            return found
    return []


def state_folder(db: str | None = None) -> Path:
    """Where midstream keeps what is no stream's (CA bundles, logs): beside the default database, whichever is recorded into, for
    another one may lie in a folder of the user's own; beside that one only where there is no home to write to."""
    usual = Path(DEFAULT_DB).expanduser().parent
    there = Path(db or DEFAULT_DB).expanduser().absolute().parent
    return next(filter(is_writable, (usual, there)), usual)


def is_writable(folder: Path) -> bool:
    """Whether files can be made in it, or it can be made."""
    there = next(parent for parent in (folder, *folder.parents) if os.path.exists(parent))
    return there.is_dir() and os.access(there, os.W_OK)


def refuse_folder(db: str) -> None:
    """Say so at once: mitmdump would say it in the middle of a traceback. Raises IsADirectoryError."""
    if Path(db).expanduser().is_dir():
        raise IsADirectoryError(f"{db} is a folder, not the path of a database")


def launcher(tool: str) -> list[str]:
    """The command that starts this environment's own mitmdump or mitmweb.

    Not the script beside the interpreter: there is none in an environment layered over another (`uv run --with`). `-P`
    keeps the current folder off sys.path, where a user's `types.py` would break mitmproxy.
    """
    return [sys.executable, "-P", str(Path(__file__).with_name("launch.py")), tool]


def tilde(path: Path) -> str:
    """The path as one would type it."""
    try:
        below = path.relative_to(Path.home())
        return f"~/{below}" if below.parts else "~"
    except (ValueError, RuntimeError):
        return str(path)
