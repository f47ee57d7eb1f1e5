"""Gemini's `systemInstruction` and `contents` ⇄ a conversation's messages.

https://ai.google.dev/api/caching#Content
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from midstream.conversation import (
    MediaPart,
    Part,
    ReasoningPart,
    TextPart,
    ToolResultPart,
    ToolUsePart,
)
from midstream.dialects.arguments import arguments_text
from midstream.dialects.body_table import Lost, Turn
from midstream.dialects.gemini.fields import ProtoFields
from midstream.dialects.strict_fields import wrong
from midstream.wire.json_text import as_dict, dump_json

DIALECT = "gemini"

MADE_ID = "gemini_call_"
"""How the ids begin that are made up for calls which have none: Gemini then matches a result to its call by name and order."""

_ROLES = {"": "user", "user": "user", "function": "user", "model": "assistant"}


class _Calls:
    """The calls without an answer so far, to give each result its call's id."""

    def __init__(self) -> None:
        self._open: list[tuple[str, str]] = []
        self._count = 0

    def call(self, id_: str, name: str) -> str:
        id_ = id_ or self._made()
        self._open.append((name, id_))
        return id_

    def result(self, id_: str, name: str) -> str:
        """The id of the call: its own, or the first open one's of this name."""
        for at, (called, call_id) in enumerate(self._open):
            if call_id == id_ or (not id_ and called == name):
                del self._open[at]
                return call_id
        return id_ or self._made()

    def _made(self) -> str:
        self._count += 1
        return f"{MADE_ID}{self._count}"


def read_system(fields: ProtoFields) -> list[Turn]:
    """Return the systemInstruction as a message; [] where there is none."""
    if isinstance(fields.json.get("systemInstruction"), str):  # gateways take it
        return [Turn("system", [TextPart(fields.text("systemInstruction"))])]
    content = fields.inner("systemInstruction")
    if content is None:
        return []
    parts: list[Part] = [TextPart(part.text("text")) for part in content.each("parts") if part.text("text")]
    return [Turn("system", parts)] if parts else []


def read_contents(fields: ProtoFields, lost: Lost) -> list[Turn]:
    """Return the messages, each with the `contents` element it was read from."""
    if isinstance(fields.json.get("contents"), str):  # gateways take it
        return [Turn("user", [TextPart(fields.text("contents"))])]
    turns: list[Turn] = []
    calls = _Calls()
    for content in fields.each("contents"):
        role = _ROLES.get(content.text("role"))
        if role is None:
            raise ValueError(f"{content.at('role')} must be user or model")
        parts = [said for part in content.each("parts") for said in _read_part(part, role == "assistant", calls, lost)]
        turns.append(Turn("assistant" if role == "assistant" else "user", parts, [content.json]))
    if not turns:
        raise ValueError("contents must be an array of at least one object")
    return turns


def _read_part(part: ProtoFields, of_model: bool, calls: _Calls, lost: Lost) -> Iterator[Part]:
    """A signature stands before what it signs, as a ReasoningPart without text."""
    signature, text = part.text("thoughtSignature"), part.text("text")
    if part.flag("thought") and of_model:
        yield ReasoningPart(text, signature, DIALECT)
        return
    if signature and of_model:
        yield ReasoningPart("", signature, DIALECT)
    if text:
        yield TextPart(text)
    elif (call := part.inner("functionCall")) is not None:
        yield _read_call(call, calls)
    elif (result := part.inner("functionResponse")) is not None:
        yield _read_result(result, calls)
    elif (medium := part.inner("inlineData") or part.inner("fileData")) is not None:
        yield read_medium(medium)
    else:
        yield from _read_code(part)
    lost.note("contents[].parts[]", part)


def _read_call(call: ProtoFields, calls: _Calls) -> Part:
    name = call.needed("name")
    arguments = call.inner("args")
    return ToolUsePart(calls.call(call.text("id"), name), name, arguments_text(call.any("args") if arguments else {}))


def _read_result(result: ProtoFields, calls: _Calls) -> Part:
    """`output` and `error` are Google's own words for a result that is no object."""
    name, response = result.text("name"), result.any("response")
    if response is not None and not isinstance(response, dict):
        raise wrong(result.at("response"), "an object", response)
    media = [
        read_medium(m) for part in result.each("parts") if (m := part.inner("inlineData") or part.inner("fileData"))
    ]
    said = as_dict(response)
    content: list[TextPart | MediaPart] = [TextPart(text)] if (text := _result_text(said)) else []
    failed = said.keys() == {"error"}
    return ToolResultPart(calls.result(result.text("id"), name), (*content, *media), name, failed)


def _result_text(response: dict[str, Any]) -> str:
    if not response:
        return ""
    said = next(iter(response.values())) if response.keys() in ({"output"}, {"error"}) else response
    return said if isinstance(said, str) else dump_json(said)


def read_medium(blob: ProtoFields) -> MediaPart:
    """inlineData, or fileData."""
    media_type = blob.text("mimeType")
    kind = media_type.partition("/")[0]
    return MediaPart(
        "image" if kind == "image" else "audio" if kind == "audio" else "file",
        media_type,
        blob.text("data"),
        blob.text("fileUri"),
        blob.text("displayName"),
    )


def _read_code(part: ProtoFields) -> Iterator[Part]:
    """Code that Google ran itself: its text, for that is all that another model can make of it."""
    if (code := part.inner("executableCode")) is not None:
        yield TextPart(f"```{code.text('language').lower()}\n{code.text('code')}\n```")
    elif (result := part.inner("codeExecutionResult")) is not None:
        yield TextPart(f"```\n{result.text('output')}\n```")


def turns_of(fields: ProtoFields, lost: Lost) -> list[Turn]:
    """The system instruction and the contents, in this order."""
    return [*read_system(fields), *read_contents(fields, lost)]
