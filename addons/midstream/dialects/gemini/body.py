"""How each part of a conversation is said in the body of a request to Gemini."""

from __future__ import annotations

from midstream.conversation import Conversation, Inexpressible
from midstream.dialects.body_table import Attribute, Lost, body_of, check_end
from midstream.dialects.gemini.contents import DIALECT, turns_of
from midstream.dialects.gemini.fields import ProtoFields
from midstream.dialects.gemini.thinking import generation, write_thinking
from midstream.dialects.gemini.writing import ContentsWriter
from midstream.wire.json_text import Json

STOP_LIMIT = 5
"""Stop sequences that Gemini takes."""

_CONFIG = "generationConfig."
_SAMPLING = {
    "max_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}


def _write_messages(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    """Messages that were read from this dialect, and are still there, are sent as they came."""
    before = body_of(conversation, DIALECT)
    turns = turns_of(ProtoFields(before), Lost()) if before is not None else []
    writer = ContentsWriter(conversation, dropped)
    at = 0
    for message in conversation.messages:
        same = next((n for n in range(at, len(turns)) if turns[n].message() == message), None)
        raw = None if same is None else next(iter(turns[same].raw), None)
        at = at if same is None else same + 1
        writer.write(message, raw)
    if not writer.contents:  # Gemini answers a user's words only
        writer.contents, writer.system = [{"role": "user", "parts": writer.system or [{"text": ""}]}], []
    if before is None:
        check_end(conversation, assistants=writer.contents[-1]["role"] == "model")
    if writer.system:
        body["systemInstruction"] = {"parts": writer.system}
    body["contents"] = writer.contents


def _write_tools(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    functions: list[Json] = []
    for tool in conversation.tools:
        function: Json = {"name": tool.name, "description": tool.description}
        if not tool.description:
            del function["description"]
        if tool.parameters:
            function["parametersJsonSchema"] = dict(tool.parameters)
        functions.append(function)
    others = conversation.extras.get("tools", ()) if conversation.dialect == DIALECT else ()
    tools = [*([{"functionDeclarations": functions}] if functions else []), *others]
    if tools:
        body["tools"] = tools
    _write_tool_config(conversation, body)


def _write_tool_config(conversation: Conversation, body: Json) -> None:
    """VALIDATED is AUTO whose calls follow their schemas."""
    config = _kept(conversation, "toolConfig.", {})
    choice = conversation.tool_choice
    strict = any(tool.strict for tool in conversation.tools)
    if conversation.tools and (choice is not None or strict):
        mode = _MODES[choice.mode] if choice else "AUTO"
        calling: Json = {"mode": "VALIDATED" if mode == "AUTO" and strict else mode}
        if choice is not None and choice.mode == "named":
            calling["allowedFunctionNames"] = [choice.name]
        config["functionCallingConfig"] = calling | config.get("functionCallingConfig", {})
    if config:
        body["toolConfig"] = config


def _write_config(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    """generationConfig, whole: what it says anew, over what was there that no field here holds."""
    written: Json = {}
    for attribute, name in _SAMPLING.items():
        if (value := getattr(conversation, attribute)) is not None:
            written[name] = value
    if len(conversation.stop) > STOP_LIMIT and conversation.dialect != DIALECT:
        raise Inexpressible(f"more than {STOP_LIMIT} stop sequences")
    if conversation.stop:
        written["stopSequences"] = list(conversation.stop)
    if conversation.choices > 1:
        written["candidateCount"] = conversation.choices
    written |= _format(conversation)
    own = conversation.dialect == DIALECT
    if conversation.reasoning is not None and (
        thinking := write_thinking(conversation.reasoning, conversation.model, own=own, dropped=dropped)
    ):
        written["thinkingConfig"] = thinking
    if written := _kept(conversation, _CONFIG, written):
        body["generationConfig"] = written


def _format(conversation: Conversation) -> Json:
    format_ = conversation.output_format
    if format_ is None:
        return {}
    own = conversation.dialect == DIALECT
    if conversation.tools and not own and generation(conversation.model) != "level":
        raise Inexpressible("tools together with a response format")  # a 400 before Gemini 3
    written: Json = {"responseMimeType": "application/json"}
    return {**written, "responseJsonSchema": dict(format_.schema)} if format_.kind == "json_schema" else written


def _kept(conversation: Conversation, prefix: str, written: Json) -> Json:
    """Add the extras whose path begins so: `generationConfig.thinkingConfig.thinkingBudget`."""
    if conversation.dialect != DIALECT:
        return written
    for path, value in conversation.extras.items():
        if path.startswith(prefix):
            *groups, name = path.removeprefix(prefix).split(".")
            at = written
            for group in groups:
                at = at.setdefault(group, {})
            at.setdefault(name, value)
    return written


def _drop(name: str) -> Attribute:
    def write(conversation: Conversation, body: Json, dropped: set[str]) -> None:
        if getattr(conversation, name) not in (None, "", True):
            dropped.add(name)

    return Attribute((name,), (), write)


ATTRIBUTES = (
    Attribute(("messages",), ("contents", "systemInstruction", "system_instruction"), _write_messages),
    Attribute(("tools", "tool_choice"), ("tools", "toolConfig", "tool_config"), _write_tools),
    Attribute(
        (*_SAMPLING, "stop", "choices", "output_format", "reasoning"),
        ("generationConfig", "generation_config"),
        _write_config,
    ),
    _drop("parallel_tool_calls"),
    _drop("user"),
)
