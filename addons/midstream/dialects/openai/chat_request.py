"""A request to OpenAI's chat.completions, and its relatives ⇄ one in no provider's words.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import unquote

from midstream.conversation import Conversation, OutputFormat, ReasoningSettings, Tool, ToolChoice, Written
from midstream.dialects.body_table import Kept, Lost, body_of, write_body
from midstream.dialects.openai.chat_body import ATTRIBUTES
from midstream.dialects.openai.chat_functions import uses_functions
from midstream.dialects.openai.chat_messages import DIALECT, read_turns
from midstream.dialects.openai.other_model import adapt_chat
from midstream.dialects.openai.parts import check_names
from midstream.dialects.strict_fields import Fields, read_stop
from midstream.wire.json_text import Json

_DEPLOYMENT = re.compile(r"/(?:deployments|engines)/([^/]+)/")
_CHOICES: dict[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
    "any": "required",  # Mistral
}


def model_of(path: str, named: str) -> str:
    """The model, on Azure the deployment that the path names if the body names no model."""
    if not named and (deployment := _DEPLOYMENT.search(path)):
        return unquote(deployment[1])
    return named


def read_conversation(path: str, body: Json) -> Conversation:
    """Read a request. Raises ValueError naming the field that is wrong."""
    fields, lost = Fields(body), Lost()
    model = model_of(path, fields.text("model")) or fields.needed("model")
    turns = read_turns(fields, lost)
    tools = _read_tools(fields, lost)
    most = fields.whole("max_completion_tokens"), fields.whole("max_tokens")
    options = _read_stream_options(fields, lost)
    choices = fields.whole("n")
    if choices is not None and choices < 1:
        raise ValueError("n must be at least 1")
    parallel = fields.flag("parallel_tool_calls")
    return Conversation(
        model=model,
        messages=tuple(turn.message() for turn in turns),
        tools=tools,
        tool_choice=_read_tool_choice(fields, lost),
        parallel_tool_calls=False if uses_functions(body) else parallel,  # there is one `function_call` in an answer
        max_tokens=most[1] if most[0] is None else most[0],
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.whole("top_k"),
        stop=read_stop(fields, "stop"),
        seed=fields.whole("seed"),
        presence_penalty=fields.number("presence_penalty"),
        frequency_penalty=fields.number("frequency_penalty"),
        choices=choices or 1,
        output_format=_read_format(fields, lost),
        reasoning=_read_reasoning(fields, lost),
        user=fields.text("user"),
        stream=fields.flag("stream") or False,
        include_usage=options,
        dialect=DIALECT,
        extras=Kept({**fields.rest(), **lost}, body),
    )


def _read_tools(fields: Fields, lost: Lost) -> tuple[Tool, ...]:
    tools, others = [], []
    for tool in fields.each("tools"):
        if tool.needed("type") != "function":
            others.append(tool.json)  # custom tools, and those that the provider runs
            continue
        function = tool.inner("function")
        if function is None:
            raise ValueError(f"{tool.at('function')} is missing: it must be an object with a name")
        tools.append(_read_function(function, lost))
        tool.any("name")  # some clients send it twice
        lost.note("tools[]", tool)
    if others:
        lost["tools"] = others
    return tuple(tools) or tuple(_read_function(function, lost) for function in fields.each("functions"))


def _read_function(function: Fields, lost: Lost) -> Tool:
    parameters = function.inner("parameters")
    schema = parameters.json if parameters else {}
    tool = Tool(function.needed("name"), function.text("description"), schema, function.flag("strict"))
    lost.note("tools[].function", function)
    return tool


def _read_tool_choice(fields: Fields, lost: Lost) -> ToolChoice | None:
    key = "function_call" if fields.any("tool_choice") is None else "tool_choice"
    value = fields.any(key)
    if value is None:
        return None
    if isinstance(value, str):
        if value not in _CHOICES:
            raise ValueError(f"{key} must be auto, none, required or an object that names a function")
        return ToolChoice(_CHOICES[value])
    chosen = Fields(value, key)
    if key == "function_call":
        return ToolChoice("named", chosen.needed("name"))
    if chosen.text("type") not in ("", "function"):
        lost[key] = value  # allowed_tools, custom
        return None
    return ToolChoice("named", (chosen.inner("function") or chosen).needed("name"))


def _read_format(fields: Fields, lost: Lost) -> OutputFormat | None:
    format_ = fields.inner("response_format")
    kind = format_.needed("type") if format_ else "text"
    if format_ is None or kind == "text":
        return None
    if kind == "json_object":
        return OutputFormat("json_object")
    if kind != "json_schema":
        lost["response_format"] = format_.json  # vLLM's and others' grammars
        return None
    said = format_.inner("json_schema")
    schema = said and said.inner("schema")
    if said is None or schema is None:
        raise ValueError("response_format.json_schema.schema is missing: it must be an object")
    read = OutputFormat("json_schema", schema.json, said.text("name"), said.flag("strict"))
    lost.note("response_format.json_schema", said)
    return read


def _read_reasoning(fields: Fields, lost: Lost) -> ReasoningSettings | None:
    said = fields.text("reasoning_effort")
    inner = fields.inner("reasoning")  # OpenRouter's
    if inner is None:
        return ReasoningSettings(said) if said else None
    settings = ReasoningSettings(said or inner.text("effort"), inner.whole("max_tokens"))
    lost.note("reasoning", inner)
    return settings if settings.effort or settings.budget is not None else None


def _read_stream_options(fields: Fields, lost: Lost) -> bool:
    options = fields.inner("stream_options")
    if options is None:
        return False
    asked = options.flag("include_usage") or False
    lost.note("stream_options", options)
    return asked


def write_request(conversation: Conversation) -> Written:
    """Write a request. One that was read from this dialect keeps its own words wherever it is unchanged. Raises Inexpressible."""
    if conversation.dialect not in (DIALECT, ""):
        check_names(conversation)
    body, dropped = write_body(conversation, DIALECT, ATTRIBUTES, read_conversation)
    before = body_of(conversation, DIALECT) or {}
    if (asked := before.get("model", conversation.model)) != conversation.model:
        body, more = adapt_chat(body, asked, conversation.model)
        dropped |= {*more}
    return Written("/chat/completions", body, tuple(sorted(dropped)))
