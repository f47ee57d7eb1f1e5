"""How a request is written: field by field from a table, over the body it was read from where that was the same dialect's."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from midstream.conversation import Conversation, Inexpressible, Message, Part, Role, TextPart
from midstream.dialects.prefill import takes_prefill
from midstream.dialects.strict_fields import Fields
from midstream.wire.json_text import Json

LOST_LIMIT = 32
"""Paths of a body's nested fields that are reported as lost; what comes after them is only kept. Also the names that are told of
as dropped: they go into a header."""

_NAME = re.compile(r"[!-+\--~]{1,100}")
"""What goes into a header as it is: no space, no comma, no control character, nothing beyond ASCII."""

_CONTINUE = frozenset(("anthropic_messages", "gemini", "ollama"))
"""Dialects in which the assistant's turn at the end is a prefill: continued, or refused."""

_MODALITIES = frozenset(("modalities", "generationConfig.responseModalities"))

_BINDING = frozenset(
    (
        "tools",
        "tool_choice",
        "response_format",
        "web_search_options",
        "modalities",
        "audio",
        "previous_response_id",
        "conversation",
        "prompt",
        "background",
        "mcp_servers",
        "container",
        "cachedContent",
        "cached_content",
        "generationConfig.responseModalities",
        "generationConfig.responseMimeType",
        "generationConfig.responseSchema",
        "raw",
        "template",
        "suffix",
    )
)
"""Fields that change what the answer is: a dialect that cannot say them is no target. Others are dropped."""


class Lost(dict[str, object]):
    """Fields inside messages and tools that nobody took, by their path without numbers (`messages[].name`)."""

    def note(self, where: str, fields: Fields) -> None:
        """Add what is left of one object."""
        for key, value in fields.rest().items():
            if len(self) < LOST_LIMIT:
                self[f"{where}.{key[:64]}"] = value


class Kept(dict[str, Any]):
    """A Conversation's `extras`, with the body it was read from: written again for its own dialect, every part of the
    conversation that is still as it was is said in the client's own words (`developer` or `system`, `max_completion_tokens`
    or `max_tokens`, a message's `name`, a part nobody here knows). Another dialect sees the extras alone. model: the one asked
    for, where the body does not say it."""

    def __init__(self, extras: Json, body: Json, model: str = "") -> None:
        super().__init__(extras)
        self.body = body
        self.model = model


@dataclass(slots=True)
class Turn:
    """One message, and the objects of the request that it was read from. open: what comes next of the same kind joins it."""

    role: Role
    parts: list[Part] = field(default_factory=list)
    raw: list[Json] = field(default_factory=list)
    open: bool = False

    def message(self) -> Message:
        """What was read."""
        return Message(self.role, tuple(self.parts))


type Write = Callable[[Conversation, Json, set[str]], None]
"""(conversation, the body to write into, the set to add to what is left out) → the body's fields for one attribute."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """Attributes of a conversation that are written together, and the body's fields that said them before."""

    names: tuple[str, ...]
    keys: tuple[str, ...]
    write: Write


def same(name: str, key: str = "", *, refused: Callable[[Conversation], bool] = lambda _: False) -> Attribute:
    """An attribute that is one field with the same value. refused: whether the target takes no such field."""

    def write(conversation: Conversation, body: Json, dropped: set[str]) -> None:
        value = getattr(conversation, name)
        if refused(conversation):
            dropped.add(name)
        elif value is not None and value != "":
            body[key or name] = value

    return Attribute((name,), (key or name,), write)


def body_of(conversation: Conversation, dialect: str) -> Json | None:
    """The body a conversation was read from, if it was this dialect's."""
    extras = conversation.extras
    return extras.body if isinstance(extras, Kept) and conversation.dialect == dialect else None


