"""How each part of a conversation is said in the body of a request to OpenAI's chat.completions."""

from __future__ import annotations

from typing import Any

from midstream.conversation import Conversation, Inexpressible
from midstream.dialects.body_table import Attribute, Lost, body_of, same, write_turns
from midstream.dialects.openai.chat_messages import DIALECT, read_turns, write_message
from midstream.dialects.openai.effort import effort
from midstream.dialects.openai.parts import FIXED_SAMPLING, CallIds, schema_of
from midstream.dialects.strict_fields import Fields
from midstream.wire.json_text import Json

STOP_LIMIT = 4
"""Stop sequences that OpenAI takes."""


def _write_messages(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    before, ids = body_of(conversation, DIALECT), CallIds(own=conversation.dialect == DIALECT)
    turns = read_turns(Fields(before), Lost()) if before else []
    body["messages"] = write_turns(turns, conversation.messages, lambda message: write_message(message, ids, dropped))


def _write_tools(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    tools: list[Any] = []
    for tool in conversation.tools:
        function: Json = {"name": tool.name}
        if tool.description:
            function["description"] = tool.description
        function["parameters"] = schema_of(tool.parameters)
        if tool.strict is not None:
            function["strict"] = tool.strict
        tools.append({"type": "function", "function": function})
    if conversation.dialect == DIALECT:
        tools += conversation.extras.get("tools", ())
    if tools:
        body["tools"] = tools


def _write_tool_choice(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    choice = conversation.tool_choice
    if choice is not None:
        named = {"type": "function", "function": {"name": choice.name}}
        body["tool_choice"] = named if choice.mode == "named" else choice.mode


def _write_max_tokens(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    """Under the newer name where the client or the model wants it; most other servers know the older."""
    newer = "max_completion_tokens" in (body_of(conversation, DIALECT) or ())
    if conversation.max_tokens is not None:
        newer = newer or bool(FIXED_SAMPLING.search(conversation.model))
        body["max_completion_tokens" if newer else "max_tokens"] = conversation.max_tokens


def _write_top_k(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    if conversation.top_k is not None and conversation.dialect == DIALECT:
        body["top_k"] = conversation.top_k
    elif conversation.top_k is not None:
        dropped.add("top_k")  # OpenAI refuses it


def _write_stop(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    if len(conversation.stop) > STOP_LIMIT and conversation.dialect != DIALECT:
        raise Inexpressible(f"more than {STOP_LIMIT} stop sequences")
    if conversation.stop:
        body["stop"] = list(conversation.stop)


def _write_choices(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    body["n"] = conversation.choices


def _write_format(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    format_ = conversation.output_format
    if format_ is None:
        return
    if format_.kind == "json_object":
        body["response_format"] = {"type": "json_object"}
        return
    schema: Json = {"name": format_.name or "answer", "schema": dict(format_.schema)}
    if format_.strict is not None:
        schema["strict"] = format_.strict
    body["response_format"] = {"type": "json_schema", "json_schema": schema}


def _write_reasoning(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    reasoning = conversation.reasoning
    if reasoning is None:
        return
    said = effort(reasoning, conversation.model, dropped, own=conversation.dialect == DIALECT)
    if said:
        body["reasoning_effort"] = said
    if reasoning.summary:
        dropped.add("reasoning.summary")


def _write_stream(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    """OpenAI refuses `stream_options` where nothing is streamed. Other dialects' clients always expect usage."""
    options: Json = dict(body.pop("stream_options", None) or {})
    body["stream"] = conversation.stream
    options.pop("include_usage", None)
    if conversation.include_usage or conversation.dialect not in (DIALECT, ""):
        options["include_usage"] = True
    if conversation.stream and options:
        body["stream_options"] = options


def _fixed(conversation: Conversation) -> bool:
    return conversation.dialect != DIALECT and bool(FIXED_SAMPLING.search(conversation.model))


ATTRIBUTES = (
    Attribute(("messages",), (), _write_messages),
    Attribute(("tools",), ("tools", "functions"), _write_tools),
    Attribute(("tool_choice",), ("tool_choice", "function_call"), _write_tool_choice),
    same("parallel_tool_calls"),
    Attribute(("max_tokens",), ("max_tokens", "max_completion_tokens"), _write_max_tokens),
    same("temperature", refused=_fixed),
    same("top_p", refused=_fixed),
    Attribute(("top_k",), ("top_k",), _write_top_k),
    Attribute(("stop",), ("stop",), _write_stop),
    same("seed"),
    same("presence_penalty", refused=_fixed),
    same("frequency_penalty", refused=_fixed),
    Attribute(("choices",), ("n",), _write_choices),
    Attribute(("output_format",), ("response_format",), _write_format),
    Attribute(("reasoning",), ("reasoning_effort", "reasoning"), _write_reasoning),
    same("user"),
    Attribute(("stream", "include_usage"), (), _write_stream),
)
