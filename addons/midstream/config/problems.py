"""What is wrong with a midstream.toml, in words: which key, which value, what would be right. Pure."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from midstream.config import BUILT_IN
from midstream.config.reference import table_at
from midstream.observation import clean

VALUE_LENGTH = 80
"""Characters of a value that a complaint quotes."""

PROBLEMS = 50
"""Complaints about one file, at most."""

_MAYBE_SECRET = re.compile(r"key|(?<!first_)token|secret|passw|auth|credential|sha256", re.IGNORECASE)
"""Keys whose value is never quoted: in sha256, for one, people put the token itself."""

_WORDS = {
    "Input should be a valid tuple": "should be a list",
    "Input should be a valid dictionary": "should be a table of tables",
    "Input should be a valid number": "should be a number, without quotes",
    "Input should be a valid integer": "should be a whole number, without quotes",
    "Input should be a valid boolean": "should be true or false, without quotes",
    "Input should be a valid string": "should be a string, in quotes",
}
"""pydantic's sentences in TOML's terms."""


@dataclass(frozen=True, slots=True)
class Problem:
    """path: of the key, with an index for each place in a list."""

    path: tuple[str | int, ...]
    text: str

    def __str__(self) -> str:
        return self.text


def dotted(path: Sequence[str | int]) -> str:
    """A path as it would be written: `routes[0].timeouts.idle`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = re.fullmatch(r"[\w-]+", part, re.ASCII)
            text += ("." if text else "") + (part if bare else json.dumps(part[:VALUE_LENGTH]))
    return text


def of_pydantic(error: ValidationError) -> list[Problem]:
    """What pydantic found, in our words."""
    found = error.errors(include_url=False, include_context=False)
    return [_problem(item["type"], item["loc"], item["msg"], item["input"]) for item in found[:PROBLEMS]]


def _problem(kind: str, path: tuple[str | int, ...], message: str, value: Any) -> Problem:
    if kind == "extra_forbidden":
        shown = "" if path[0] in ("providers", "keys") else _shown(path, value)  # a misspelt api_key is a secret still
        return Problem(path, f"{dotted(path)}{shown}: unknown key{_meant(path)}")
    if path[-1] == "[key]":
        path = path[:-1]
        return Problem(path, f"{dotted(path)}: a name should be up to 64 letters, digits, `_`, `.` or `-`")
    if kind == "missing":
        return Problem(path, f"{dotted(path)}: missing{_meaning(path)}")
    if kind in ("model_type", "model_attributes_type"):
        return Problem(path, f"{dotted(path)}: should be a table{_meaning(path)}")
    text = _WORDS.get(message, message.removeprefix("Value error, ").replace("Input should be", "should be"))
    return Problem(path, f"{dotted(path)}{_shown(path, value)}: {text}{_meaning(path)}")


def _shown(path: Sequence[str | int], value: Any) -> str:
    """` = value`; nothing of what may hold a secret, or holds more than one value."""
    if isinstance(value, dict | list | tuple) or any(_MAYBE_SECRET.search(str(part)) for part in path[2:] or path):
        return ""
    if isinstance(value, str) and ("@" in value or "?" in value):
        return ""  # a URL with a password or a key in it
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else str(value)
    return f" = {clean(text, VALUE_LENGTH)}"


def _meant(path: tuple[str | int, ...]) -> str:
    """` (did you mean …? …)`"""
    table = table_at(path[:-1])
    if table is None:
        return ""
    known = list(table.model_fields)
    close = difflib.get_close_matches(str(path[-1]), known, 1)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}"


def _meaning(path: tuple[str | int, ...]) -> str:
    """What the option means, for somebody who has not the reference at hand."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    table = table_at(path[:-1])
    field = table.model_fields.get(str(path[-1])) if table and path else None
    return f" ({field.description.rstrip('.')})" if field and field.description else ""


def contradictions(raw: Mapping[str, Any]) -> list[Problem]:
    """What no table can see by itself. Works on the raw file, whatever else is wrong with it, so that all is said at once."""
    providers = _table(raw.get("providers"))
    problems = [*_incomplete(providers), *_strange_targets(raw, providers), *_same_tokens(_table(raw.get("keys")))]
    return problems[:PROBLEMS]


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _incomplete(providers: Mapping[str, Any]) -> Iterator[Problem]:
    for name, provider in providers.items():
        if name in BUILT_IN or not isinstance(provider, Mapping):
            continue
        for key in ("dialect", "base_url"):
            if key not in provider:
                path = ("providers", name, key)
                yield Problem(path, f"{dotted(path)}: missing: {name} is not built in, so it needs one{_meaning(path)}")


def _strange_targets(raw: Mapping[str, Any], providers: Mapping[str, Any]) -> Iterator[Problem]:
    routes = raw.get("routes")
    for i, route in enumerate(routes if isinstance(routes, list) else ()):
        targets = _table(route).get("targets")
        for j, target in enumerate(targets if isinstance(targets, list) else ()):
            wrong = _wrong_target(target, _table(route).get("provider"), providers) if isinstance(target, str) else ""
            if wrong:
                path = ("routes", i, "targets", j)
                yield Problem(path, f"{dotted(path)}{_shown(path, target)}: {wrong}")


def _wrong_target(target: str, asked: Any, providers: Mapping[str, Any]) -> str:
    name, slash, model = target.partition("/")
    if name not in providers and name not in BUILT_IN:
        close = difflib.get_close_matches(name, [*providers, *BUILT_IN], 1)
        hint = f"did you mean {close[0]}?" if close else f"add [providers.{name}], or name a known one"
        return f"no provider has the name {json.dumps(clean(name, VALUE_LENGTH))}; {hint}"
    if slash and not model:
        return "should be `provider` or `provider/model`"
    own, known = _table(providers.get(name)), BUILT_IN.get(name)
    reachable = "base_url" in own or (known is not None and known.base_url is not None)
    if known is not None and not reachable and asked != name:
        return (
            f"{name}'s address differs by account: add a dialect and a base_url to [providers.{name}], or limit the route to "
            f'provider = "{name}", whose requests bring their address along'
        )
    return ""


def _same_tokens(keys: Mapping[str, Any]) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for name, key in keys.items():
        digest = _table(key).get("sha256")
        if isinstance(digest, str) and seen.setdefault(digest.lower(), name) != name:
            path = ("keys", name, "sha256")
            yield Problem(path, f"{dotted(path)}: the same token as {seen[digest.lower()]}; each key needs its own")
