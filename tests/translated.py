"""Requests in five dialects' own words that say one thing each, for the tests of translation."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from midstream.conversation import (
    Conversation,
    MediaPart,
    ReasoningPart,
    TextPart,
    ToolResultPart,
    ToolUsePart,
    Written,
)
from midstream.dialects.anthropic.messages import ANTHROPIC_MESSAGES
from midstream.dialects.base import Dialect
from midstream.dialects.gemini.generate import GEMINI
from midstream.dialects.ollama.chat import OLLAMA
from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.dialects.openai.responses import OPENAI_RESPONSES

CHAT, RESPONSES, ANTHROPIC, GOOGLE, OLLAMAS = (
    "openai_chat",
    "openai_responses",
    "anthropic_messages",
    "gemini",
    "ollama",
)
DIALECTS: dict[str, Dialect] = {d.name: d for d in (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES, GEMINI, OLLAMA)}
MODELS = {
    CHAT: "gpt-4.1",
    RESPONSES: "gpt-4.1",
    ANTHROPIC: "claude-haiku-4-5",
    GOOGLE: "gemini-2.5-flash",
    OLLAMAS: "qwen3",
}
"""The model that each target is asked for; where another would be answered otherwise, a table of its own says so."""

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # a pixel
PDF = b64encode(b"%PDF-1.4 words").decode()
WAV = b64encode(b"RIFF....WAVEfmt ").decode()
WORDS = b64encode(b"some words").decode()
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
STRICT = {**PARAMETERS, "additionalProperties": False}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}

type Body = dict[str, Any]


def body_of(source: str, **more: Any) -> Body:
    """A request that says hi, with fields laid over it."""
    bases: dict[str, Body] = {
        CHAT: {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
        RESPONSES: {"model": "m", "input": [{"role": "user", "content": "hi"}]},
        ANTHROPIC: {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]},
        GOOGLE: {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
        OLLAMAS: {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    }
    return {**bases[source], **more}


def path_of(source: str, model: str = "m") -> str:
    return {
        CHAT: "/v1/chat/completions",
        RESPONSES: "/v1/responses",
        ANTHROPIC: "/v1/messages",
        GOOGLE: f"/v1beta/models/{model}:generateContent",
        OLLAMAS: "/api/chat",
    }[source]


def read(source: str, body: Body, model: str = "m") -> Conversation:
    reader = DIALECTS[source].read_conversation
    assert reader is not None
    return replace(reader(path_of(source, model), body), stream=False)


def write(target: str, conversation: Conversation, model: str = "") -> Written:
    writer = DIALECTS[target].write_request
    assert writer is not None
    return writer(replace(conversation, model=model or MODELS[target]))


def again(target: str, written: Written, model: str = "") -> Conversation:
    """What the target's own reader makes of what was written for it."""
    return read(target, dict(written.body), model or MODELS[target])


def tools_of(source: str, parameters: Any = PARAMETERS, *, strict: bool | None = None) -> Body:
    """The fields that offer one tool, `weather`."""
    more = {} if strict is None else {"strict": strict}
    function = {"name": "weather", "description": "The weather.", "parameters": parameters, **more}
    declared = {"name": "weather", "description": "The weather."}
    return {
        CHAT: {"tools": [{"type": "function", "function": function}]},
        RESPONSES: {"tools": [{"type": "function", "strict": False, **function}]},
        ANTHROPIC: {"tools": [{**declared, "input_schema": parameters, **more}]},
        GOOGLE: {"tools": [{"functionDeclarations": [{**declared, "parametersJsonSchema": parameters}]}]},
        OLLAMAS: {"tools": [{"type": "function", "function": function}]},
    }[source]


