"""A request to Gemini's generateContent or streamGenerateContent ⇄ one in no provider's words.

https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal
from urllib.parse import quote, unquote

from midstream.conversation import Conversation, OutputFormat, ReasoningSettings, Tool, ToolChoice, Written
from midstream.dialects.body_table import Kept, Lost, body_of, check_begun, write_body
from midstream.dialects.gemini.body import ATTRIBUTES
from midstream.dialects.gemini.contents import DIALECT, turns_of
from midstream.dialects.gemini.fields import ProtoFields
from midstream.dialects.gemini.other_model import say_anew
from midstream.dialects.gemini.schema import json_schema
from midstream.dialects.strict_fields import read_stop
from midstream.wire.json_text import Json, as_dict

_MODEL = re.compile(r"/(models|tunedModels|endpoints)/([^/:]+)(?::|%3[Aa])(streamG|g)enerateContent$")
_CODE_ASSIST = re.compile(r"/v\d+internal(?::|%3[Aa])(streamG|g)enerateContent$")
_STREAMS = "streamG"
_MODES: dict[str, Literal["auto", "none", "required"]] = {
    "AUTO": "auto",
    "1": "auto",
    "ANY": "required",
    "2": "required",
    "NONE": "none",
    "3": "none",
    "VALIDATED": "auto",
}


def read_conversation(path: str, body: Json) -> Conversation:
    """Read a request; path: without its query. Raises ValueError naming the field that is wrong.

    Code Assist (the Gemini CLI's) has the model beside the request: what else stands there is kept under `request`.
    """
    if match := _CODE_ASSIST.search(path):
        outer = ProtoFields(body)
        inner = outer.inner("request")
        if inner is None:
            raise ValueError("request is missing: it must be an object")
        said = _read(outer.needed("model"), as_dict(outer.any("request")), stream=match[1] == _STREAMS)
        return replace(
            said, extras=Kept({**said.extras, "request": outer.rest()}, as_dict(outer.any("request")), said.model)
        )
    if (match := _MODEL.search(path)) is None:
        raise ValueError("the path must end in /models/{model}:generateContent or :streamGenerateContent")
    name = unquote(match[2])
    return _read(name if match[1] == "models" else f"{match[1]}/{name}", body, stream=match[3] == _STREAMS)


def _read(model: str, body: Json, *, stream: bool) -> Conversation:
    fields, lost = ProtoFields(body), Lost()
    fields.any("model")  # some clients say it twice
    config = fields.inner("generationConfig") or ProtoFields({}, "generationConfig")
    turns = turns_of(fields, lost)
    choice, strict, allowed = _read_tool_choice(fields, lost)
    conversation = Conversation(
        model=model,
        messages=tuple(turn.message() for turn in turns),
        tools=tuple(tool for tool in _read_tools(fields, lost, strict) if not allowed or tool.name in allowed),
        tool_choice=choice,
        max_tokens=config.whole("maxOutputTokens"),
        temperature=config.number("temperature"),
        top_p=config.number("topP"),
        top_k=config.whole("topK"),
        stop=read_stop(config, "stopSequences"),
        seed=config.whole("seed"),
        presence_penalty=config.number("presencePenalty"),
        frequency_penalty=config.number("frequencyPenalty"),
        choices=_read_choices(config),
        output_format=_read_format(config, lost),
        reasoning=_read_reasoning(config, lost),
        stream=stream,
        include_usage=True,
        dialect=DIALECT,
    )
    lost.note("generationConfig", config)
    return replace(conversation, extras=Kept({**fields.rest(), **lost}, body, model))


def _read_choices(config: ProtoFields) -> int:
    choices = config.whole("candidateCount")
    if choices is not None and choices < 0:
        raise ValueError(f"{config.at('candidateCount')} must be at least 1")
    return choices or 1


def _read_tools(fields: ProtoFields, lost: Lost, strict: bool | None) -> list[Tool]:
    """The declared functions. Tools that Google runs are kept as they are."""
    tools: list[Tool] = []
    others: list[Json] = []
    for tool in fields.each("tools"):
        tools += [_read_function(function, strict) for function in tool.each("functionDeclarations")]
        others += [rest] if (rest := tool.rest()) else []
    if others:
        lost["tools"] = others
    return tools


def _read_function(function: ProtoFields, strict: bool | None) -> Tool:
    name, description = function.needed("name"), function.text("description")
    if function.inner("parametersJsonSchema") is not None:
        return Tool(name, description, as_dict(function.any("parametersJsonSchema")), strict)
    function.inner("parameters")
    return Tool(name, description, json_schema(as_dict(function.any("parameters"))), strict)


def _read_tool_choice(fields: ProtoFields, lost: Lost) -> tuple[ToolChoice | None, bool | None, list[str]]:
    """Return the choice, whether arguments must follow their schema, and the names of the only tools allowed (all: [])."""
    config = fields.inner("toolConfig")
    if config is None:
        return None, None, []
    calling = config.inner("functionCallingConfig")
    lost.note("toolConfig", config)
    if calling is None:
        return None, None, []
    mode = calling.name("mode")
    allowed = [name for name in calling.items("allowedFunctionNames") if isinstance(name, str)]
    lost.note("toolConfig.functionCallingConfig", calling)
    if mode in ("", "0", "MODE_UNSPECIFIED"):
        return None, None, allowed
    if mode not in _MODES:
        raise ValueError(f"{calling.at('mode')} must be AUTO, ANY, NONE or VALIDATED")
    strict = True if mode == "VALIDATED" else None
    if _MODES[mode] == "required" and len(allowed) == 1:
        return ToolChoice("named", allowed[0]), strict, []
    return ToolChoice(_MODES[mode]), strict, allowed


def _read_format(config: ProtoFields, lost: Lost) -> OutputFormat | None:
    type_ = config.text("responseMimeType").lower()
    whole, own = config.inner("responseJsonSchema"), config.inner("responseSchema")
    if type_ not in ("", "application/json", "text/plain"):
        lost["generationConfig.responseMimeType"] = type_  # text/x.enum: one of the schema's words
        if own is not None:
            lost["generationConfig.responseSchema"] = config.any("responseSchema")
        return None
    if whole is not None:
        return OutputFormat("json_schema", as_dict(config.any("responseJsonSchema")))
    if own is not None:
        return OutputFormat("json_schema", json_schema(as_dict(config.any("responseSchema"))))
    return OutputFormat("json_object") if type_ == "application/json" else None


def _read_reasoning(config: ProtoFields, lost: Lost) -> ReasoningSettings | None:
    """A budget below 0 is the model's own choice: not said, but kept."""
    thinking = config.inner("thinkingConfig")
    if thinking is None:
        return None
    budget, level = thinking.whole("thinkingBudget"), thinking.name("thinkingLevel").lower()
    summary = thinking.flag("includeThoughts")
    lost.note("generationConfig.thinkingConfig", thinking)
    if budget is not None and budget < 0:
        lost["generationConfig.thinkingConfig.thinkingBudget"], budget = budget, None
    level = "" if level == "thinking_level_unspecified" else level
    if not level and budget is None and summary is None:
        return None
    return ReasoningSettings(level, budget, summary)


def write_request(conversation: Conversation) -> Written:
    """Write a request. One that was read from this dialect keeps its own words wherever it is unchanged. Raises Inexpressible.

    The path is below a base_url that ends in the version (`/v1beta`), on Vertex AI in `/publishers/google`.
    """
    verb = "streamGenerateContent?alt=sse" if conversation.stream else "generateContent"
    extras = conversation.extras
    outer = extras.get("request") if conversation.dialect == DIALECT else None
    if isinstance(outer, dict):
        inner = {key: value for key, value in extras.items() if key != "request"}
        kept = Kept(inner, extras.body, extras.model) if isinstance(extras, Kept) else inner
        body, dropped = _write(replace(conversation, extras=kept))
        whole = {**outer, "model": conversation.model, "request": body}
        return Written(f"/v1internal:{verb}", whole, tuple(sorted(dropped)))
    body, dropped = _write(conversation)
    name = conversation.model.removeprefix("models/")
    if any(part in ("", ".", "..") for part in name.split("/")):  # a server would read another path out of it
        raise ValueError("model must be a name without empty or dotted parts")
    collection = "" if name.startswith(("tunedModels/", "endpoints/")) else "models/"
    return Written(f"/{collection}{quote(name, safe='/@')}:{verb}", body, tuple(sorted(dropped)))


def adapt(body: Json, asked: str, model: str) -> tuple[Json, tuple[str, ...]]:
    """Return the body for a model, less what it is known to refuse, and what that leaves out. A body that cannot be read stays as
    it is: its provider says what is wrong. Raises Inexpressible."""
    inner = as_dict(body.get("request")) or body  # Code Assist's
    try:
        conversation = _read(model, inner, stream=True)
    except ValueError:
        return body, ()
    check_begun(conversation, DIALECT)
    dropped = set[str]()
    said = say_anew(conversation, inner, dropped)
    return (said if inner is body else {**body, "request": said}), tuple(sorted(dropped))


def _write(conversation: Conversation) -> tuple[Json, set[str]]:
    def read(_: str, body: Json) -> Conversation:
        return _read(conversation.model, body, stream=conversation.stream)

    body, dropped = write_body(conversation, DIALECT, ATTRIBUTES, read)
    if conversation.dialect == DIALECT and not body_of(conversation, DIALECT):
        for attribute in ATTRIBUTES:  # extras too are said there
            attribute.write(conversation, body, dropped)
    if (
        isinstance(kept := conversation.extras, Kept)
        and kept.model != conversation.model
        and conversation.dialect == DIALECT
    ):
        body = say_anew(_read(conversation.model, body, stream=True), body, dropped)
    body.pop("model", None)  # it is in the path
    return body, dropped
