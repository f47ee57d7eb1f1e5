"""A conversation's messages → Anthropic's `system` and `messages`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256

from midstream.conversation import (
    Conversation,
    Inexpressible,
    MediaPart,
    Message,
    Part,
    ReasoningPart,
    TextPart,
    ToolResultPart,
    ToolUsePart,
)
from midstream.dialects.anthropic.models import claude
from midstream.dialects.anthropic.thinking import DIALECT
from midstream.dialects.body_table import check_end
from midstream.dialects.call_names import arguments_object
from midstream.dialects.media_types import media_type
from midstream.dialects.openai.parts import file_text, media_url
from midstream.wire.json_text import Json

FIRST_WORDS = "Hello."
"""What stands before a conversation that the assistant begins: Anthropic wants a user's turn first."""

_IMAGES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_THOUGHTS = ("thinking", "redacted_thinking")


class MessageWriter:
    """Write each message once, in order."""

    def __init__(self, conversation: Conversation, dropped: set[str]) -> None:
        self._dropped = dropped
        self._ids = _CallIds()
        self._omits = claude(conversation.model).omits_thoughts

    def write(self, message: Message) -> list[Json]:
        """Return the message in Anthropic's words, [] where it says nothing. Raises Inexpressible."""
        blocks = self.blocks(message)
        return [{"role": message.role, "content": blocks}] if blocks else []

    def blocks(self, message: Message) -> list[Json]:
        """Return the content. Results of tools come first, or Anthropic misses them; white space alone it refuses."""
        write = {"system": self._system, "user": self._user, "assistant": self._assistant}[message.role]
        blocks = [block for part in message.parts for block in write(part)]
        return sorted(blocks, key=lambda block: block["type"] != "tool_result")

    def _system(self, part: Part) -> list[Json]:
        if not isinstance(part, TextPart):
            raise Inexpressible("a system message of more than text")
        return _text(part.text)

    def _user(self, part: Part) -> list[Json]:
        match part:
            case TextPart(text=text):
                return _text(text)
            case MediaPart():
                return [write_medium(part, self._dropped)]
            case ToolResultPart():
                return [self._result(part)]
            case _:
                raise Inexpressible("a user's message with an assistant's parts")

    def _assistant(self, part: Part) -> list[Json]:
        match part:
            case TextPart(text=text):
                return _text(text)
            case ReasoningPart():
                return self._reasoning(part)
            case ToolUsePart(name=name):
                id_ = self._ids.call(part)
                return [{"type": "tool_use", "id": id_, "name": tool_name(name), "input": arguments_object(part)}]
            case _:
                raise Inexpressible("an assistant's message with media")

    def _reasoning(self, part: ReasoningPart) -> list[Json]:
        if part.dialect != DIALECT or not part.signature:
            self._dropped.add("reasoning of earlier turns")
            return []
        if part.text or self._omits:
            return [{"type": "thinking", "thinking": part.text, "signature": part.signature}]
        return [{"type": "redacted_thinking", "data": part.signature}]

    def _result(self, part: ToolResultPart) -> Json:
        said: Json = {"type": "tool_result", "tool_use_id": self._ids.result(part)}
        content = [block for inner in part.content for block in self._user(inner)]
        if content:
            only = content[0] if len(content) == 1 and content[0]["type"] == "text" else None
            said["content"] = only["text"] if only else content
        return {**said, "is_error": True} if part.is_error else said


def _text(text: str) -> list[Json]:
    return [{"type": "text", "text": text}] if text.strip() else []


def tool_name(name: str) -> str:
    """The name of a tool, if Anthropic takes it: another one the client would not know."""
    if not _NAME.fullmatch(name):
        raise Inexpressible("a tool's name of other characters than letters, digits, _ and -")
    return name


def write_medium(part: MediaPart, dropped: set[str]) -> Json:
    """An image, or a document: a PDF, or text."""
    if part.detail not in ("", "auto"):
        dropped.add("image detail")
    kind = media_type(part)
    if part.kind == "image":
        if part.data and kind not in _IMAGES:
            raise Inexpressible(f"an image of type {kind}")
        return {"type": "image", "source": _source(part, kind)}
    if part.kind == "audio":
        raise Inexpressible("audio")
    title = {"title": part.name} if part.name else {}
    if (text := file_text(part)) is not None and text.strip():
        return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}, **title}
    source = _source(part, kind)
    if kind != "application/pdf":
        raise Inexpressible(f"{part.name or kind}: Anthropic takes PDF and text only")
    return {"type": "document", "source": source, **title}


