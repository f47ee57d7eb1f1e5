"""Ollama's `messages` ⇄ a conversation's.

https://github.com/ollama/ollama/blob/main/docs/api.md#generate-a-chat-completion
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from midstream.conversation import (
    Inexpressible,
    MediaPart,
    Message,
    Part,
    ReasoningPart,
    Role,
    TextPart,
    ToolResultPart,
    ToolUsePart,
)
from midstream.dialects.arguments import arguments_text
from midstream.dialects.body_table import Lost, Turn
from midstream.dialects.call_names import CallNames, arguments_object
from midstream.dialects.media_types import image_type
from midstream.dialects.openai.parts import file_text
from midstream.dialects.strict_fields import Fields, wrong
from midstream.wire.json_text import Json

DIALECT = "ollama"

MADE_ID = "ollama_call_"
"""How the ids begin that are made up for calls which have none: servers before 0.12 know no ids."""

_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}


class _Calls:
    """The calls without an answer so far: a result belongs to its id's, else to the first of its name, else to the first."""

    def __init__(self) -> None:
        self._open: list[tuple[str, str]] = []
        self._count = 0

    def call(self, id_: str, name: str) -> str:
        self._count += 1
        id_ = id_ or f"{MADE_ID}{self._count}"
        self._open.append((name, id_))
        return id_

    def result(self, id_: str, name: str) -> tuple[str, str]:
        """Return the call's id and its name."""
        for at, (called, call_id) in enumerate(self._open):
            if call_id == id_ or (not id_ and name in ("", called)):
                del self._open[at]
                return call_id, called
        return id_, name


def read_turns(fields: Fields, lost: Lost) -> list[Turn]:
    """Return the messages of /api/chat; results of tools that stand together are one user message's parts."""
    turns: list[Turn] = []
    calls = _Calls()
    for message in fields.each("messages"):
        role = message.needed("role")
        if role == "tool":
            if not turns or not turns[-1].open:
                turns.append(Turn("user", open=True))
            turns[-1].parts.append(_read_result(message, calls))
        elif role in _ROLES:
            turns.append(Turn(_ROLES[role], list(_read_parts(message, calls))))
        else:
            raise ValueError(f"{message.at('role')} must be one of system, user, assistant, tool")
        turns[-1].raw.append(message.json)
        lost.note("messages[]", message)
    return turns


def _read_parts(message: Fields, calls: _Calls) -> Iterator[Part]:
    if thinking := message.text("thinking"):
        yield ReasoningPart(thinking, dialect=DIALECT)
    if text := message.text("content"):
        yield TextPart(text)
    yield from read_images(message)
    for call in message.each("tool_calls"):
        function = call.inner("function")
        if function is None:
            raise ValueError(f"{call.at('function')} is missing: it must be an object with name and arguments")
        name = function.needed("name")
        arguments = function.inner("arguments")
        yield ToolUsePart(calls.call(call.text("id"), name), name, arguments_text(arguments.json if arguments else {}))


def _read_result(message: Fields, calls: _Calls) -> ToolResultPart:
    name = message.text("tool_name") or message.text("name")
    id_, called = calls.result(message.text("tool_call_id"), name)
    content: list[TextPart | MediaPart] = [TextPart(text)] if (text := message.text("content")) else []
    return ToolResultPart(id_, (*content, *read_images(message)), name or called)


def read_images(fields: Fields) -> Iterator[MediaPart]:
    """`images`: base64, of whatever type."""
    for image in fields.items("images"):
        if not isinstance(image, str) or not image:
            raise wrong(fields.at("images"), "an array of base64 strings", image)
        yield MediaPart("image", image_type(image), image)


class MessageWriter:
    """Write each message once, in order."""

    def __init__(self, dropped: set[str]) -> None:
        self._dropped = dropped
        self._names = CallNames()

    def write(self, message: Message) -> list[Json]:
        """Return the message in Ollama's words. Raises Inexpressible."""
        self.note(message)
        if message.role == "assistant":
            return [self._assistant(message)]
        results = [self._result(part) for part in message.parts if isinstance(part, ToolResultPart)]
        others = [part for part in message.parts if not isinstance(part, ToolResultPart)]
        return results + ([self._plain(message.role, others)] if others or not results else [])

    def note(self, message: Message) -> None:
        """Remember the calls of a message that is sent as it came."""
        for part in message.parts:
            self._names.note(part)

    def _assistant(self, message: Message) -> Json:
        calls: list[Json] = []
        thoughts: list[str] = []
        others: list[Part] = []
        for part in message.parts:
            match part:
                case ReasoningPart(text=text, dialect=dialect):
                    if dialect == DIALECT:
                        thoughts.append(text)
                    else:
                        self._dropped.add("reasoning of earlier turns")
                case ToolUsePart():
                    calls.append({**_id("id", part.id), "function": _function(part)})
                case _:
                    others.append(part)
        written = self._plain("assistant", others, "")
        if thoughts:
            written["thinking"] = "".join(thoughts)
        return {**written, "tool_calls": calls} if calls else written

    def _result(self, part: ToolResultPart) -> Json:
        if part.is_error:
            self._dropped.add("is_error")
        return {**self._plain("tool", part.content), "tool_name": self._names.of(part), **_id("tool_call_id", part.id)}

    def _plain(self, role: str, parts: Sequence[Part], between: str = "\n") -> Json:
        texts: list[str] = []
        images: list[str] = []
        for part in parts:
            match part:
                case TextPart(text=text):
                    texts.append(text)
                case MediaPart(kind="image", data=data) if data:
                    images.append(data)
                    self._dropped |= {"image detail"} if part.detail not in ("", "auto") else set()
                case MediaPart():
                    texts.append(_text_of(part))
                case _:
                    raise Inexpressible(f"a message of role {role} with another role's parts")
        written: Json = {"role": role, "content": between.join(texts)}
        return {**written, "images": images} if images else written


def _text_of(part: MediaPart) -> str:
    """A text file's text: Ollama takes images and nothing else beside text."""
    if part.kind == "image":
        raise Inexpressible("an image by URL" if part.url else "an image that only its own provider can find")
    if (text := file_text(part)) is None:
        raise Inexpressible(f"{part.name or part.media_type or part.kind}: Ollama takes images only")
    return text


def _id(key: str, id_: str) -> Json:
    return {} if not id_ or id_.startswith(MADE_ID) else {key: id_}


def _function(call: ToolUsePart) -> Json:
    return {"name": call.name, "arguments": arguments_object(call)}
