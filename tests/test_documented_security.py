"""docs/security.md is true: each control names tests that exist, each limit has the number that the code has."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "security.md").read_text()
TESTS = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", TEXT)
LIMITS = re.findall(r"^\| `([\w.]+)\.([A-Z_]+)` \| ([\d ]+?)( KiB| MiB)? \|", TEXT, re.MULTILINE)
UNITS = {"": 1, " KiB": 1024, " MiB": 1024**2}


@cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_a_controls_test_exists(file: str, name: str) -> None:
    assert name in functions(file)


@pytest.mark.parametrize(("module", "name", "number", "unit"), LIMITS)
def test_a_limit_is_what_the_code_says(module: str, name: str, number: str, unit: str) -> None:
    assert getattr(import_module(f"midstream.{module}"), name) == int(number) * UNITS[unit]


def test_each_control_has_a_test_and_each_limit_is_read() -> None:
    controls, limits = (section(title) for title in ("Controls and their tests", "Limits"))
    assert all("::test_" in row for row in controls)
    assert len(controls) > 20
    assert len(limits) == len(LIMITS) > 20


def section(title: str) -> list[str]:
    """The rows of a section's table."""
    text = TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return [line for line in text.splitlines() if line.startswith("| ")][1:]