def _source(part: MediaPart, kind: str) -> Json:
    if part.data:
        return {"type": "base64", "media_type": kind, "data": part.data}
    return {"type": "url", "url": media_url(part)}


class _CallIds:
    """The ids of tool calls in characters that Anthropic takes, the same on a call and its result. Calls without one are
    answered in their order, by name where the result has one."""

    def __init__(self) -> None:
        self._open: list[tuple[str, str]] = []
        self._made = 0

    def call(self, part: ToolUsePart) -> str:
        if part.id:
            return _safe(part.id)
        self._made += 1
        id_ = f"toolu_{self._made}"
        self._open.append((part.name, id_))
        return id_

    def result(self, part: ToolResultPart) -> str:
        if part.id:
            return _safe(part.id)
        named = [at for at, (name, _) in enumerate(self._open) if part.name in ("", name)]
        if not named:
            raise Inexpressible("a tool's result without its call")
        return self._open.pop(named[0])[1]


def _safe(id_: str) -> str:
    if _NAME.fullmatch(id_):
        return id_
    return f"toolu_{sha256(id_.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"


def write_all(conversation: Conversation, dropped: set[str]) -> tuple[list[Json], list[Json]]:
    """Return the blocks of `system`, and `messages`: turns alternate, the first is a user's."""
    writer, system, said = MessageWriter(conversation, dropped), list[Json](), list[Json]()
    own = conversation.dialect == DIALECT
    for message in conversation.messages:
        blocks = writer.blocks(message)
        if not blocks:
            continue
        if message.role != "system":
            _add(said, message.role, blocks)
        elif said and (own or _takes_system(conversation.model, said[-1])):
            if said[-1]["role"] == "system":
                said[-1]["content"] += blocks
            else:
                said.append({"role": "system", "content": blocks})
        else:
            if said:
                dropped.add("the place of a system message")
            system += blocks
    if not said:
        system, said = [], [{"role": "user", "content": system}]
    if not said[0]["content"]:
        raise Inexpressible("a conversation without words")
    if said[0]["role"] == "assistant":
        dropped.add("the assistant's turn as the first")
        said.insert(0, {"role": "user", "content": [{"type": "text", "text": FIRST_WORDS}]})
    check_end(conversation, assistants=said[-1]["role"] == "assistant")
    return system, said


def _takes_system(model: str, before: Json) -> bool:
    return claude(model).takes_system_later and before["role"] in ("user", "system")


def _add(said: list[Json], role: str, blocks: list[Json]) -> None:
    """A turn goes on where the one before is of the same role, also behind a system message, which must come last."""
    turn = next((message for message in reversed(said) if message["role"] != "system"), None)
    if turn is None or turn["role"] != role:
        said.append({"role": role, "content": blocks})
    else:
        content = [*turn["content"], *blocks]
        turn["content"] = sorted(content, key=lambda block: block["type"] != "tool_result")


def without_thoughts(messages: Sequence[Json], *, every: bool) -> list[Json]:
    """The messages less thoughts without a signature, which came from another model and which Anthropic refuses; every: less all
    thoughts, which no other model of Anthropic's takes."""
    kept: list[Json] = []
    for message in messages:
        content = message["content"]
        if message["role"] != "assistant" or not isinstance(content, list):
            kept.append(message)
            continue
        blocks = [block for block in content if not _refused(block, every)]
        if len(blocks) == len(content):
            kept.append(message)
        elif blocks:
            kept.append({**message, "content": blocks})
    return kept


def _refused(block: Json, every: bool) -> bool:
    if block["type"] not in _THOUGHTS:
        return False
    return every or not (block.get("signature") or block.get("data"))


def trimmed(messages: list[Json]) -> list[Json]:
    """The messages, no white space at the end of an assistant's last one: Anthropic refuses it."""
    last = messages[-1]
    content = last["content"]
    if last["role"] != "assistant" or not content:
        return messages
    if isinstance(content, str):
        return [*messages[:-1], {**last, "content": content.rstrip()}]
    if content[-1]["type"] != "text":
        return messages
    return [*messages[:-1], {**last, "content": [*content[:-1], {**content[-1], "text": content[-1]["text"].rstrip()}]}]
