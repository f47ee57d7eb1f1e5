"""How tests start the command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ADDONS = Path(__file__).parents[2] / "addons"

WITHOUT_ADDONS = """
from midstream.cli import exec, main, run
exec.addon_files = run.addon_files = list
main(prog_name="midstream")
"""
"""The command with a plain mitmdump: what `exec` and `run` do around it is tested without measuring anything."""

TIMEOUT = 120

type Cli = Callable[..., subprocess.CompletedProcess[str]]


def command(plain: bool = False) -> list[str]:
    return [sys.executable, "-c", WITHOUT_ADDONS] if plain else [sys.executable, "-m", "midstream"]
