"""Anthropic's `system` and `messages` → a conversation's messages.

https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

from midstream.conversation import (
    MediaPart,
    Part,
    ReasoningPart,
    Role,
    TextPart,
    ToolResultPart,
    ToolUsePart,
)
from midstream.dialects.anthropic.thinking import DIALECT
from midstream.dialects.arguments import arguments_text
from midstream.dialects.body_table import LOST_LIMIT, Lost, Turn
from midstream.dialects.strict_fields import Fields, wrong
from midstream.wire.json_text import Json, as_dict, as_list, as_str

_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
_PATH = "messages[].content[]"


def read_system(fields: Fields, lost: Lost) -> Turn | None:
    """Return the system prompt as a message; None where there is none."""
    value = fields.any("system")
    if value is None:
        return None
    if isinstance(value, str):
        return Turn("system", [TextPart(value)]) if value else None
    if not isinstance(value, list):
        raise wrong("system", "a string or an array of text blocks", value)
    parts: list[Part] = []
    for n, block in enumerate(value):
        part = Fields(block, f"system[{n}]")
        if part.needed("type") != "text":
            raise ValueError(f"system[{n}].type must be text")
        parts.append(TextPart(part.text("text")))
        lost.note("system[]", part)
    return Turn("system", parts) if parts else None


def read_turns(fields: Fields, lost: Lost) -> list[Turn]:
    """Return the messages, each with the object it was read from."""
    turns: list[Turn] = []
    for message in fields.each("messages"):
        role = message.needed("role")
        if role not in _ROLES:
            raise ValueError(f"{message.at('role')} must be user, assistant or system")
        if message.json.get("content") is None:
            raise ValueError(f"{message.at('content')} is missing: it must be a string or an array of blocks")
        parts = list(_content(message, role, lost))
        turns.append(Turn(_ROLES[role], parts, [message.json]))
        lost.note("messages[]", message)
    if not turns:
        raise ValueError("messages must be an array of at least one message")
    return turns


def is_paused(body: Json) -> bool:
    """Whether a request hands back an answer that stopped with `pause_turn`: tools of Anthropic's have found something in it."""
    last = as_dict(next(reversed(as_list(body.get("messages"))), None))
    kinds = {as_str(as_dict(block).get("type")) for block in as_list(last.get("content"))}
    return last.get("role") == "assistant" and not kinds <= _BLOCKS.keys()


def _content(message: Fields, role: str, lost: Lost) -> Iterator[Part]:
    content = message.any("content")
    if isinstance(content, str):
        if content:
            yield TextPart(content)
        return
    if not isinstance(content, list):
        raise wrong(message.at("content"), "a string or an array of blocks", content)
    for n, value in enumerate(content):
        block = Fields(value, f"{message.at('content')}[{n}]")
        part = _read_block(block, role, lost)
        if part is not None:
            yield part
            lost.note(_PATH, block)


def _read_block(block: Fields, role: str, lost: Lost) -> Part | None:
    """Read one block. What a tool of Anthropic's did is in the answer's own words too: such blocks of an assistant are left
    out for others; a user's that nobody here knows is no other's to answer."""
    kind = block.needed("type")
    if kind == "tool_result":
        return _read_result(block, lost)
    if read := _BLOCKS.get(kind):
        return read(block)
    if role == "user":
        return MediaPart("file", name=f"content of type {kind[:64]}")
    if len(lost) < LOST_LIMIT:
        lost[f"{_PATH}.{kind[:64]}"] = block.json
    return None


def _read_thinking(block: Fields) -> Part:
    return ReasoningPart(block.text("thinking"), block.text("signature"), DIALECT)


def _read_redacted(block: Fields) -> Part:
    """Nothing of it can be read: a signature without a text."""
    return ReasoningPart("", block.text("data"), DIALECT)


def _read_call(block: Fields) -> Part:
    block.inner("input")
    return ToolUsePart(block.needed("id"), block.needed("name"), arguments_text(block.any("input")))


def _read_result(block: Fields, lost: Lost) -> Part:
    id_, failed = block.needed("tool_use_id"), block.flag("is_error") or False
    content = _content(block, "user", lost) if block.json.get("content") is not None else ()
    return ToolResultPart(id_, tuple(p for p in content if isinstance(p, TextPart | MediaPart)), is_error=failed)


def _source(block: Fields) -> Fields:
    source = block.inner("source")
    if source is None:
        raise ValueError(f"{block.at('source')} is missing: it must be an object with a type")
    return source


def _read_image(block: Fields) -> Part:
    source = _source(block)
    match source.needed("type"):
        case "base64":
            return MediaPart("image", source.needed("media_type"), source.needed("data"))
        case "url":
            return MediaPart("image", url=source.needed("url"))
        case kind:
            return MediaPart("image", name=f"an image by {kind[:64]}")  # file_id


def _read_document(block: Fields) -> Part:
    source, title = _source(block), block.text("title")
    match source.needed("type"):
        case "base64":
            return MediaPart("file", source.needed("media_type"), source.needed("data"), name=title)
        case "url":
            return MediaPart("file", "application/pdf", url=source.needed("url"), name=title)
        case "text":
            return _text_file(source.needed("data"), title)
        case "content":
            return _text_file(_texts(source.any("content")), title)
        case kind:
            return MediaPart("file", name=f"a document by {kind[:64]}")


def _text_file(text: str, title: str) -> MediaPart:
    data = b64encode(text.encode("utf-8", "replace")).decode()
    return MediaPart("file", "text/plain", data, name=title)


def _texts(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(as_str(as_dict(block).get("text")) for block in as_list(content))


def _read_search_result(block: Fields) -> Part:
    """A source to cite, as text: it is the user's."""
    return TextPart(f"{block.text('title')}\n{block.text('source')}\n\n{_texts(block.any('content'))}")


_BLOCKS: dict[str, Callable[[Fields], Part]] = {
    "text": lambda block: TextPart(block.text("text")),
    "image": _read_image,
    "document": _read_document,
    "search_result": _read_search_result,
    "thinking": _read_thinking,
    "redacted_thinking": _read_redacted,
    "tool_use": _read_call,
}