def calls_of(source: str, result: Any = "rain", **more: Any) -> Body:
    """The fields of a conversation with a tool call and its result; more: fields of the result."""
    asks = {"role": "user", "content": "weather?"}
    arguments, object_ = '{"city": "Bonn"}', {"city": "Bonn"}
    function = {"name": "weather", "arguments": arguments}
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": object_}
    answer = {"type": "tool_result", "tool_use_id": "toolu_1", "content": result, **more}
    reply = {"name": "weather", "response": {"output": result}, **more}
    turns: Body = {
        CHAT: [
            asks,
            {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": "call_1", "content": result, **more},
        ],
        RESPONSES: [
            asks,
            {"type": "function_call", "call_id": "call_1", **function},
            {"type": "function_call_output", "call_id": "call_1", "output": result, **more},
        ],
        ANTHROPIC: [asks, {"role": "assistant", "content": [use]}, {"role": "user", "content": [answer]}],
        GOOGLE: [
            {"role": "user", "parts": [{"text": "weather?"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": object_}}]},
            {"role": "user", "parts": [{"functionResponse": reply}]},
        ],
        OLLAMAS: [
            asks,
            {"role": "assistant", "content": "", "tool_calls": [{"function": {**function, "arguments": object_}}]},
            {"role": "tool", "tool_name": "weather", "content": result, **more},
        ],
    }
    return {_TURNS[source]: turns[source], **tools_of(source)}


_TURNS = {CHAT: "messages", RESPONSES: "input", ANTHROPIC: "messages", GOOGLE: "contents", OLLAMAS: "messages"}


def user(source: str, *content: Any) -> Body:
    """One user's message of these parts, in the dialect's own words."""
    key = "parts" if source == GOOGLE else "content"
    return {_TURNS[source]: [{"role": "user", key: list(content)}]}


def turns(source: str, *messages: tuple[str, str]) -> Body:
    """Messages of (role, text)."""
    if source == GOOGLE:
        roles = {"assistant": "model", "user": "user"}
        return {"contents": [{"role": roles[role], "parts": [{"text": text}]} for role, text in messages]}
    return {_TURNS[source]: [{"role": role, "content": text} for role, text in messages]}


def config(**more: Any) -> Body:
    return {"generationConfig": more}


def options(**more: Any) -> Body:
    return {"options": more}


def texts(conversation: Conversation, role: str = "user") -> str:
    parts = [part for m in conversation.messages if m.role == role for part in m.parts]
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))


def roles(conversation: Conversation) -> list[tuple[str, str]]:
    """Each message's role and text, system messages that stand together as one."""
    said: list[tuple[str, str]] = []
    for message in conversation.messages:
        text = "\n\n".join(part.text for part in message.parts if isinstance(part, TextPart))
        if said and said[-1][0] == message.role == "system":
            said[-1] = ("system", f"{said[-1][1]}\n\n{text}")
        else:
            said.append((message.role, text))
    return said


def media(conversation: Conversation) -> list[tuple[str, str, str]]:
    """Each medium, also of tool results: its kind, its base64 and its URL."""
    found: list[tuple[str, str, str]] = []
    for part in (part for message in conversation.messages for part in message.parts):
        inner = part.content if isinstance(part, ToolResultPart) else (part,)
        found += [(m.kind, m.data, m.url) for m in inner if isinstance(m, MediaPart)]
    return found


def calls(conversation: Conversation) -> list[tuple[str, ...]]:
    """Each tool call, and each result with the name of the call that it answers; a failure is the result's last word."""
    names: dict[str, str] = {}
    said: list[tuple[str, ...]] = []
    for part in (part for message in conversation.messages for part in message.parts):
        match part:
            case ToolUsePart(id=id_, name=name, arguments=arguments):
                names[id_] = name
                said.append((name, arguments.replace(" ", "")))
            case ToolResultPart(id=id_):
                text = "\n".join(p.text for p in part.content if isinstance(p, TextPart))
                said.append((names[id_], text, "failed" if part.is_error else ""))
            case _:
                pass
    return said


def thoughts(conversation: Conversation) -> int:
    return sum(isinstance(part, ReasoningPart) for message in conversation.messages for part in message.parts)


def may_call(conversation: Conversation) -> str:
    """How tools may be used; none where there are none."""
    choice = conversation.tool_choice
    mode = choice.mode if choice else "auto"
    return f"{mode} {choice.name if choice else ''}".strip() if conversation.tools else "none"


def offered(conversation: Conversation) -> list[Any]:
    return [(tool.name, tool.description, dict(tool.parameters)) for tool in conversation.tools]


def field(name: str) -> Callable[[Conversation], Any]:
    return lambda conversation: getattr(conversation, name)


def nothing(_: Conversation) -> Any:
    """For what no field of a conversation holds."""
    return None


@dataclass(frozen=True)
class Feature:
    """One thing that a request can say. says: the fields that say it, by dialect; means: what must come back the same."""

    says: dict[str, Body]
    means: Callable[[Conversation], Any] = nothing


def everywhere(make: Callable[[str], Body], *sources: str) -> dict[str, Body]:
    return {source: make(source) for source in sources or DIALECTS}


def same(name: str, value: Any, *sources: str) -> dict[str, Body]:
    """The same field in each."""
    return {source: {name: value} for source in sources}


def _choice(mode: str) -> dict[str, Body]:
    """auto, none, required or named, of one tool."""
    chat = {"type": "function", "function": {"name": "weather"}} if mode == "named" else mode
    responses = {"type": "function", "name": "weather"} if mode == "named" else mode
    kind = {"required": "any", "named": "tool"}.get(mode, mode)
    anthropic = {"type": kind, "name": "weather"} if mode == "named" else {"type": kind}
    calling: Body = {"mode": {"auto": "AUTO", "none": "NONE"}.get(mode, "ANY")}
    if mode == "named":
        calling["allowedFunctionNames"] = ["weather"]
    return {
        CHAT: {**tools_of(CHAT), "tool_choice": chat},
        RESPONSES: {**tools_of(RESPONSES), "tool_choice": responses},
        ANTHROPIC: {**tools_of(ANTHROPIC), "tool_choice": anthropic},
        GOOGLE: {**tools_of(GOOGLE), "toolConfig": {"functionCallingConfig": calling}},
    }


def _schema(schema: Any = SCHEMA) -> dict[str, Body]:
    json_schema = {"name": "answer", "strict": True, "schema": schema}
    return {
        CHAT: {"response_format": {"type": "json_schema", "json_schema": json_schema}},
        RESPONSES: {"text": {"format": {"type": "json_schema", **json_schema}}},
        ANTHROPIC: {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
        GOOGLE: config(responseMimeType="application/json", responseJsonSchema=schema),
        OLLAMAS: {"format": schema},
    }


def _with_tools(says: dict[str, Body]) -> dict[str, Body]:
    return {source: {**said, **tools_of(source)} for source, said in says.items()}


def _stops(count: int, *sources: str) -> dict[str, Body]:
    words = [f"stop{n}" for n in range(count)]
    said = {CHAT: {"stop": words}, ANTHROPIC: {"stop_sequences": words}, GOOGLE: config(stopSequences=words)}
    said[OLLAMAS] = options(stop=words)
    return {source: said[source] for source in sources}


def _sampling(name: str, value: Any, *sources: str, google: str = "") -> dict[str, Body]:
    said: dict[str, Body] = {source: {name: value} for source in (CHAT, RESPONSES, ANTHROPIC)}
    said |= {GOOGLE: config(**{google or name: value}), OLLAMAS: options(**{name: value})}
    return {source: said[source] for source in sources}


def _output(conversation: Conversation) -> Any:
    format_ = conversation.output_format
    return format_ and (format_.kind, dict(format_.schema))


def _thinking(chat: str, anthropic: Body, **google: Any) -> dict[str, Body]:
    said: dict[str, Body] = {
        CHAT: {"reasoning_effort": chat},
        RESPONSES: {"reasoning": {"effort": chat}},
        ANTHROPIC: anthropic,
    }
    return {**said, GOOGLE: config(thinkingConfig=google)}


_IMAGE = f"data:image/png;base64,{PNG}"
_PICTURE = {
    CHAT: {"type": "image_url", "image_url": {"url": _IMAGE}},
    RESPONSES: {"type": "input_image", "image_url": _IMAGE},
    ANTHROPIC: {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
    GOOGLE: {"inlineData": {"mimeType": "image/png", "data": PNG}},
}
_WEB = "https://example.com/a"


def _fetched(kind: str, mime_type: str) -> dict[str, Body]:
    """An image or a document by URL."""
    url = f"{_WEB}.{mime_type.partition('/')[2]}"
    source = {"type": kind, "source": {"type": "url", "url": url}}
    return {
        ANTHROPIC: user(ANTHROPIC, source),
        GOOGLE: user(GOOGLE, {"fileData": {"mimeType": mime_type, "fileUri": url}}),
    }


def _file(mime_type: str, data: str) -> dict[str, Body]:
    url = f"data:{mime_type};base64,{data}"
    source: Body = {"type": "base64", "media_type": mime_type, "data": data}
    if mime_type == "text/plain":
        source = {"type": "text", "media_type": mime_type, "data": "some words"}
    return {
        CHAT: user(CHAT, {"type": "file", "file": {"filename": "a", "file_data": url}}),
        RESPONSES: user(RESPONSES, {"type": "input_file", "filename": "a", "file_data": url}),
        ANTHROPIC: user(ANTHROPIC, {"type": "document", "source": source}),
        GOOGLE: user(GOOGLE, {"inlineData": {"mimeType": mime_type, "data": data}}),
    }


def _turn_before(**assistant: Any) -> Body:
    """A chat whose assistant answered so before."""
    turn = {"role": "assistant", "content": "b", **assistant}
    return {"messages": [{"role": "user", "content": "a"}, turn, {"role": "user", "content": "c"}]}


FEATURES: dict[str, Feature] = {
    # messages
    "system prompt": Feature(
        {
            CHAT: turns(CHAT, ("system", "be brief"), ("user", "hi")),
            RESPONSES: {"instructions": "be brief"},
            ANTHROPIC: {"system": "be brief"},
            GOOGLE: {"systemInstruction": {"parts": [{"text": "be brief"}]}},
            OLLAMAS: turns(OLLAMAS, ("system", "be brief"), ("user", "hi")),
        },
        roles,
    ),
    "system message between others": Feature(
        everywhere(
            lambda s: turns(s, ("user", "a"), ("system", "be brief"), ("user", "b")),
            CHAT,
            RESPONSES,
            ANTHROPIC,
            OLLAMAS,
        ),
        lambda c: (texts(c, "system"), texts(c)),
    ),
    "several turns": Feature(everywhere(lambda s: turns(s, ("user", "a"), ("assistant", "b"), ("user", "c"))), roles),
    "assistant's turn last, to go on with (prefill)": Feature(
        everywhere(lambda s: turns(s, ("user", "a"), ("assistant", "b")), ANTHROPIC, GOOGLE, OLLAMAS), roles
    ),
    "assistant's turn last, finished (OpenAI's)": Feature(
        everywhere(lambda s: turns(s, ("user", "a"), ("assistant", "b")), CHAT, RESPONSES), roles
    ),
    "assistant's turn first": Feature(
        everywhere(lambda s: turns(s, ("assistant", "a"), ("user", "b"))),
        lambda c: (texts(c, "assistant"), "b" in texts(c)),
    ),
    "name of a participant": Feature({CHAT: {"messages": [{"role": "user", "name": "ann", "content": "hi"}]}}, texts),
    "refusal of an earlier turn": Feature(
        {CHAT: _turn_before(content=None, refusal="no")}, lambda c: texts(c, "assistant")
    ),
    "reasoning of an earlier turn": Feature(
        {
            CHAT: _turn_before(reasoning_content="hm"),
            RESPONSES: {
                "input": [
                    {"role": "user", "content": "a"},
                    {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"},
                    {"role": "assistant", "content": "b"},
                    {"role": "user", "content": "c"},
                ]
            },
            ANTHROPIC: _turn_before(
                content=[{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "b"}]
            ),
            GOOGLE: {
                "contents": [
                    {"role": "user", "parts": [{"text": "a"}]},
                    {
                        "role": "model",
                        "parts": [{"text": "hm", "thought": True}, {"text": "b", "thoughtSignature": "s"}],
                    },
                    {"role": "user", "parts": [{"text": "c"}]},
                ]
            },
            OLLAMAS: _turn_before(thinking="hm"),
        },
        roles,
    ),
    "audio of an earlier answer": Feature({CHAT: _turn_before(audio={"id": "audio_1"})}),
    "server tools of an earlier turn": Feature(
        {
            RESPONSES: {
                "input": [
                    {"role": "user", "content": "a"},
                    {"type": "web_search_call", "id": "ws_1", "status": "completed"},
                    {"role": "assistant", "content": "b"},
                ]
            },
        },
        roles,
    ),
    "prompt caching marks": Feature(
        {
            ANTHROPIC: user(ANTHROPIC, {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}),
            CHAT: user(CHAT, {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}),
        },
        texts,
    ),
    # media
    "image, inline": Feature(
        {
            **{source: user(source, part) for source, part in _PICTURE.items()},
            OLLAMAS: {"messages": [{"role": "user", "content": "", "images": [PNG]}]},
        },
        media,
    ),
    "image by URL": Feature(
        {
            CHAT: user(CHAT, {"type": "image_url", "image_url": {"url": f"{_WEB}.png"}}),
            RESPONSES: user(RESPONSES, {"type": "input_image", "image_url": f"{_WEB}.png"}),
            **_fetched("image", "image/png"),
        },
        media,
    ),
    "image detail": Feature(
        {
            CHAT: user(CHAT, {"type": "image_url", "image_url": {"url": _IMAGE, "detail": "low"}}),
            RESPONSES: user(RESPONSES, {"type": "input_image", "image_url": _IMAGE, "detail": "low"}),
        },
        media,
    ),
    "audio, inline (wav, mp3)": Feature(
        {
            CHAT: user(CHAT, {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}),
            GOOGLE: user(GOOGLE, {"inlineData": {"mimeType": "audio/wav", "data": WAV}}),
        },
        media,
    ),
    "audio by URL, or of another format": Feature(
        {
            CHAT: user(CHAT, {"type": "input_audio", "input_audio": f"{_WEB}.wav"}),
            GOOGLE: user(GOOGLE, {"fileData": {"mimeType": "audio/wav", "fileUri": f"{_WEB}.wav"}}),
        },
        media,
    ),
    "video": Feature(
        {
            CHAT: user(CHAT, {"type": "video_url", "video_url": {"url": f"{_WEB}.mp4"}}),
            GOOGLE: user(GOOGLE, {"fileData": {"mimeType": "video/mp4", "fileUri": f"{_WEB}.mp4"}}),
        },
        media,
    ),
    "PDF, inline": Feature(_file("application/pdf", PDF), media),
    "PDF by URL": Feature(
        {
            RESPONSES: user(RESPONSES, {"type": "input_file", "file_url": f"{_WEB}.pdf"}),
            **_fetched("document", "application/pdf"),
        },
        media,
    ),
    "text file, inline": Feature(
        _file("text/plain", WORDS), lambda c: "some words" in texts(c) or media(c)[0][1] == WORDS
    ),
    "other file, inline": Feature(
        {s: said for s, said in _file("application/zip", WORDS).items() if s != ANTHROPIC}, media
    ),
    "medium that only its own provider can find": Feature(
        {
            CHAT: user(CHAT, {"type": "file", "file": {"file_id": "file-1"}}),
            RESPONSES: user(RESPONSES, {"type": "input_image", "file_id": "file-1"}),
            ANTHROPIC: user(ANTHROPIC, {"type": "document", "source": {"type": "file", "file_id": "file_1"}}),
            GOOGLE: user(
                GOOGLE,
                {
                    "fileData": {
                        "mimeType": "application/pdf",
                        "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/1",
                    }
                },
            ),
        },
        media,
    ),
    # tools
    "tools": Feature(everywhere(tools_of), offered),
    "strict tools": Feature(
        {
            **everywhere(lambda s: tools_of(s, STRICT, strict=True), CHAT, RESPONSES, ANTHROPIC),
            GOOGLE: {**tools_of(GOOGLE, STRICT), "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}}},
        },
        lambda c: (offered(c), [tool.strict for tool in c.tools]),
    ),
    "legacy functions": Feature(
        {
            CHAT: {
                "functions": [{"name": "weather", "description": "The weather.", "parameters": PARAMETERS}],
                "function_call": "auto",
                "messages": [
                    {"role": "user", "content": "weather?"},
                    {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}},
                    {"role": "function", "name": "weather", "content": "rain"},
                ],
            }
        },
        lambda c: (offered(c), calls(c)),
    ),
    "tools of the provider": Feature(
        {
            CHAT: {"tools": [{"type": "custom", "custom": {"name": "f"}}]},
            RESPONSES: {"tools": [{"type": "web_search"}]},
            ANTHROPIC: {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            GOOGLE: {"tools": [{"googleSearch": {}}]},
        }
    ),
    "tool call and its result": Feature(everywhere(calls_of), calls),
    "image in a tool's result": Feature(
        {
            RESPONSES: calls_of(RESPONSES, [_PICTURE[RESPONSES]]),
            ANTHROPIC: calls_of(ANTHROPIC, [_PICTURE[ANTHROPIC]]),
            GOOGLE: calls_of(GOOGLE, "", parts=[_PICTURE[GOOGLE]]),
            OLLAMAS: calls_of(OLLAMAS, "", images=[PNG]),
        },
        media,
    ),
    "failure of a tool (`is_error`)": Feature(
        {
            ANTHROPIC: calls_of(ANTHROPIC, "no", is_error=True),
            GOOGLE: calls_of(GOOGLE, "", response={"error": "no"}),
        },
        calls,
    ),
    "tool choice auto": Feature(_choice("auto"), may_call),
    "tool choice none": Feature(_choice("none"), lambda c: may_call(c).startswith("none")),
    "tool choice required": Feature(_choice("required"), may_call),
    "tool choice of one tool": Feature(_choice("named"), may_call),
    "tool choice of some tools": Feature(
        {
            CHAT: {
                **tools_of(CHAT),
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
            },
            RESPONSES: {**tools_of(RESPONSES), "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}},
        }
    ),
    "`parallel_tool_calls: false`": Feature(
        {
            CHAT: {**tools_of(CHAT), "parallel_tool_calls": False},
            RESPONSES: {**tools_of(RESPONSES), "parallel_tool_calls": False},
            ANTHROPIC: {**tools_of(ANTHROPIC), "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        },
        field("parallel_tool_calls"),
    ),
    # structured output
    "any JSON object": Feature(
        {
            CHAT: {"response_format": {"type": "json_object"}},
            RESPONSES: {"text": {"format": {"type": "json_object"}}},
            GOOGLE: config(responseMimeType="application/json"),
            OLLAMAS: {"format": "json"},
        },
        _output,
    ),
    "JSON by a schema": Feature(_schema(), _output),
    "JSON by a schema, beside tools": Feature(_with_tools(_schema()), _output),
    "schema of an object with any keys": Feature(_schema({"type": "object"}), _output),
    "schema with a constraint on numbers": Feature(
        _schema({**SCHEMA, "properties": {"name": {"type": "integer", "minimum": 3}}}), nothing
    ),
    # sampling
    "stop sequences, up to 4": Feature(_stops(4, CHAT, ANTHROPIC, GOOGLE, OLLAMAS), field("stop")),
    "5 stop sequences": Feature(_stops(5, ANTHROPIC, GOOGLE, OLLAMAS), field("stop")),
    "6 stop sequences and more": Feature(_stops(6, ANTHROPIC, OLLAMAS), field("stop")),
    "stop sequence of white space": Feature(
        {CHAT: {"stop": "\n"}, GOOGLE: config(stopSequences=["\n"]), OLLAMAS: options(stop=["\n"])}, field("stop")
    ),
    "temperature up to 1": Feature(_sampling("temperature", 0.5, *DIALECTS), field("temperature")),
    "temperature over 1": Feature(
        _sampling("temperature", 1.5, CHAT, RESPONSES, GOOGLE, OLLAMAS), field("temperature")
    ),
    "temperature together with `top_p`": Feature(
        {
            CHAT: {"temperature": 0.5, "top_p": 0.5},
            RESPONSES: {"temperature": 0.5, "top_p": 0.5},
            GOOGLE: config(temperature=0.5, topP=0.5),
            OLLAMAS: options(temperature=0.5, top_p=0.5),
        },
        lambda c: (c.temperature, c.top_p),
    ),
    "`top_p`": Feature(_sampling("top_p", 0.5, *DIALECTS, google="topP"), field("top_p")),
    "`top_k`": Feature(_sampling("top_k", 5, CHAT, ANTHROPIC, GOOGLE, OLLAMAS, google="topK"), field("top_k")),
    "seed": Feature(_sampling("seed", 5, CHAT, GOOGLE, OLLAMAS), field("seed")),
    "presence penalty": Feature(
        _sampling("presence_penalty", 0.5, CHAT, GOOGLE, OLLAMAS, google="presencePenalty"), field("presence_penalty")
    ),
    "frequency penalty": Feature(
        _sampling("frequency_penalty", 0.5, CHAT, GOOGLE, OLLAMAS, google="frequencyPenalty"),
        field("frequency_penalty"),
    ),
    "several choices (`n`)": Feature({CHAT: {"n": 2}, GOOGLE: config(candidateCount=2)}, field("choices")),
    "log probabilities": Feature(
        {CHAT: {"logprobs": True}, GOOGLE: config(responseLogprobs=True), OLLAMAS: {"logprobs": True}}
    ),
    "`logit_bias`": Feature({CHAT: {"logit_bias": {"50256": -100}}}),
    # length
    "most tokens of the answer": Feature(
        {
            CHAT: {"max_completion_tokens": 100},
            RESPONSES: {"max_output_tokens": 100},
            ANTHROPIC: {"max_tokens": 100},
            GOOGLE: config(maxOutputTokens=100),
            OLLAMAS: options(num_predict=100),
        },
        field("max_tokens"),
    ),
    "fewer than 16 tokens": Feature(
        {
            CHAT: {"max_tokens": 5},
            ANTHROPIC: {"max_tokens": 5},
            GOOGLE: config(maxOutputTokens=5),
            OLLAMAS: options(num_predict=5),
        },
        field("max_tokens"),
    ),
    "100,000 tokens": Feature(
        {
            CHAT: {"max_tokens": 100_000},
            RESPONSES: {"max_output_tokens": 100_000},
            ANTHROPIC: {"max_tokens": 100_000},
            GOOGLE: config(maxOutputTokens=100_000),
            OLLAMAS: options(num_predict=100_000),
        },
        field("max_tokens"),
    ),
    # reasoning
    "how much to think": Feature(
        _thinking(
            "medium",
            {"max_tokens": 20_000, "thinking": {"type": "enabled", "budget_tokens": 8192}},
            thinkingBudget=8192,
        ),
        lambda c: c.reasoning is not None,
    ),
    "not to think": Feature(
        {
            **_thinking("none", {"thinking": {"type": "disabled"}}, thinkingBudget=0),
            OLLAMAS: {"think": False},
        },
        nothing,
    ),
    "to show the reasoning": Feature(
        {
            RESPONSES: {"reasoning": {"effort": "medium", "summary": "auto"}},
            ANTHROPIC: {
                "max_tokens": 20_000,
                "thinking": {"type": "enabled", "budget_tokens": 8192, "display": "summarized"},
            },
            GOOGLE: config(thinkingConfig={"thinkingBudget": 8192, "includeThoughts": True}),
        },
        lambda c: c.reasoning is not None,
    ),
    # the rest
    "user": Feature(
        {CHAT: {"user": "u1"}, RESPONSES: {"user": "u1"}, ANTHROPIC: {"metadata": {"user_id": "u1"}}}, field("user")
    ),
    "user who is an e-mail address": Feature(same("user", "ann@example.com", CHAT, RESPONSES), field("user")),
    "`service_tier`": Feature(same("service_tier", "auto", CHAT, RESPONSES, ANTHROPIC)),
    "`metadata`": Feature(same("metadata", {"a": "b"}, CHAT, RESPONSES)),
    "`store`": Feature(same("store", True, CHAT, RESPONSES)),
    "`prompt_cache_key`": Feature(same("prompt_cache_key", "k", CHAT, RESPONSES)),
    "`safety_identifier`": Feature(same("safety_identifier", "k", CHAT, RESPONSES)),
    "`verbosity`": Feature({CHAT: {"verbosity": "low"}, RESPONSES: {"text": {"verbosity": "low"}}}),
    "`prediction`": Feature({CHAT: {"prediction": {"type": "content", "content": "x"}}}),
    "text as the modality": Feature({CHAT: {"modalities": ["text"]}, GOOGLE: config(responseModalities=["TEXT"])}),
    "audio as an answer": Feature(
        {CHAT: {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}}
    ),
    "images as an answer": Feature({GOOGLE: config(responseModalities=["IMAGE"])}),
    "`web_search_options`": Feature({CHAT: {"web_search_options": {}}}),
    "`previous_response_id`, `conversation`": Feature({RESPONSES: {"previous_response_id": "resp_1"}}),
    "`prompt`": Feature({RESPONSES: {"prompt": {"id": "pmpt_1"}}}),
    "`background`": Feature({RESPONSES: {"background": True}}),
    "`truncation`": Feature({RESPONSES: {"truncation": "auto"}}),
    "`include`": Feature({RESPONSES: {"include": ["reasoning.encrypted_content"]}}),
    "`mcp_servers`": Feature({ANTHROPIC: {"mcp_servers": [{"type": "url", "url": "https://x.test", "name": "x"}]}}),
    "`container`": Feature({ANTHROPIC: {"container": "container_1"}}),
    "`context_management`": Feature({ANTHROPIC: {"context_management": {"edits": []}}}),
    "`cachedContent`": Feature({GOOGLE: {"cachedContent": "cachedContents/1"}}),
    "`safetySettings`": Feature(
        {GOOGLE: {"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]}}
    ),
    "`speechConfig`": Feature({GOOGLE: config(speechConfig={"languageCode": "de"})}),
    "`keep_alive`": Feature({OLLAMAS: {"keep_alive": "5m"}}),
    "options of the server (`num_ctx`)": Feature({OLLAMAS: options(num_ctx=4096)}),
}
"""By the name of its row in the table of docs/translation.md."""
