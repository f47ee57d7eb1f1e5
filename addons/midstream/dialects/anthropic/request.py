"""A request to Anthropic's Messages API ⇄ one in no provider's words.

https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal
from urllib.parse import quote, unquote

from midstream.conversation import Conversation, Inexpressible, Message, OutputFormat, Tool, ToolChoice, Written
from midstream.dialects.anthropic.body import ATTRIBUTES
from midstream.dialects.anthropic.content import is_paused, read_system, read_turns
from midstream.dialects.anthropic.models import claude
from midstream.dialects.anthropic.other_model import say_anew
from midstream.dialects.anthropic.thinking import DIALECT, read_reasoning, tokens_of
from midstream.dialects.anthropic.writing import without_thoughts
from midstream.dialects.body_table import Kept, Lost, body_of, check_begun, write_body
from midstream.dialects.strict_fields import Fields, read_stop
from midstream.wire.json_text import Json

_VERTEX = re.compile(r"/models/(?!count-tokens)([^/:]+?)(?::|%3[Aa])(streamR|r)awPredict$")
_CHOICES: dict[str, Literal["auto", "none", "required", "named"]] = {
    "auto": "auto",
    "none": "none",
    "any": "required",
    "tool": "named",
}


def read_conversation(path: str, body: Json) -> Conversation:
    """Read a request; on Vertex AI the model is in the path, and the verb says whether to stream.

    Raises ValueError naming the field that is wrong.
    """
    if (vertex := _VERTEX.search(path)) is None:
        return _read(body)
    stream = vertex[2] == "streamR" and body.get("stream") is not False
    return replace(_read(body, unquote(vertex[1])), stream=stream)


def _read(body: Json, model: str = "") -> Conversation:
    fields, lost = Fields(body), Lost()
    model = fields.text("model") or model or fields.needed("model")
    choice, parallel = _read_tool_choice(fields, lost)
    output = fields.inner("output_config")
    format_, reasoning = _read_format(fields, output, lost), read_reasoning(fields, output, lost)
    metadata = fields.inner("metadata")
    conversation = Conversation(
        model=model,
        messages=_read_messages(fields, lost),
        tools=_read_tools(fields, lost),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        max_tokens=_read_max_tokens(fields),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.whole("top_k"),
        stop=read_stop(fields, "stop_sequences"),
        output_format=format_,
        reasoning=reasoning,
        user=metadata.text("user_id") if metadata else "",
        stream=fields.flag("stream") or False,
        include_usage=True,
        paused=is_paused(body),
        dialect=DIALECT,
    )
    for key, inner in (("metadata", metadata), ("output_config", output)):
        if inner is not None:
            lost.note(key, inner)
    return replace(conversation, extras=Kept({**fields.rest(), **lost}, body))


def _read_messages(fields: Fields, lost: Lost) -> tuple[Message, ...]:
    system, turns = read_system(fields, lost), read_turns(fields, lost)
    said = [turn.message() for turn in turns if turn.parts]
    return tuple([system.message(), *said] if system else said)


def _read_max_tokens(fields: Fields) -> int:
    most = fields.whole("max_tokens")
    if most is None:
        raise ValueError("max_tokens is missing: it must be a whole number")
    return most


def _read_tools(fields: Fields, lost: Lost) -> tuple[Tool, ...]:
    """Tools that Anthropic runs, or that its models know by their type, are kept as they are."""
    tools: list[Tool] = []
    others: list[Json] = []
    for tool in fields.each("tools"):
        if tool.text("type") not in ("", "custom"):
            others.append(tool.json)
            continue
        schema = tool.inner("input_schema")
        if schema is None:
            raise ValueError(f"{tool.at('input_schema')} is missing: it must be an object")
        tools.append(Tool(tool.needed("name"), tool.text("description"), schema.json, tool.flag("strict")))
        lost.note("tools[]", tool)
    if others:
        lost["tools"] = others
    return tuple(tools)


def _read_tool_choice(fields: Fields, lost: Lost) -> tuple[ToolChoice | None, bool | None]:
    chosen = fields.inner("tool_choice")
    if chosen is None:
        return None, None
    mode = _CHOICES.get(chosen.needed("type"))
    if mode is None:
        raise ValueError("tool_choice.type must be auto, any, tool or none")
    single = chosen.flag("disable_parallel_tool_use")
    choice = ToolChoice(mode, chosen.needed("name") if mode == "named" else "")
    chosen.any("name")
    lost.note("tool_choice", chosen)
    return choice, None if single is None else not single


def _read_format(fields: Fields, output: Fields | None, lost: Lost) -> OutputFormat | None:
    """`output_config.format`, or `output_format` as it was called in beta."""
    format_ = (output and output.inner("format")) or fields.inner("output_format")
    if format_ is None:
        return None
    schema = format_.inner("schema")
    if format_.needed("type") != "json_schema" or schema is None:
        raise ValueError(f"{format_.path} must be of type json_schema, with a schema")
    lost.note(format_.path, format_)
    return OutputFormat("json_schema", schema.json)


def write_request(conversation: Conversation) -> Written:
    """Write a request. One that was read from this dialect keeps its own words wherever it is unchanged. Raises Inexpressible.

    The path is below a base_url without a version. A request that was made to Vertex AI is written for it, its path below a
    base_url that ends in `/publishers/anthropic`.
    """

    own = conversation.dialect == DIALECT
    vertex = own and str(conversation.extras.get("anthropic_version", "")).startswith("vertex")

    def read(_: str, body: Json) -> Conversation:
        said = _read(body)
        return replace(said, stream=conversation.stream) if vertex else said

    body, dropped = write_body(conversation, DIALECT, ATTRIBUTES, read)
    if not body.get("messages"):
        raise Inexpressible("a conversation without words")
    before = body_of(conversation, DIALECT)
    if before is not None and before.get("model", conversation.model) != conversation.model:
        body = say_anew(_read(body), body, str(before["model"] or ""), dropped)
    elif before is not None and claude(conversation.model).known:
        body["messages"] = without_thoughts(body["messages"], every=False)
    body.setdefault("max_tokens", tokens_of(conversation))
    path = "/v1/messages"
    if vertex:
        verb = "streamRawPredict" if conversation.stream else "rawPredict"
        path = f"/models/{quote(body.pop('model'), safe='@')}:{verb}"
    return Written(path, body, tuple(sorted(dropped)))


def adapt(body: Json, asked: str, model: str) -> tuple[Json, tuple[str, ...]]:
    """Return the body for a model, less what it is known to refuse, and what that leaves out. asked: whose thoughts are in it. A
    body that cannot be read stays as it is: its provider says what is wrong. Raises Inexpressible."""
    try:
        conversation = replace(_read(body, model), model=model)
    except ValueError:
        return body, ()
    check_begun(conversation, DIALECT)
    dropped = set[str]()
    said = say_anew(conversation, body, asked, dropped)
    return said, tuple(sorted(dropped))
