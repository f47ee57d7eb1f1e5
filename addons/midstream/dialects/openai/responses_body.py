"""How each part of a conversation is said in the body of a request to OpenAI's Responses API."""

from __future__ import annotations

from collections.abc import Sequence

from midstream.conversation import Conversation, Inexpressible, Message, TextPart
from midstream.dialects.body_table import Attribute, Lost, body_of, same, write_turns
from midstream.dialects.openai.effort import NO_REASONING, effort
from midstream.dialects.openai.parts import FIXED_SAMPLING, CallIds, schema_of
from midstream.dialects.openai.responses_items import DIALECT, read_items, write_items
from midstream.dialects.strict_fields import Fields
from midstream.wire.json_text import Json

LEAST_TOKENS = 16
"""The least `max_output_tokens` that OpenAI takes."""


def _write_messages(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    before, ids = body_of(conversation, DIALECT), CallIds(own=conversation.dialect == DIALECT)
    turns = read_items(Fields(before), Lost()) if before else []
    instructions, rest = _instructions(conversation.messages, body.pop("instructions", ""), own=before is not None)
    if instructions:
        body["instructions"] = instructions
    body["input"] = write_turns(turns, rest, lambda message: write_items(message, ids, dropped))


def _instructions(messages: Sequence[Message], were: str, *, own: bool) -> tuple[str, Sequence[Message]]:
    """The system messages at the beginning are instructions; those of a request of our own stay where they were."""
    if own:
        still = were and messages and messages[0] == Message("system", (TextPart(were),))
        return (were, messages[1:]) if still else ("", messages)
    first = next((n for n, message in enumerate(messages) if message.role != "system"), len(messages))
    if first == len(messages):  # an answer needs some input
        return "", messages
    parts = [part for message in messages[:first] for part in message.parts]
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    if len(texts) < len(parts):
        raise Inexpressible("a system message of more than text")
    return "\n\n".join(texts), messages[first:]


def _write_tools(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    """`strict` is on here where it is left out, and off in every other dialect."""
    own = conversation.dialect == DIALECT
    tools: list[Json] = []
    for tool in conversation.tools:
        said: Json = {"type": "function", "name": tool.name, "parameters": schema_of(tool.parameters)}
        if tool.description:
            said["description"] = tool.description
        if tool.strict is not None or not own:
            said["strict"] = bool(tool.strict)
        tools.append(said)
    if own:
        tools += conversation.extras.get("tools", ())
    if tools:
        body["tools"] = tools


def _write_tool_choice(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    choice = conversation.tool_choice
    if choice is not None:
        body["tool_choice"] = {"type": "function", "name": choice.name} if choice.mode == "named" else choice.mode


def _write_max_tokens(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    most = conversation.max_tokens
    if most is None:
        return
    if most < LEAST_TOKENS:
        dropped.add("max_tokens")
    body["max_output_tokens"] = max(most, LEAST_TOKENS)


def _write_format(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    """Beside the text's other settings (`verbosity`)."""
    text = {key: value for key, value in (body.pop("text", None) or {}).items() if key != "format"}
    format_ = conversation.output_format
    if format_ is not None and format_.kind == "json_object":
        text["format"] = {"type": "json_object"}
    elif format_ is not None:
        schema = {"type": "json_schema", "name": format_.name or "answer", "schema": dict(format_.schema)}
        text["format"] = schema if format_.strict is None else {**schema, "strict": format_.strict}
    if text:
        body["text"] = text


def _write_reasoning(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    reasoning = conversation.reasoning
    if reasoning is None:
        return
    own = conversation.dialect == DIALECT
    level = effort(reasoning, conversation.model, dropped, own=own)
    said: Json = {"effort": level} if level else {}
    if reasoning.summary and not own and NO_REASONING.search(conversation.model):
        dropped.add("reasoning")
    elif reasoning.summary:
        said["summary"] = "auto"
    if said:
        body["reasoning"] = said


def _write_stream(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    body["stream"] = conversation.stream


def _rule_out(name: str, word: str) -> Attribute:
    """An attribute that this API cannot say, and that changes what the answer is."""

    def write(conversation: Conversation, body: Json, dropped: set[str]) -> None:
        raise Inexpressible(word)

    return Attribute((name,), (), write)


def _leave_out(name: str) -> Attribute:
    """An attribute that this API cannot say."""
    return Attribute((name,), (), lambda conversation, body, dropped: dropped.add(name))


def _fixed(conversation: Conversation) -> bool:
    return conversation.dialect != DIALECT and bool(FIXED_SAMPLING.search(conversation.model))


ATTRIBUTES = (
    Attribute(("messages",), (), _write_messages),
    Attribute(("tools",), ("tools",), _write_tools),
    Attribute(("tool_choice",), ("tool_choice",), _write_tool_choice),
    same("parallel_tool_calls"),
    Attribute(("max_tokens",), ("max_output_tokens",), _write_max_tokens),
    same("temperature", refused=_fixed),
    same("top_p", refused=_fixed),
    _rule_out("stop", "stop sequences"),
    _rule_out("choices", "several choices"),
    _leave_out("top_k"),
    _leave_out("seed"),
    _leave_out("presence_penalty"),
    _leave_out("frequency_penalty"),
    Attribute(("output_format",), (), _write_format),
    Attribute(("reasoning",), ("reasoning",), _write_reasoning),
    same("user"),
    Attribute(("stream",), (), _write_stream),
)
