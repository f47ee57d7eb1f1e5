"""What Gemini's generateContent and Live APIs share: content parts, usage, prompts.

https://ai.google.dev/api/caching#Part
"""

from __future__ import annotations

from typing import Any, Literal

from midstream.dialects.arguments import PartialArguments, arguments_text
from midstream.dialects.token_counts import count
from midstream.events import Event, Malformed, Media, Reasoning, ServerTool, Text, ToolCall, Usage
from midstream.wire.json_text import Json, as_dict, as_list, as_str

ID_LIMIT = 256
"""Characters kept of a call's id; Google's are below 40."""

_SERVER_TOOLS = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")


class Parts:
    """The parts of one candidate, or of one turn, in order of arrival. Remembers no content: a count, and the open call."""

    def __init__(self, choice: int = 0) -> None:
        self.finished = False
        self._choice = choice
        self._calls = -1
        self._open: PartialArguments | None = None
        self._open_id = ""

    def read(self, part: Json) -> list[Event]:
        """Return what one part means; [] for an empty one.

        A signature stands before what it signs, as a Reasoning without text.
        """
        text, signature = as_str(part.get("text")), as_str(part.get("thoughtSignature"))
        if part.get("thought") is True and text:
            return [Reasoning(text, self._choice, 0, signature)]
        events: list[Event] = [Reasoning("", self._choice, 0, signature)] if signature else []
        if text:
            events.append(Text(text, self._choice))
        elif isinstance(call := part.get("functionCall"), dict):
            events += self.call(call)
        else:
            events += self._other(part)
        return events

    def _other(self, part: Json) -> list[Event]:
        for key in ("inlineData", "fileData"):
            if isinstance(blob := part.get(key), dict):
                transcript = as_str(as_dict(part.get("audioTranscription")).get("text"))
                return [read_media(blob, "mimeType", transcript, self._choice)]
        for key in _SERVER_TOOLS:
            if isinstance(tool := part.get(key), dict):
                return [ServerTool(as_str(tool.get("toolType")) or "code_execution", self._choice)]
        return []

    def call(self, call: Json) -> list[Event]:
        """Return what one functionCall means: a whole call, or (Vertex's streamFunctionCallArguments) a piece of one.

        The first piece has the name, the last no `willContinue`, and may be `{}` or left out altogether: what begins a new
        call ends the one before.
        """
        name, id_ = as_str(call.get("name")), as_str(call.get("id"))[:ID_LIMIT]
        args, partials = call.get("args"), as_list(call.get("partialArgs"))
        more = call.get("willContinue") is True
        if self._open is not None and (not name or (id_ and id_ == self._open_id)):
            return self._go_on(self._open, partials, more=more)
        events = self.flush()
        if not name and not id_ and args is None and not partials:
            return events
        self._calls += 1
        if args is not None or not (partials or more):
            return [*events, self._fragment(id_, name, arguments_text(args))]
        self._open, self._open_id = PartialArguments(), id_
        return [*events, self._fragment(id_, name), *self._go_on(self._open, partials, more=more)]

    def _go_on(self, call: PartialArguments, partials: list[Any], *, more: bool) -> list[Event]:
        events: list[Event] = []
        for partial in partials:
            piece = call.add(as_dict(partial))
            if piece is None:
                events.append(Malformed("a partialArgs that does not continue its call's arguments"))
            elif piece:
                events.append(self._fragment("", "", piece))
        return events if more else events + self.flush()

    @property
    def is_open(self) -> bool:
        """Whether more of a call's arguments is to come."""
        return self._open is not None

    def flush(self) -> list[Event]:
        """End the call whose arguments are open, if one is."""
        if self._open is None:
            return []
        rest, self._open = self._open.close(), None
        return [self._fragment("", "", rest)]

    def _fragment(self, id_: str, name: str, arguments: str = "") -> ToolCall:
        return ToolCall(self._calls, id_, name, arguments, self._choice)


def read_media(blob: Json, mime_key: str, transcript: str = "", choice: int = 0, block: int = 0) -> Media:
    """An inline blob; `size` counts its base64. What is no audio (a picture, a video's frames) goes as an image."""
    kind: Literal["audio", "image"] = "audio" if as_str(blob.get(mime_key)).startswith("audio/") else "image"
    return Media(kind, len(as_str(blob.get("data"))), transcript, choice, block)


def read_usage(value: Any) -> list[Event]:
    """usageMetadata → one Usage; [] where it counts nothing yet (Vertex's early chunks: only a `trafficType`).

    Google counts thoughts beside the answer, and what its tools fed to the model beside the prompt: totalTokenCount is the
    sum of all four. Live calls the answer's count responseTokenCount, on some models.
    """
    usage = as_dict(value)
    prompt, tools = count(usage.get("promptTokenCount")), count(usage.get("toolUsePromptTokenCount"))
    answer = count(usage.get("candidatesTokenCount"), usage.get("responseTokenCount"))
    thoughts, cached = count(usage.get("thoughtsTokenCount")), count(usage.get("cachedContentTokenCount"))
    if prompt is tools is answer is thoughts is cached is None:
        return []
    return [Usage(add(prompt, tools), add(answer, thoughts), cached, None, thoughts, usage)]


def add(one: int | None, other: int | None) -> int | None:
    """Sum two counts; None where neither was reported."""
    return None if one is None and other is None else (one or 0) + (other or 0)


def prompt_texts(request: Json) -> list[str]:
    """The texts of a generateContent request: the system instruction, tools as JSON, then every part of every turn."""
    system = request.get("systemInstruction") or request.get("system_instruction")
    tools = request.get("tools")
    contents = request.get("contents")
    texts = _content_texts(system)
    if tools:
        texts.append(arguments_text(tools))
    for content in contents if isinstance(contents, list) else [contents]:
        texts += _content_texts(content)
    return [text for text in texts if text]


def _content_texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    parts = as_dict(content).get("parts")
    return [_part_text(part) for part in (parts if isinstance(parts, list) else [parts])]


def _part_text(part: Any) -> str:
    fields = as_dict(part)
    if text := as_str(fields.get("text")):
        return text
    for key in ("functionCall", "functionResponse", "function_call", "function_response", "executableCode"):
        if isinstance(value := fields.get(key), dict):
            return arguments_text(value)
    return ""
