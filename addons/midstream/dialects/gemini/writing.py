"""A conversation's messages → Gemini's `systemInstruction` and `contents`."""

from __future__ import annotations

from typing import Any

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
from midstream.dialects.call_names import CallNames, arguments_object
from midstream.dialects.gemini.contents import DIALECT, MADE_ID
from midstream.dialects.gemini.thinking import generation
from midstream.dialects.media_types import media_type
from midstream.wire.json_text import Json, parse_json

NO_SIGNATURE = "skip_thought_signature_validator"
"""What stands for the signature of a call that another model made: models from Gemini 3 on refuse a call without one.

https://ai.google.dev/gemini-api/docs/thought-signatures#faqs"""


class ContentsWriter:
    """Write each message once, in order; then `contents` and `system` are what to send.

    A system message loses its place: Gemini has one system instruction, which comes first.
    """

    def __init__(self, conversation: Conversation, dropped: set[str]) -> None:
        self.contents: list[Json] = []
        self.system: list[Json] = []
        self._dropped = dropped
        self._own = conversation.dialect == DIALECT
        self._newest = generation(conversation.model) == "level"
        self._names = CallNames()

    def write(self, message: Message, raw: Json | None = None) -> None:
        """Add a message. raw: the element it was read from, to be sent as it was."""
        for part in message.parts:
            self._names.note(part)
        if message.role == "system":
            self._system(message)
        elif raw is not None:
            self.contents.append(raw)
        elif parts := self._assistant(message) if message.role == "assistant" else self._user(message):
            self._add("model" if message.role == "assistant" else "user", parts)

    def _system(self, message: Message) -> None:
        if self.contents:
            self._dropped.add("the place of a system message")
        for part in message.parts:
            if not isinstance(part, TextPart):
                raise Inexpressible("a system message of more than text")
            self.system += [{"text": part.text}] if part.text else []

    def _add(self, role: str, parts: list[Json]) -> None:
        """The results of one turn's calls must stand in one content."""
        before = self.contents[-1] if self.contents else {}
        if "functionResponse" in parts[0] and before.get("role") == "user" and _has_result(before):
            before["parts"] = [*before["parts"], *parts]
        else:
            self.contents.append({"role": role, "parts": parts})

    def _assistant(self, message: Message) -> list[Json]:
        parts: list[Json] = []
        signature = ""
        for part in message.parts:
            match part:
                case ReasoningPart(dialect=dialect) if dialect != DIALECT:
                    self._dropped.add("reasoning of earlier turns")
                case ReasoningPart(text="", signature=own):
                    signature = own
                case ReasoningPart(text=text, signature=own):
                    parts.append({"text": text, "thought": True, **_signed(own)})
                case _:
                    said = self._said(part, signature, first="functionCall" not in (parts[-1] if parts else {}))
                    parts += said
                    signature = "" if said else signature
        return [*parts, {"text": "", **_signed(signature)}] if signature else parts

    def _said(self, part: Part, signature: str, *, first: bool) -> list[Json]:
        match part:
            case TextPart(text=text):
                return [{"text": text, **_signed(signature)}] if text else []
            case ToolUsePart():
                call: Json = {"name": part.name, "args": arguments_object(part)}
                unsigned = NO_SIGNATURE if self._newest and first and not self._own else ""
                return [{"functionCall": {**_id(part.id), **call}, **_signed(signature or unsigned)}]
            case MediaPart():
                return [{**write_medium(part, self._dropped), **_signed(signature)}]
            case _:
                raise Inexpressible("an assistant's message with a user's parts")

    def _user(self, message: Message) -> list[Json]:
        """Results of tools first."""
        results: list[Json] = []
        others: list[Json] = []
        for part in message.parts:
            match part:
                case ToolResultPart():
                    result, media = self._result(part)
                    results.append(result)
                    others += media
                case TextPart(text=text):
                    others += [{"text": text}] if text else []
                case MediaPart():
                    others.append(write_medium(part, self._dropped))
                case _:
                    raise Inexpressible("a user's message with an assistant's parts")
        return results + others

    def _result(self, part: ToolResultPart) -> tuple[Json, list[Json]]:
        """The result, and its media where the model takes them beside it only."""
        text = "\n".join(inner.text for inner in part.content if isinstance(inner, TextPart))
        media = [write_medium(inner, self._dropped) for inner in part.content if isinstance(inner, MediaPart)]
        response = {"error": text} if part.is_error else _object(text)
        said: Json = {**_id(part.id), "name": self._names.of(part), "response": response}
        if media and self._newest:
            return {"functionResponse": {**said, "parts": media}}, []
        return {"functionResponse": said}, media


def _has_result(content: Json) -> bool:
    parts: Any = content.get("parts")
    return isinstance(parts, list) and bool(parts) and isinstance(parts[-1], dict) and "functionResponse" in parts[-1]


def _signed(signature: str) -> Json:
    return {"thoughtSignature": signature} if signature else {}


def _id(id_: str) -> Json:
    return {} if not id_ or id_.startswith(MADE_ID) else {"id": id_}


def _object(text: str) -> Json:
    """A result that is an object already, except where its only key would mean something else to Gemini."""
    try:
        value = parse_json(text)
    except ValueError:
        value = None
    return value if isinstance(value, dict) and value and value.keys() != {"error"} else {"output": text}


def write_medium(part: MediaPart, dropped: set[str]) -> Json:
    """inlineData, or fileData: Gemini fetches public URLs, and its own `gs://` and files."""
    if part.detail not in ("", "auto"):
        dropped.add("image detail")
    if part.data:
        return {"inlineData": {"mimeType": media_type(part), "data": part.data}}
    if not part.url:
        raise Inexpressible(f"{part.name or part.kind} that only its own provider can find")
    return {"fileData": {"mimeType": media_type(part), "fileUri": part.url}}
