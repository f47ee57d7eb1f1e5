"""A request to OpenAI's Responses API ⇄ one in no provider's words.

https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from typing import Literal

from midstream.conversation import (
    Conversation,
    Message,
    OutputFormat,
    ReasoningSettings,
    TextPart,
    Tool,
    ToolChoice,
    Written,
)
from midstream.dialects.body_table import Kept, Lost, body_of, write_body
from midstream.dialects.openai.other_model import adapt_responses
from midstream.dialects.openai.parts import check_names
from midstream.dialects.openai.responses_body import ATTRIBUTES
from midstream.dialects.openai.responses_items import DIALECT, read_items
from midstream.dialects.strict_fields import Fields
from midstream.wire.json_text import Json

_CHOICES: dict[str, Literal["auto", "none", "required"]] = {"auto": "auto", "none": "none", "required": "required"}
_ELSEWHERE = ("previous_response_id", "conversation", "prompt")
"""Fields by which the input, with a stored prompt the model too, is at OpenAI and not in the request."""


def read_conversation(path: str, body: Json) -> Conversation:
    """Read a request. Raises ValueError naming the field that is wrong.

    What only OpenAI can do (`previous_response_id`, `conversation`, `prompt`, `background`, its own tools) is in the extras.
    """
    fields, lost = Fields(body), Lost()
    model = fields.text("model") if body.get("prompt") else fields.needed("model")
    tools = _read_tools(fields, lost)
    return Conversation(
        model=model,
        messages=_read_messages(fields, lost),
        tools=tools,
        tool_choice=_read_tool_choice(fields, lost),
        parallel_tool_calls=fields.flag("parallel_tool_calls"),
        max_tokens=fields.whole("max_output_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        output_format=_read_format(fields, lost),
        reasoning=_read_reasoning(fields, lost),
        user=fields.text("user"),
        stream=fields.flag("stream") or False,
        include_usage=True,
        dialect=DIALECT,
        extras=Kept({**fields.rest(), **lost}, body),
    )


def _read_messages(fields: Fields, lost: Lost) -> tuple[Message, ...]:
    instructions = fields.text("instructions")
    turns = read_items(fields, lost)
    if not turns and not any(fields.json.get(key) for key in _ELSEWHERE):
        raise ValueError("input is missing: it must be a string or an array of at least one item")
    system = (Message("system", (TextPart(instructions),)),) if instructions else ()
    return (*system, *(turn.message() for turn in turns if turn.parts or turn.role == "user"))


def _read_tools(fields: Fields, lost: Lost) -> tuple[Tool, ...]:
    tools, others = [], []
    for tool in fields.each("tools"):
        if tool.needed("type") != "function":
            others.append(tool.json)
            continue
        parameters = tool.inner("parameters")
        schema = parameters.json if parameters else {}
        tools.append(Tool(tool.needed("name"), tool.text("description"), schema, tool.flag("strict")))
        lost.note("tools[]", tool)
    if others:
        lost["tools"] = others
    return tuple(tools)


def _read_tool_choice(fields: Fields, lost: Lost) -> ToolChoice | None:
    value = fields.any("tool_choice")
    if value is None:
        return None
    if isinstance(value, str):
        if value not in _CHOICES:
            raise ValueError("tool_choice must be auto, none, required or an object")
        return ToolChoice(_CHOICES[value])
    chosen = Fields(value, "tool_choice")
    if chosen.needed("type") != "function":
        lost["tool_choice"] = value  # allowed_tools, or one of the provider's own
        return None
    return ToolChoice("named", chosen.needed("name"))


def _read_format(fields: Fields, lost: Lost) -> OutputFormat | None:
    text = fields.inner("text")
    format_ = text and text.inner("format")
    if text:
        lost.note("text", text)
    kind = format_.needed("type") if format_ else "text"
    if format_ is None or kind == "text":
        return None
    if kind == "json_object":
        return OutputFormat("json_object")
    schema = format_.inner("schema")
    if kind != "json_schema" or schema is None:
        raise ValueError("text.format must be of type text, json_object, or json_schema with a schema")
    read = OutputFormat("json_schema", schema.json, format_.text("name"), format_.flag("strict"))
    lost.note("text.format", format_)
    return read


def _read_reasoning(fields: Fields, lost: Lost) -> ReasoningSettings | None:
    said = fields.inner("reasoning")
    if said is None:
        return None
    summary = said.text("summary") or said.text("generate_summary")
    settings = ReasoningSettings(said.text("effort"), summary=True if summary else None)
    lost.note("reasoning", said)
    return settings if settings != ReasoningSettings() else None


def write_request(conversation: Conversation) -> Written:
    """Write a request. One that was read from this dialect keeps its own words wherever it is unchanged. Raises Inexpressible."""
    if conversation.dialect not in (DIALECT, ""):
        check_names(conversation)
    body, dropped = write_body(conversation, DIALECT, ATTRIBUTES, read_conversation)
    before = body_of(conversation, DIALECT) or {}
    if (asked := before.get("model", conversation.model)) != conversation.model:
        body, more = adapt_responses(body, asked, conversation.model)
        dropped |= {*more}
    if conversation.dialect not in (DIALECT, ""):
        body["store"] = False  # no other API keeps what it is told, so none of their clients asked for that
    return Written("/responses", body, tuple(sorted(dropped)))