def write_body(
    conversation: Conversation,
    dialect: str,
    attributes: Sequence[Attribute],
    read: Callable[[str, Json], Conversation],
) -> tuple[Json, set[str]]:
    """Return the body, and what it leaves out. Raises Inexpressible."""
    dropped = set[str]()
    before = body_of(conversation, dialect)
    was = Conversation(model="", messages=(), stream=False)
    body: Json = {"model": conversation.model} if conversation.model else {}  # Responses: a stored prompt may name it
    if before is not None:
        body = {**before, **body}
        was = read("", body)
    elif conversation.dialect not in (dialect, ""):
        _check_prefill(conversation, dialect)
        dropped |= _foreign_extras(conversation)
    for attribute in attributes:
        if any(getattr(conversation, name) != getattr(was, name) for name in attribute.names):
            for key in attribute.keys:
                body.pop(key, None)
            attribute.write(conversation, body, dropped)
    if conversation.dialect in (dialect, ""):
        _write_extras(conversation, was, body)
    return body, dropped


def _write_extras(conversation: Conversation, was: Conversation, body: Json) -> None:
    """Say the extras that are not as they were. Those with a path are in the messages and tools themselves."""
    now, before = conversation.extras, was.extras
    for name in before.keys() - now.keys():
        body.pop(name, None)
    for name, value in now.items():
        if "." not in name and (before[name] != value if name in before else name not in body):
            body[name] = value


def _foreign_extras(conversation: Conversation) -> set[str]:
    """The extras of another dialect's request, which are dropped. Raises Inexpressible for those that bind."""
    extras = {name: value for name, value in conversation.extras.items() if not _means_nothing(name, value)}
    for name in extras:
        if name in _BINDING:
            raise Inexpressible(name)
    names = {name if _NAME.fullmatch(name) else "a field" for name in islice(extras, LOST_LIMIT)}
    return names | {"other fields"} if len(extras) > LOST_LIMIT else names


def _means_nothing(name: str, value: Any) -> bool:
    """Whether a field says what is so without it: text alone is what every dialect answers. An object may be empty and mean
    something (`web_search_options`)."""
    if name in _MODALITIES:
        return value in (["text"], ["TEXT"], [])
    return name in _BINDING and value in ("", [], False)


def check_end(conversation: Conversation, *, assistants: bool) -> None:
    """Raises Inexpressible where the last turn as it is written is the assistant's (assistants), and that of the conversation is
    another's that says nothing there: an answer that is over would be gone on with."""
    if assistants and conversation.messages[-1].role != "assistant":
        raise Inexpressible("nothing said behind the assistant's turn")


def _check_prefill(conversation: Conversation, dialect: str) -> None:
    """An answer begun by the client is not the same when it is begun anew: raises Inexpressible where the target would refuse to
    go on with it, or would take it for a turn that is over while the client's own dialect does not."""
    if conversation.dialect in _CONTINUE or dialect in _CONTINUE:
        check_begun(conversation, dialect)


def check_begun(conversation: Conversation, dialect: str) -> None:
    """Raises Inexpressible where the answer is begun, and the model is known not to go on with it."""
    last = conversation.messages[-1] if conversation.messages else None
    if last is None or last.role != "assistant":
        return
    begun = any(isinstance(part, TextPart) and part.text.strip() for part in last.parts)
    if begun and takes_prefill(dialect, conversation.model) is False:
        raise Inexpressible("a prefill")


def write_turns(
    turns: Sequence[Turn], messages: Sequence[Message], write: Callable[[Message], list[Json]]
) -> list[Json]:
    """Return what says the messages: those that were read as they came, others as `write` says them."""
    read = [turn.message() for turn in turns]
    written: list[Json] = []
    at = 0
    for message in messages:
        same = next((n for n in range(at, len(read)) if read[n] == message), None)
        if same is None:
            while at < len(turns) and not turns[at].parts:  # without parts nothing tells that it is not as it was
                written += turns[at].raw
                at += 1
            written += write(message)
        else:
            for turn in turns[at : same + 1]:
                written += turn.raw if turn.parts == [] or turn is turns[same] else []
            at = same + 1
    return written
