"""A request to Ollama's /api/chat or /api/generate ⇄ one in no provider's words.

https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from midstream.conversation import (
    Conversation,
    Inexpressible,
    OutputFormat,
    Part,
    ReasoningSettings,
    TextPart,
    Tool,
    Written,
)
from midstream.dialects.body_table import Attribute, Kept, Lost, Turn, body_of, write_body
from midstream.dialects.ollama.messages import DIALECT, MessageWriter, read_images, read_turns
from midstream.dialects.strict_fields import Fields, read_stop
from midstream.wire.json_text import Json

_OPTIONS = {
    "max_tokens": "num_predict",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
_COMPLETION = ("suffix", "raw", "context", "template")
"""What only /api/generate has, and no conversation can say."""

_LEVELS = ("low", "medium", "high")


def read_conversation(path: str, body: Json) -> Conversation:
    """Read a request. Raises ValueError naming the field that is wrong, or that only a text completion can have."""
    fields, lost = Fields(body), Lost()
    model = fields.needed("model")
    is_chat = not path.rstrip("/").endswith("/generate")
    turns = _turns(fields, lost) if is_chat else _read_prompt(fields)
    options = fields.inner("options") or Fields({}, "options")
    most = options.whole("num_predict")
    if most is not None and most < 0:
        lost["options.num_predict"], most = most, None  # -1, -2: as much as there is room for
    conversation = Conversation(
        model=model,
        messages=tuple(turn.message() for turn in turns),
        tools=tuple(_read_tool(tool) for tool in fields.each("tools")),
        max_tokens=most,
        temperature=options.number("temperature"),
        top_p=options.number("top_p"),
        top_k=options.whole("top_k"),
        stop=read_stop(options, "stop"),
        seed=options.whole("seed"),
        presence_penalty=options.number("presence_penalty"),
        frequency_penalty=options.number("frequency_penalty"),
        output_format=_read_format(fields),
        reasoning=_read_think(fields),
        stream=fields.flag("stream") is not False,
        include_usage=True,
        dialect=DIALECT,
        extras=(extras := Kept({}, body if is_chat else {})),
    )
    lost.note("options", options)
    extras.update({**fields.rest(), **lost})
    return conversation


def _turns(fields: Fields, lost: Lost) -> list[Turn]:
    turns = read_turns(fields, lost)
    if not turns:
        raise ValueError("messages must be an array of at least one message")
    return turns


def _read_prompt(fields: Fields) -> list[Turn]:
    """/api/generate's `system`, `prompt` and `images`."""
    for key in _COMPLETION:
        if fields.any(key):
            raise ValueError(f"{key} has no meaning in a chat: such a request goes to Ollama alone")
    system, prompt = fields.text("system"), fields.text("prompt")
    parts: list[Part] = [TextPart(prompt)] if prompt else []
    parts += read_images(fields)
    if not parts:
        raise ValueError("prompt is missing: it must be a string that is not empty")
    return [*([Turn("system", [TextPart(system)])] if system else []), Turn("user", parts)]


def _read_tool(tool: Fields) -> Tool:
    function = tool.inner("function")
    if function is None:
        raise ValueError(f"{tool.at('function')} is missing: it must be an object with a name")
    parameters = function.inner("parameters")
    return Tool(function.needed("name"), function.text("description"), parameters.json if parameters else {})


def _read_format(fields: Fields) -> OutputFormat | None:
    value = fields.any("format")
    if value is None or value == "":
        return None
    if value == "json":
        return OutputFormat("json_object")
    if not isinstance(value, dict):
        raise ValueError("format must be json or a JSON schema")
    return OutputFormat("json_schema", value)


def _read_think(fields: Fields) -> ReasoningSettings | None:
    """true, false, or (gpt-oss) how much."""
    value = fields.any("think")
    if value is None:
        return None
    if isinstance(value, bool):
        return ReasoningSettings(summary=True) if value else ReasoningSettings(budget=0)
    if not isinstance(value, str):
        raise ValueError("think must be true, false, low, medium or high")
    return ReasoningSettings(value, summary=True) if value else None


