"""docs/configuration.md is written from the tables themselves."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from midstream.config import Config
from midstream.config.reference import reference, table_at


def models(table: type[BaseModel] = Config, name: str = "") -> list[tuple[str, type[BaseModel]]]:
    """All tables, by name."""
    found = [(name, table)]
    for key in table.model_fields:
        for path in ((key,), (key, 0), (key, "NAME")):
            inner = _at(table, path)
            if inner is not None and inner is not table:
                found += models(inner, key)
    return found


def _at(table: type[BaseModel], path: tuple[str | int, ...]) -> type[BaseModel] | None:
    if table is Config:
        return table_at(path)
    annotation = table.model_fields[str(path[0])].annotation
    return annotation if len(path) == 1 and isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def test_every_option_is_described_and_in_the_reference() -> None:
    page = reference()
    tables = models()
    assert {name for name, _ in tables} == {
        "",
        "providers",
        "routes",
        "backoff",
        "timeouts",
        "healing",
        "streams",
        "retention",
        "gateway",
        "keys",
    }
    for name, table in tables:
        for key, field in table.model_fields.items():
            assert field.description, f"{name}.{key}"
            assert name == "" or f"| `{key}` | " in page
    for heading in (
        "[providers.NAME]",
        "[[routes]]",
        "backoff",
        "timeouts",
        "[healing]",
        "[streams]",
        "[retention]",
        "[gateway]",
        "[keys.NAME]",
    ):
        assert f"# `{heading}`" in page
    assert all(line.count("|") == 5 for line in page.splitlines() if line.startswith("| "))


def test_the_reference_in_the_docs_is_the_models_own() -> None:
    """After a change: python -c 'from midstream.config.reference import reference; print(reference())' > docs/configuration.md"""
    page = Path(__file__).parents[2] / "docs" / "configuration.md"
    assert page.read_text().rstrip() == reference().rstrip()
