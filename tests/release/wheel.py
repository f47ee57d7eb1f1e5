"""What is in the wheel: all of the library, the addons, the page's files, the recordings, nothing else; and true metadata."""

from __future__ import annotations

import subprocess
import zipfile
from email import message_from_bytes
from pathlib import Path


def contents(wheel: Path, root: Path) -> str:
    """Raises AssertionError naming what is missing, or too much."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = next(name.partition("/")[0] for name in names if ".dist-info/" in name)
        metadata = message_from_bytes(archive.read(f"{info}/METADATA"))
    expected = {_place(name) for name in _tracked(root)} - {""}
    shipped = {name for name in names if not name.startswith(f"{info}/")}
    assert shipped == expected, f"missing: {sorted(expected - shipped)}; too much: {sorted(shipped - expected)}"
    assert f"{info}/licenses/LICENSE" in names
    assert f"{info}/licenses/recordings/README.md" in names
    assert metadata["License-Expression"]
    assert metadata["Requires-Python"] == ">=3.12"
    classifiers = metadata.get_all("Classifier") or []
    assert "Programming Language :: Python :: 3.12" in classifiers
    assert not [c for c in classifiers if c.startswith("License ::")], "a License-Expression forbids them (PEP 639)"
    assert metadata.get_payload()
    return f"{len(shipped)} files, {len(classifiers)} classifiers, {len(metadata.get_all('Requires-Dist') or [])} requirements"


def _tracked(root: Path) -> list[str]:
    """The files of the last commit and those added since."""
    listed = subprocess.run(
        ["git", "ls-files", "addons", "recordings"], cwd=root, capture_output=True, text=True, check=True
    )
    return [name for name in listed.stdout.splitlines() if (root / name).exists()]


def _place(name: str) -> str:
    """Where a file of the checkout is in the wheel."""
    if name.startswith("addons/midstream/"):
        return name.removeprefix("addons/")
    return f"midstream/{name}"
