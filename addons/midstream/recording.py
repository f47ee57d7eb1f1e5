"""A recorded exchange with an LLM provider: JSON lines, a header, then a line a chunk, then how it ended.

    {"midstream_recording": 1, "source": …, "license": …, "pace": …, "dialect": …, "provider": …,
     "request": {"method", "url", "headers", "body"}, "response": {"status", "headers"}, "expect": {…}}
    {"pause_ms": 350, "text": "data: {…}\n\n"}      or "base64" where the bytes are no UTF-8 (a character cut in two, binary)
    {"pause_ms": 20, "end": "complete"}             or "truncated", "client_gone"

The lines of a WebSocket session also have "from" ("client" or "provider") and "opcode" ("text" or "binary"). `pause_ms` is
the time since the line before; the first counts from the end of the request, to the response's headers and first chunk alike.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from midstream.wire.json_text import dump_json

VERSION = 1
AS_RECORDED = "recorded"
"""The `pace` of a recording whose pauses were measured; any other says how they were made up."""

PAUSE_LIMIT_MS = 24 * 3600 * 1000
"""Longest pause a recording may hold: a day."""

type Side = Literal["provider", "client"]
type Opcode = Literal["text", "binary"]
type Ending = Literal["complete", "truncated", "client_gone"]

_KNOWN = ("midstream_recording", "source", "license", "pace", "dialect", "provider", "request", "response", "expect")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest:
    """headers: names in lower case. body: parsed JSON; None where there is none, or none that is JSON."""

    method: str = "POST"
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedResponse:
    """headers: names in lower case; `content-encoding` is there where the chunks are encoded."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A recording's first line. `more`: fields that only some recordings have (commit, sha256, features …)."""

    request: RecordedRequest
    response: RecordedResponse
    dialect: str = "unknown"
    provider: str = ""
    source: str = ""
    license: str = ""
    pace: str = AS_RECORDED
    expect: Mapping[str, Any] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def websocket(self) -> bool:
        """Whether the lines are the messages of a WebSocket session."""
        return self.response.status == 101


@dataclass(frozen=True, slots=True)
class Chunk:
    """What came at once: a piece of the body at any edge, or one WebSocket message."""

    pause_ms: float
    data: bytes
    sender: Side = "provider"
    opcode: Opcode = "binary"


@dataclass(frozen=True, slots=True)
class Recording:
    """One parsed file. `end_pause_ms`: between the last chunk and the end."""

    header: Header
    chunks: tuple[Chunk, ...]
    end: Ending = "complete"
    end_pause_ms: float = 0.0
    name: str = ""

    @property
    def body(self) -> bytes:
        """All that the provider sent, joined."""
        return b"".join(chunk.data for chunk in self.chunks if chunk.sender == "provider")


def read(path: Path) -> Recording:
    """Read a file. Raises OSError, or ValueError naming the file and the line."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise ValueError(f"{path}: not UTF-8 text ({e})") from None
    return parse(text.split("\n"), name=str(path))


def parse(lines: Iterable[str], *, name: str = "recording") -> Recording:
    """Parse. Raises ValueError naming the file and the line."""
    header: Header | None = None
    chunks: list[Chunk] = []
    number = 0
    end: tuple[Ending, float] | None = None
    for number, fields in _objects(lines, name):
        try:
            if end is not None:
                raise ValueError('nothing may follow the line with "end"')
            if header is None:
                header = _parse_header(fields)
            elif "end" in fields:
                end = _parse_end(fields)
            else:
                chunks.append(_parse_chunk(fields, websocket=header.websocket))
        except ValueError as e:
            raise ValueError(f"{name}, line {number}: {e}") from None
    if header is None:
        raise ValueError(f"{name}, line 1: no header: not a recording, or an empty one")
    if end is None:
        raise ValueError(f'{name}, line {number + 1}: no last line {{"end": …}}: the recording was cut off')
    return Recording(header, tuple(chunks), end[0], end[1], name)


def dump_header(header: Header) -> str:
    """Return the first line."""
    fields: dict[str, Any] = {
        "midstream_recording": VERSION,
        "source": header.source,
        "license": header.license,
        "pace": header.pace,
        "dialect": header.dialect,
        "provider": header.provider,
        **{key: value for key, value in header.more.items() if key not in _KNOWN},
        "request": {
            "method": header.request.method,
            "url": header.request.url,
            "headers": dict(header.request.headers),
            "body": header.request.body,
        },
        "response": {"status": header.response.status, "headers": dict(header.response.headers)},
    }
    if header.expect is not None:
        fields["expect"] = dict(header.expect)
    return _line(fields)


def dump_chunk(chunk: Chunk, *, websocket: bool = False) -> str:
    """Return one chunk's line."""
    fields: dict[str, Any] = {"pause_ms": _pause(chunk.pause_ms)}
    if websocket:
        fields |= {"from": chunk.sender, "opcode": chunk.opcode}
    try:
        fields["text"] = chunk.data.decode("utf-8")
    except UnicodeDecodeError:
        fields["base64"] = base64.b64encode(chunk.data).decode("ascii")
    return _line(fields)


