"""A request in no provider's words: what every dialect reads its requests into, and writes its requests from.

A dialect that cannot express a part of it either drops it and says so, or, where the answer's meaning would change, raises
`Inexpressible` (design section 7; `docs/translation.md` has the table).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

type Role = Literal["system", "user", "assistant"]


class Inexpressible(Exception):
    """The target's dialect has no way to say this, and leaving it out would change the answer's meaning; str() names it."""


@dataclass(frozen=True, slots=True)
class TextPart:
    text: str


@dataclass(frozen=True, slots=True)
class MediaPart:
    """An image, a sound or a file: by URL, or inline as base64.

    media_type: as `image/png`; "" where only the URL is known. name: a file's name. detail: OpenAI's `low`, `high`, `auto`.
    """

    kind: Literal["image", "audio", "file"]
    media_type: str = ""
    data: str = ""
    url: str = ""
    name: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ReasoningPart:
    """Reasoning of an earlier turn. Only the dialect named can verify its signature: it is not resent to another."""

    text: str
    signature: str = ""
    dialect: str = ""


@dataclass(frozen=True, slots=True)
class ToolUsePart:
    """The assistant called a tool; arguments: JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResultPart:
    """The user's side answers a call. content: text and media parts."""

    id: str
    content: tuple[TextPart | MediaPart, ...]
    name: str = ""
    is_error: bool = False


type Part = TextPart | MediaPart | ReasoningPart | ToolUsePart | ToolResultPart


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. Tool results are parts of a `user` message, tool calls and reasoning parts of an `assistant` one."""

    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the client runs. parameters: JSON Schema. strict: the arguments must follow it exactly."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """How tools may be used; name: with `named`, the one to call."""

    mode: Literal["auto", "none", "required", "named"]
    name: str = ""


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """Structured output: any JSON object, or one that follows a schema."""

    kind: Literal["json_object", "json_schema"]
    schema: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class ReasoningSettings:
    """How much to think: an effort in OpenAI's words, or a budget in tokens (0: not at all); summary: whether to show it."""

    effort: str = ""
    budget: int | None = None
    summary: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One request for an answer.

    include_usage: whether a streamed answer shall report usage at its end (OpenAI chat's `stream_options`; the other
    dialects always do). paused: the turn at its end is the assistant's, with what a provider's own tools found, which no part
    here holds. extras: fields of the request that no field here holds, by the names of the dialect it was read
    from: written back to that dialect, dropped for another.
    """

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    choices: int = 1
    output_format: OutputFormat | None = None
    reasoning: ReasoningSettings | None = None
    user: str = ""
    stream: bool = True
    include_usage: bool = False
    paused: bool = False
    dialect: str = ""
    extras: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Written:
    """A request in a dialect's words. path: below the provider's base_url, as `/chat/completions`. dropped: what it leaves
    out because the dialect cannot say it, each a short phrase such as `seed`."""

    path: str
    body: Mapping[str, Any]
    dropped: tuple[str, ...] = ()