def write_request(conversation: Conversation) -> Written:
    """Write a request to /api/chat. One that was read from there keeps its own words wherever it is unchanged.

    Raises Inexpressible. The path is below a base_url without `/api`.
    """
    if conversation.choices > 1:
        raise Inexpressible("more than one choice")
    body, dropped = write_body(conversation, DIALECT, ATTRIBUTES, _reread)
    if conversation.dialect == DIALECT and not body_of(conversation, DIALECT):
        _write_options(conversation, body, dropped)
    body["stream"] = conversation.stream  # left out, it would be true
    return Written("/api/chat", body, tuple(sorted(dropped)))


def _reread(_: str, body: Json) -> Conversation:
    """What a kept body said; /api/generate's is not kept."""
    return read_conversation("/api/chat", body) if "messages" in body else Conversation(model="", messages=())


def _write_messages(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    before = body_of(conversation, DIALECT)
    turns = read_turns(Fields(before), Lost()) if before else []
    writer, written, at = MessageWriter(dropped), list[Json](), 0
    for message in conversation.messages:
        same = next((n for n in range(at, len(turns)) if turns[n].message() == message), None)
        if same is None:
            written += writer.write(message)
        else:
            writer.note(message)
            written += turns[same].raw
            at = same + 1
    body["messages"] = written


def _write_tools(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    """Ollama has no tool choice: without tools none is called, but nothing makes the model call one."""
    choice = conversation.tool_choice.mode if conversation.tool_choice else "auto"
    if choice in ("required", "named"):
        raise Inexpressible("tool_choice")
    if any(tool.strict for tool in conversation.tools):
        dropped.add("strict")
    if conversation.tools and choice != "none":
        body["tools"] = [_write_tool(tool) for tool in conversation.tools]


def _write_tool(tool: Tool) -> Json:
    parameters = dict(tool.parameters) or {"type": "object", "properties": {}}
    function: Json = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _write_options(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    options: Json = {}
    for attribute, name in _OPTIONS.items():
        if (value := getattr(conversation, attribute)) is not None:
            options[name] = value
    if conversation.stop:
        options["stop"] = list(conversation.stop)
    if conversation.dialect == DIALECT:
        for path, value in conversation.extras.items():
            if path.startswith("options."):
                options.setdefault(path.removeprefix("options."), value)
    if options:
        body["options"] = options


def _write_format(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    format_ = conversation.output_format
    if format_ is None:
        return
    if conversation.tools and conversation.dialect != DIALECT:
        raise Inexpressible("tools together with a response format")  # its grammar leaves no room for a call
    body["format"] = dict(format_.schema) if format_.kind == "json_schema" else "json"


def _write_think(conversation: Conversation, body: Json, dropped: set[str]) -> None:
    """A model that cannot think refuses `think: true`, and one that can thinks unless told not to: so true is said only to who
    said it first. gpt-oss thinks always, as much as it is told."""
    settings = conversation.reasoning
    if settings is None:
        return
    off = settings.effort == "none" or (not settings.effort and settings.budget is not None and settings.budget <= 0)
    own = conversation.dialect == DIALECT
    if "gpt-oss" in conversation.model and not own:
        body["think"] = "low" if off else _level(settings)
        dropped |= {"reasoning"} if off else set()
    elif off:
        body["think"] = False
    elif own:
        body["think"] = settings.effort or True
    else:
        dropped.add("reasoning")


def _level(settings: ReasoningSettings) -> str:
    if settings.effort:
        return (
            settings.effort if settings.effort in _LEVELS else "high" if settings.effort in ("xhigh", "max") else "low"
        )
    budget = 8192 if settings.budget is None else settings.budget
    return "low" if budget <= 2048 else "medium" if budget <= 12_000 else "high"


def _drop(name: str) -> Attribute:
    def write(conversation: Conversation, body: Json, dropped: set[str]) -> None:
        if getattr(conversation, name) not in (None, "", True):
            dropped.add(name)

    return Attribute((name,), (), write)


ATTRIBUTES = (
    Attribute(("messages",), ("messages",), _write_messages),
    Attribute(("tools", "tool_choice"), ("tools",), _write_tools),
    Attribute((*_OPTIONS, "stop"), ("options",), _write_options),
    Attribute(("output_format",), ("format",), _write_format),
    Attribute(("reasoning",), ("think",), _write_think),
    _drop("parallel_tool_calls"),
    _drop("user"),
)