def dump_end(end: Ending, pause_ms: float = 0.0) -> str:
    """Return the last line."""
    return _line({"pause_ms": _pause(pause_ms), "end": end})


def dump(recording: Recording) -> str:
    """Return the whole file."""
    chunks = (dump_chunk(chunk, websocket=recording.header.websocket) for chunk in recording.chunks)
    return "".join((dump_header(recording.header), *chunks, dump_end(recording.end, recording.end_pause_ms)))


def _line(fields: Mapping[str, Any]) -> str:
    text = dump_json(fields)
    # a lone surrogate (in a request's JSON) is no UTF-8: such a line is written in ASCII
    return (text if _is_utf8(text) else json.dumps(fields, separators=(",", ":"))) + "\n"


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _pause(ms: float) -> float:
    pause = round(min(max(ms, 0.0), PAUSE_LIMIT_MS), 3)
    return int(pause) if pause == int(pause) else pause


def _objects(lines: Iterable[str], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise ValueError(f"{name}, line {number}: not JSON: {e}") from None
        if not isinstance(fields, dict):
            raise ValueError(f"{name}, line {number}: not a JSON object")
        yield number, fields


def _parse_header(fields: dict[str, Any]) -> Header:
    if fields.get("midstream_recording") != VERSION:
        raise ValueError(
            f'not a recording: "midstream_recording" is {fields.get("midstream_recording")!r}, not {VERSION}'
        )
    request, response = _get(fields, "request", dict), _get(fields, "response", dict)
    status = _get(response, "status", int)
    if not 100 <= status <= 999:
        raise ValueError(f'"status" is {status}')
    expect = fields.get("expect")
    return Header(
        source=_get(fields, "source", str, ""),
        license=_get(fields, "license", str, ""),
        pace=_get(fields, "pace", str, AS_RECORDED),
        dialect=_get(fields, "dialect", str, "unknown"),
        provider=_get(fields, "provider", str, ""),
        request=RecordedRequest(
            method=_get(request, "method", str, "POST"),
            url=_get(request, "url", str),
            headers=_parse_headers(request),
            body=request.get("body"),
        ),
        response=RecordedResponse(status=status, headers=_parse_headers(response)),
        expect=expect if isinstance(expect, dict) else None,
        more={key: value for key, value in fields.items() if key not in _KNOWN},
    )


def _parse_headers(fields: dict[str, Any]) -> dict[str, str]:
    headers = _get(fields, "headers", dict, {})
    for key, value in headers.items():
        if not isinstance(value, str):
            raise ValueError(f'the header "{key}" is {value!r}, not a string')
        if any(c in f"{key}{value}" for c in "\r\n\0"):
            raise ValueError(f'the header "{key}" has a line break in it')
    return {key.lower(): value for key, value in headers.items()}


def _parse_chunk(fields: dict[str, Any], *, websocket: bool) -> Chunk:
    sender: Any = fields.get("from", "provider")
    opcode: Any = fields.get("opcode", "text" if websocket else "binary")
    if sender not in ("provider", "client"):
        raise ValueError(f'"from" is {sender!r}, neither "provider" nor "client"')
    if opcode not in ("text", "binary"):
        raise ValueError(f'"opcode" is {opcode!r}, neither "text" nor "binary"')
    return Chunk(_parse_pause(fields), _parse_data(fields), cast("Side", sender), cast("Opcode", opcode))


def _parse_data(fields: dict[str, Any]) -> bytes:
    if isinstance(text := fields.get("text"), str):
        try:
            return text.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError('"text" has half a surrogate pair in it: use "base64"') from None
    if isinstance(encoded := fields.get("base64"), str):
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as e:
            raise ValueError(f'"base64" is not: {e}') from None
    raise ValueError('a chunk needs "text" or "base64", or "end"')


def _parse_end(fields: dict[str, Any]) -> tuple[Ending, float]:
    if (end := fields["end"]) not in ("complete", "truncated", "client_gone"):
        raise ValueError(f'"end" is {end!r}, none of "complete", "truncated", "client_gone"')
    return cast("Ending", end), _parse_pause(fields)


def _parse_pause(fields: dict[str, Any]) -> float:
    pause = fields.get("pause_ms", 0)
    if isinstance(pause, bool) or not isinstance(pause, int | float) or not 0 <= pause <= PAUSE_LIMIT_MS:
        raise ValueError(f'"pause_ms" is {pause!r}, not a number of milliseconds')
    return float(pause)


_MISSING: Any = object()


def _get[T](fields: dict[str, Any], key: str, kind: type[T], default: T = _MISSING) -> T:
    value = fields.get(key, default)
    if value is _MISSING:
        raise ValueError(f'"{key}" is missing')
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f'"{key}" is {value!r}, not {kind.__name__}')
    return value
