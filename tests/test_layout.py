"""The rules of the house that no linter knows: where things live, what may import what, how large they may grow."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ADDONS = ROOT / "addons"
LIBRARY = ADDONS / "midstream"
ADDON_FILES = sorted(ADDONS.glob("*.py"))
LIBRARY_FILES = sorted(LIBRARY.rglob("*.py"))

LAYERS = (
    ("wire", "conversation", "connect", "loading", "locate", "processes", "taps"),
    ("events", "providers", "redaction"),
    ("dialects", "recording"),
    ("healing",),
    ("observation", "records", "attempts", "gaps", "tokens", "prices", "progress"),
    ("config", "keys"),
    ("faults",),
    ("store",),
    ("ledger",),
    ("flows", "held", "hooks"),
    ("arrivals", "clients"),
    ("replay",),
    ("relay",),
    ("watch",),
    ("cli", "__main__"),
)
"""What stands on what: a module imports its own layer and those above in this list, never one below."""

FILE_LIMIT, FUNCTION_LIMIT = 300, 40


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def module_of(file: Path) -> str:
    return ".".join(("midstream", *file.relative_to(LIBRARY).with_suffix("").parts)).removesuffix(".__init__")


def layer_of(module: str) -> int:
    first = module.split(".")[1]
    for number, names in enumerate(LAYERS):
        if first in names:
            return number
    raise AssertionError(f"{module} stands in no layer: add it to LAYERS")


def is_module(name: str) -> bool:
    path = ADDONS.joinpath(*name.split("."))
    return name.startswith("midstream.") and (path.with_suffix(".py").exists() or (path / "__init__.py").exists())


def imports_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in named if is_module(name)]
            yield from modules
            if len(modules) < len(named):
                yield node.module


@pytest.mark.parametrize("file", LIBRARY_FILES, ids=name_of)
def test_the_library_never_imports_mitmproxy(file: Path) -> None:
    launchers = {"launch.py"}  # starts mitmdump's own main, as the last thing a process does
    assert file.name in launchers or not [name for name in imports_of(file) if name.split(".")[0] == "mitmproxy"]


@pytest.mark.parametrize("file", LIBRARY_FILES, ids=name_of)
def test_imports_go_down_only(file: Path) -> None:
    module = module_of(file)
    if module == "midstream":
        return
    mine = layer_of(module)
    upward = [n for n in imports_of(file) if n.startswith("midstream.") and layer_of(n) > mine]
    assert not upward


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Also not late, within a function, nor for types alone."""
    modules = {module_of(file): file for file in LIBRARY_FILES}
    graph = {module: {name for name in imports_of(file) if name in modules} for module, file in modules.items()}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names them


@pytest.mark.parametrize("file", ADDON_FILES, ids=name_of)
def test_addons_do_not_import_their_neighbours(file: Path) -> None:
    """mitmproxy loads each script as a module of its own: an imported neighbour would be a second one, with its own state."""
    neighbours = {other.stem for other in ADDON_FILES}
    assert file.stem == "all" or not neighbours & set(imports_of(file))


@pytest.mark.parametrize("file", ADDON_FILES, ids=name_of)
def test_an_addon_file_shadows_no_module(file: Path) -> None:
    """mitmproxy leaves the script's folder first on sys.path for good."""
    found = find_spec(file.stem)
    assert found is None or found.origin is None or Path(found.origin).parent == ADDONS


@pytest.mark.parametrize("file", [f for f in ADDON_FILES if f.stem != "all"], ids=name_of)
def test_one_addon_one_class_named_as_the_file(file: Path) -> None:
    tree = ast.parse(file.read_text())
    public = [n.name for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    assert public == ["".join(word.title() for word in file.stem.split("_"))]
    assert "mitmdump -s addons/" in (ast.get_docstring(tree) or "")


def test_all_loads_every_addon() -> None:
    loaded = {name for name in imports_of(ADDONS / "all.py") if name != "__future__"}
    assert loaded == {file.stem for file in ADDON_FILES} - {"all"}


def test_the_wheel_has_every_addon() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    expected = {f"addons/{file.name}": f"midstream/addons/{file.name}" for file in ADDON_FILES}
    assert wheel["force-include"] == expected | {"recordings": "midstream/recordings"}


@pytest.mark.parametrize("file", [*ADDON_FILES, *LIBRARY_FILES], ids=name_of)
def test_files_and_functions_keep_to_their_size(file: Path) -> None:
    source = file.read_text()
    assert len(source.splitlines()) <= FILE_LIMIT
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > FUNCTION_LIMIT]


@pytest.mark.parametrize("file", LIBRARY_FILES, ids=name_of)
def test_only_the_store_opens_sqlite(file: Path) -> None:
    tree = ast.parse(file.read_text())
    calls = [ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)]
    assert file == LIBRARY / "store" / "database.py" or "sqlite3.connect" not in calls
