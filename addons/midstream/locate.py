"""Where the files that are no modules are: in a checkout beside the package, in an installation inside it."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def addon_path(name: str) -> Path:
    """Return the path of an addon file (`measure_streams.py`). Raises FileNotFoundError, naming where it was looked for."""
    return _first(_PACKAGE / "addons" / name, _PACKAGE.parent / name)


def recordings_path() -> Path:
    """Return the folder of recordings that midstream comes with. Raises FileNotFoundError."""
    return _first(_PACKAGE / "recordings", _PACKAGE.parent.parent / "recordings")


def _first(*candidates: Path) -> Path:
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise FileNotFoundError(f"midstream is installed incompletely: found neither {' nor '.join(map(str, candidates))}")
