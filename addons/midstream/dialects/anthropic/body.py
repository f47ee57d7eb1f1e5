"""How each part of a conversation is said in the body of a request to Anthropic's Messages API."""

from __future__ import annotations

from midstream.conversation import Conversation, Inexpressible, Message, Tool
from midstream.dialects.anthropic.content import read_system, read_turns
from midstream.dialects.anthropic.models import claude
from midstream.dialects.anthropic.schema import closed_schema
from midstream.dialects.anthropic.thinking import DIALECT, must_call, thinking_of, tokens_of
from midstream.dialects.anthropic.writing import MessageWriter, tool_name, trimmed, write_all
from midstream.dialects.body_table import Attribute, Lost, body_of, write_turns
from midstream.dialects.openai.parts import schema_of
from midstream.dialects.strict_fields import Fields
from midstream.wire.json_text import Json

USER_LIMIT = 256
"""Characters of `metadata.user_id`."""

STRICT_LIMIT = 20
"""Tools whose arguments can be made to follow their schema, in one request."""

_MODES = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}


def _write_messages(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    """Messages that were read from this dialect, and are still there, are sent as they came."""
    before = body_of(conversation, DIALECT)
    if before is None:
        system, messages = write_all(conversation, dropped)
        if system:
            body["system"] = system[0]["text"] if len(system) == 1 else system
    else:
        rest = _keep_system(conversation, before, body)
        turns = read_turns(Fields(before), Lost())
        messages = write_turns(turns, rest, MessageWriter(conversation, dropped).write)
    body["messages"] = trimmed(messages) if messages else messages


def _keep_system(conversation: Conversation, before: Json, body: Json) -> tuple[Message, ...]:
    """Say the system prompt of a request of our own; return the other messages."""
    messages = conversation.messages
    was = read_system(Fields(before), Lost())
    if was is not None and messages and messages[0] == was.message():
        return messages[1:]
    body.pop("system", None)
    if messages and messages[0].role == "system":
        body["system"] = MessageWriter(conversation, set()).blocks(messages[0])
        return messages[1:]
    return messages


def _write_tools(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    strict = sum(bool(tool.strict) for tool in conversation.tools)
    follows = claude(conversation.model).follows_schemas and strict <= STRICT_LIMIT
    own = conversation.dialect == DIALECT
    tools = [_tool(tool, dropped, own=own, follows=follows) for tool in conversation.tools]
    if own:
        tools += conversation.extras.get("tools", ())
    if tools:
        body["tools"] = tools


def _tool(tool: Tool, dropped: set[str], *, own: bool, follows: bool) -> Json:
    said: Json = {"name": tool_name(tool.name), "input_schema": schema_of(tool.parameters)}
    if tool.description:
        said["description"] = tool.description
    if own and tool.strict is not None:
        said["strict"] = tool.strict
    elif tool.strict and (schema := _strict(tool, dropped) if follows else None):
        said |= {"input_schema": schema, "strict": True}
    elif tool.strict:
        dropped.add("strict")
    return said


def _strict(tool: Tool, dropped: set[str]) -> Json | None:
    """The parameters as a schema that Anthropic can enforce; None where it has none: the tool works without."""
    if not tool.parameters.get("properties"):
        return None
    noted = set[str]()
    try:
        schema = closed_schema(tool.parameters, noted)
    except Inexpressible:
        return None
    dropped |= noted
    return schema


def _write_tool_choice(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    """Anthropic refuses a choice where there is nothing to choose from."""
    choice, parallel = conversation.tool_choice, conversation.parallel_tool_calls
    own = conversation.dialect == DIALECT
    if must_call(conversation) and not own and not claude(conversation.model).can_be_made_to_call:
        raise Inexpressible("tool_choice: this model cannot be made to call a tool")
    if not conversation.tools and not (own and conversation.extras.get("tools")):
        return
    if choice is None and parallel is not False:
        return
    said: Json = {"type": _MODES[choice.mode] if choice else "auto"}
    if choice is not None and choice.mode == "named":
        said["name"] = choice.name
    if parallel is not None and said["type"] != "none" and (own or not parallel):
        said["disable_parallel_tool_use"] = not parallel
    body["tool_choice"] = said


def _write_max_tokens(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    body["max_tokens"] = tokens_of(conversation)
    if conversation.max_tokens not in (None, body["max_tokens"]):
        dropped.add("max_tokens")


def _write_sampling(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    """1 is what temperature and top_p are unless told otherwise, and the most that temperature can be."""
    own, model = conversation.dialect == DIALECT, claude(conversation.model)
    values = {name: getattr(conversation, name) for name in ("temperature", "top_p", "top_k")}
    if not own:
        values = {name: None if value == 1 and name != "top_k" else value for name, value in values.items()}
        refused = (
            {*values} if not model.samples or thinking_of(conversation, set())[0].get("type") in _THINKS else set()
        )
        if values["temperature"] is not None and model.samples_once:
            refused.add("top_p")
        dropped |= {name for name in refused if values[name] is not None}
        values = {name: None if name in refused else value for name, value in values.items()}
        if (values["temperature"] or 0) > 1:
            dropped.add("temperature over 1")
            values["temperature"] = 1
    body |= {name: value for name, value in values.items() if value is not None}


_THINKS = ("enabled", "adaptive")


def _write_stop(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    if conversation.dialect != DIALECT and not all(stop.strip() for stop in conversation.stop):
        raise Inexpressible("a stop sequence of white space alone")
    if conversation.stop:
        body["stop_sequences"] = list(conversation.stop)


def _write_choices(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    if conversation.choices > 1:
        raise Inexpressible("several choices")


def write_reasoning(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    thinking, effort = thinking_of(conversation, dropped)
    if thinking:
        body["thinking"] = thinking
    _set_output(body, "effort", effort or None)


def _write_format(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    """Any JSON object is more than Anthropic can promise: a schema must name its keys."""
    format_, own = conversation.output_format, conversation.dialect == DIALECT
    if format_ is None:
        _set_output(body, "format", None)
        return
    if format_.kind != "json_schema":
        raise Inexpressible("a JSON answer without a schema")
    if not own and not claude(conversation.model).follows_schemas:
        raise Inexpressible("structured output: this model has none")
    schema = dict(format_.schema) if own else closed_schema(format_.schema, dropped)
    _set_output(body, "format", {"type": "json_schema", "schema": schema})


def _set_output(body: Json, key: str, value: object) -> None:
    """Set a field of output_config, beside its others (`task_budget`)."""
    output = {name: said for name, said in (body.pop("output_config", None) or {}).items() if name != key}
    if value is not None:
        output[key] = value
    if output:
        body["output_config"] = output


def _write_user(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    """Anthropic refuses what looks like an address of a person."""
    metadata = {key: value for key, value in (body.pop("metadata", None) or {}).items() if key != "user_id"}
    own = conversation.dialect == DIALECT
    if conversation.user and (own or ("@" not in conversation.user and len(conversation.user) <= USER_LIMIT)):
        metadata["user_id"] = conversation.user
    elif conversation.user:
        dropped.add("user")
    if metadata:
        body["metadata"] = metadata


def _write_stream(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    body["stream"] = conversation.stream


def _leave_out(name: str) -> Attribute:
    """An attribute that this API cannot say; 0 says nothing."""

    def write(conversation: Conversation, body: Json, dropped: set[str]) -> None:
        if name == "seed" or getattr(conversation, name):
            dropped.add(name)

    return Attribute((name,), (), write)


ATTRIBUTES = (
    Attribute(("messages",), ("messages",), _write_messages),
    Attribute(("tools",), ("tools",), _write_tools),
    Attribute(("tool_choice", "parallel_tool_calls"), ("tool_choice",), _write_tool_choice),
    Attribute(("max_tokens",), ("max_tokens",), _write_max_tokens),
    Attribute(("temperature", "top_p", "top_k"), ("temperature", "top_p", "top_k"), _write_sampling),
    Attribute(("stop",), ("stop_sequences",), _write_stop),
    _leave_out("seed"),
    _leave_out("presence_penalty"),
    _leave_out("frequency_penalty"),
    Attribute(("choices",), (), _write_choices),
    Attribute(("reasoning",), ("thinking",), write_reasoning),
    Attribute(("output_format",), ("output_format",), _write_format),
    Attribute(("user",), (), _write_user),
    Attribute(("stream",), ("stream",), _write_stream),
)
