"""What the official SDKs take for a request of theirs: their own types, no unknown field allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from google.genai import types
from ollama._types import ChatRequest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter


@cache
def _adapter(params: Any) -> TypeAdapter[Any]:
    return TypeAdapter(params)


def _consume(value: Any) -> None:
    """pydantic checks what an Iterable gives as it is taken."""
    if isinstance(value, Mapping):
        value = value.values()
    elif isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return
    for inner in value:
        _consume(inner)


def _typed_dict(params: Any) -> Callable[[Mapping[str, Any]], None]:
    def check(body: Mapping[str, Any]) -> None:
        _consume(_adapter(params).validate_python(dict(body), extra="forbid"))

    return check


def _gemini(body: Mapping[str, Any]) -> None:
    kinds = {
        "contents": list[types.Content],
        "systemInstruction": types.Content,
        "tools": list[types.Tool],
        "toolConfig": types.ToolConfig,
        "generationConfig": types.GenerationConfig,
    }
    for name, value in body.items():
        _adapter(kinds[name]).validate_python(value, extra="forbid")


def _anthropic(body: Mapping[str, Any]) -> None:
    """Since 1.0 the SDK has no names for sampling: what only older models take goes into its `extra_body`.

    https://github.com/anthropics/anthropic-sdk-python/blob/main/MIGRATION.md"""
    named = {name: value for name, value in body.items() if name not in ("temperature", "top_p", "top_k")}
    _typed_dict(MessageCreateParamsNonStreaming)(named)


def _ollama(body: Mapping[str, Any]) -> None:
    """The SDK knows four keywords of JSON Schema; the server takes any."""
    tools = [
        {**tool, "function": {**tool["function"], "parameters": {"type": "object"}}} for tool in body.get("tools", ())
    ]
    plain = {**body, "tools": tools}
    sent = ChatRequest.model_validate(plain, extra="forbid").model_dump(exclude_none=True)
    assert _filled(sent) == _filled(plain)


def _filled(value: Any) -> Any:
    """Less what says nothing: absent, null and empty are one."""
    if isinstance(value, Mapping):
        return {key: _filled(inner) for key, inner in value.items() if inner not in (None, "", [])}
    return [_filled(inner) for inner in value] if isinstance(value, list) else value


CHECKS: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "openai_chat": _typed_dict(CompletionCreateParamsNonStreaming),
    "openai_responses": _typed_dict(ResponseCreateParamsNonStreaming),
    "anthropic_messages": _anthropic,
    "gemini": _gemini,
    "ollama": _ollama,
}
"""By dialect: raises where the SDK's own types would not take the body."""
