"""The reference of midstream.toml, written from its own models. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, TypeAliasType, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from midstream.config import BUILT_IN, Config
from midstream.config.values import ENV, Listed

_KINDS = {
    "Seconds": "number > 0",
    "SecondsOrZero": "number ≥ 0",
    "Whole": "whole number ≥ 1",
    "BaseUrl": "URL",
    "ApiKey": f"string, or `{ENV}NAME`",
    "Folder": "path",
    "Moment": "date or date-time",
    "bool": "`true` or `false`",
    "int": "whole number",
}
"""By the name of a type; any other is a string."""

_INTRO = """\
# midstream.toml

`midstream run --config PATH`, `midstream exec --config PATH -- COMMAND` or `mitmdump --set midstream_config=PATH`. A change is in
force within seconds; an unknown key or a bad value is reported, and the old configuration stays. An `env:` variable that is not
set is warned of at the start and at each change. `midstream doctor` checks the file.
"""


def table_at(path: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The model of the table at a path such as ("routes", 0, "backoff"); None where no table has its place."""
    annotation: Any = Config
    for part in path:
        annotation = _below(annotation, part)
    return _table(annotation)


def _below(annotation: Any, part: str | int) -> Any:
    table = _table(annotation)
    if table is not None:
        field = table.model_fields.get(str(part))
        return field.annotation if field else None
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    return _item(annotation)


def _table(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _item(annotation: Any) -> Any:
    """What a list is of; None for anything else."""
    return get_args(annotation)[0] if get_origin(annotation) is Listed else None


def reference() -> str:
    """The reference page, as Markdown."""
    sections = [_INTRO]
    for field in Config.model_fields.values():
        annotation = field.annotation
        table = _table(annotation) or _table(_item(annotation)) or _table(_below(annotation, ""))
        if table is not None:
            sections += _section(table, "##")
    return "\n".join([*sections, *_built_in()])


def _section(table: type[BaseModel], level: str) -> Iterator[str]:
    """A table's own text and options, then its inline tables'."""
    name, _, meaning = (table.__doc__ or "").partition(": ")
    text = " ".join(meaning.split())
    yield f"{level} {name}\n\n{text[:1].upper()}{text[1:]}\n"
    rows = (_row(key, field) for key, field in table.model_fields.items())
    yield "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows, ""])
    for field in table.model_fields.values():
        inner = _table(field.annotation)
        if inner is not None:
            yield from _section(inner, "###")


def _row(key: str, field: FieldInfo) -> str:
    text = " ".join((field.description or "").split())
    return f"| `{key}` | {_cell(_kind(field.annotation, field.metadata))} | {_default(field)} | {_cell(text)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _kind(annotation: Any, metadata: list[Any]) -> str:
    """What may stand behind `=`, in words."""
    if get_origin(annotation) is UnionType:  # `X | None`: may be left out
        annotation = next(arg for arg in get_args(annotation) if arg is not type(None))
    item = _item(annotation)
    if item is not None:
        return f"list of {_kind(item, [])}s"
    if _table(annotation) is not None:
        return "table, as below"
    name = getattr(annotation, "__name__", "")
    value = annotation.__value__ if isinstance(annotation, TypeAliasType) else annotation
    if get_origin(value) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(value))
    return " ".join([_KINDS.get(name, "string"), *_bounds(metadata)])


def _bounds(metadata: list[Any]) -> Iterator[str]:
    """`1 to 20`, `≥ 1`, from a field's own constraints."""
    low = next((m.ge for m in metadata if getattr(m, "ge", None) is not None), None)
    high = next((m.le for m in metadata if getattr(m, "le", None) is not None), None)
    if low is not None:
        yield f"{low} to {high}" if high is not None else f"≥ {low}"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if value is None or isinstance(value, BaseModel) or value == ():
        return ""
    if isinstance(value, tuple):
        return " ".join(f"`{json.dumps(item)}`" for item in value)
    return f"`{json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)}`"


def _built_in() -> Iterator[str]:
    yield "## Built-in providers\n"
    yield "Without a dialect or a base_url one is recognised and measured, but no chat can be sent there unless both are given.\n"
    yield "| name | dialect | base_url | hosts |\n|---|---|---|---|"
    for name, provider in BUILT_IN.items():
        hosts = " ".join(f"`{host}`" for host in provider.hosts)
        yield f"| `{name}` | {provider.dialect or ''} | {provider.base_url or ''} | {hosts} |"
    yield ""
