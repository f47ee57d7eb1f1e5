"""What goes with the package: the Dockerfile and the unit name what there is. `just release-check` runs them."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path

from release.deployments import PATHS, instructions

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
UNIT = (ROOT / PATHS[1]).read_text()


def copied() -> set[str]:
    steps = [words.split() for name, words in instructions(ROOT) if name == "COPY"]
    return {word for words in steps if not words[0].startswith("--from") for word in words[:-1]}


def test_the_image_copies_all_that_the_wheel_is_made_of() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], PROJECT["project"]["readme"], "pyproject.toml"}
    needed |= set(PROJECT["project"]["license-files"])
    assert {name.partition("/")[0] for name in needed} == copied()


def test_the_build_context_lets_in_what_is_copied_and_nothing_else() -> None:
    let_in = {row[1:] for row in (ROOT / ".dockerignore").read_text().splitlines() if row.startswith("!")}
    assert let_in == copied()


def test_the_image_has_a_python_that_the_package_is_for() -> None:
    bases = [words.split()[0] for name, words in instructions(ROOT) if name == "FROM"]
    versions = {base.removeprefix("python:").removesuffix("-slim") for base in bases}
    assert len(versions) == 1
    classified = {c.rpartition(" ")[2] for c in PROJECT["project"]["classifiers"] if "Python :: 3." in c}
    assert versions <= classified


def test_the_unit_waits_for_streams_to_drain() -> None:
    rows = dict(row.split("=", 1) for row in UNIT.splitlines() if "=" in row and not row.startswith("#"))
    assert float(rows["TimeoutStopSec"]) > 10 + 20  # [streams] drain as it is by default, and the flush
    assert shlex.split(rows["ExecStart"])[:2] == ["/opt/midstream/bin/midstream", "run"]


def test_the_page_on_deployment_shows_the_recipe_that_proves_it() -> None:
    assert "release-check *pythons:" in (ROOT / "justfile").read_text()
    assert "just release-check" in (ROOT / "docs/deploy.md").read_text()
