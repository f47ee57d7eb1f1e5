"""Requests with values of wrong types in them: read or refused, and what was read is written in every dialect or refused."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st

from midstream import recording
from midstream.conversation import Inexpressible
from midstream.dialects.base import Dialect
from midstream.wire.json_text import dump_json, parse_json
from translated import DIALECTS, MODELS, body_of, calls_of, path_of, tools_of

FOLDER = Path(__file__).parents[2] / "recordings"

SCALARS = st.sampled_from(
    [None, True, 0, -1, 2**70, 1.5, float("nan"), float("inf"), "", "x", "\ud800", "data:;base64,", "http://[", "\0"]
)
JSON: st.SearchStrategy[Any] = SCALARS | st.sampled_from(
    [[], {}, [[]], [None], [{}], {"type": "x"}, {"text": 5}, {"": None}]
)


def requests() -> list[tuple[str, str, Any]]:
    """Dialect, path and body: of the recordings, and of what says every kind of thing."""
    found: list[tuple[str, str, Any]] = []
    for file in sorted(FOLDER.glob("*/*.jsonl")):
        header = recording.read(file).header
        if header.dialect in DIALECTS and isinstance(header.request.body, dict):
            found.append((header.dialect, urlsplit(header.request.url).path, header.request.body))
    for name in DIALECTS:
        found.append((name, path_of(name), body_of(name, **tools_of(name))))
        found.append((name, path_of(name), body_of(name, **calls_of(name))))
    return found


REQUESTS = requests()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, the whole of it not among them."""
    if not isinstance(value, dict | list):
        return []
    inner = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    return [place for key, child in inner for place in ((*path, key), *places(child, (*path, key)))]


def confused(body: Any, blows: list[tuple[int, Any]]) -> Any:
    """A body with other values in some places."""
    body = copy.deepcopy(body)
    for where, what in blows:
        spots = places(body)
        if not spots:
            break
        *path, last = spots[where % len(spots)]
        target = body
        for key in path:
            target = target[key]
        target[last] = copy.deepcopy(what)
    return body


@settings(max_examples=500)
@given(st.sampled_from(REQUESTS), st.lists(st.tuples(st.integers(0, 1 << 16), JSON), min_size=1, max_size=4))
def test_a_request_of_wrong_types_is_refused_or_understood(
    request: tuple[str, str, Any], blows: list[tuple[int, Any]]
) -> None:
    name, path, body = request
    dialect = DIALECTS[name]
    sent = parse_json(json.dumps(confused(body, blows)))
    dialect.read_request(path, sent)
    assert all(isinstance(text, str) for text in dialect.prompt(sent))
    assert dialect.read_conversation is not None
    try:
        conversation = dialect.read_conversation(path, sent)
    except ValueError:
        return
    for target, other in DIALECTS.items():
        write(other, replace(conversation, model=MODELS[target]))
    write(dialect, conversation)


def write(target: Dialect, conversation: Any) -> None:
    assert target.write_request is not None
    try:
        written = target.write_request(conversation)
    except (ValueError, Inexpressible):
        return
    assert written.path.startswith("/")
    dump_json(dict(written.body)).encode()
