"""OpenAI chat's `messages` ⇄ a conversation's.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from typing import Any

from midstream.conversation import (
    Inexpressible,
    MediaPart,
    Message,
    Part,
    ReasoningPart,
    Role,
    TextPart,
    ToolResultPart,
    ToolUsePart,
)
from midstream.dialects.body_table import Lost, Turn
from midstream.dialects.openai.parts import (
    CallIds,
    audio_format,
    file_text,
    media_url,
    read_audio,
    read_image,
    result_text,
    split_data_url,
)
from midstream.dialects.strict_fields import Fields, wrong
from midstream.wire.json_text import Json, as_list, as_str

DIALECT = "openai_chat"
_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_RESULTS = ("tool", "function")


def read_turns(fields: Fields, lost: Lost) -> list[Turn]:
    """Return the messages; results of tools that stand together are one user message's parts."""
    turns: list[Turn] = []
    legacy: dict[str, str] = {}
    for n, message in enumerate(fields.each("messages")):
        role = message.needed("role")
        if role in _RESULTS:
            if not turns or not turns[-1].open:
                turns.append(Turn("user", open=True))
            turns[-1].parts.append(_read_result(message, legacy, lost))
        elif role in _ROLES:
            turns.append(Turn(_ROLES[role], _read_parts(message, role, lost)))
            if (call := message.inner("function_call")) is not None:  # before `tool_calls`, in 2023; it has no ids
                legacy[call.needed("name")] = f"call_{n}"
                turns[-1].parts.append(ToolUsePart(f"call_{n}", call.needed("name"), call.text("arguments")))
        else:
            raise ValueError(f"{message.at('role')} must be one of system, developer, user, assistant, tool")
        turns[-1].raw.append(message.json)
        lost.note("messages[]", message)
    if not turns:
        raise ValueError("messages must be an array of at least one message")
    return turns


def _read_parts(message: Fields, role: str, lost: Lost) -> list[Part]:
    if role == "assistant":
        parts: list[Part] = [*_reasoning(message), *_content(message, lost)]
        if refusal := message.text("refusal"):
            parts.append(TextPart(refusal))
        if message.any("audio"):
            parts.append(MediaPart("audio", name="audio of an earlier answer"))
        return parts + [_read_call(call, lost) for call in message.each("tool_calls")]
    if message.json.get("content") is None:
        raise ValueError(f"{message.at('content')} is missing: it must be a string or an array of parts")
    return _content(message, lost)


def _reasoning(message: Fields) -> list[Part]:
    """DeepSeek's, vLLM's and OpenRouter's; of two fields of one message both say the same."""
    texts = [as_str(message.any(key)) for key in ("reasoning_content", "reasoning", "reasoning_text")]
    details = as_list(message.any("reasoning_details"))
    said = next(filter(None, texts), "")
    said = said or "".join(as_str(d.get("text")) or as_str(d.get("summary")) for d in details if isinstance(d, dict))
    return [ReasoningPart(said, dialect=DIALECT)] if said else []


def _content(message: Fields, lost: Lost) -> list[Part]:
    content = message.any("content")
    if content is None or isinstance(content, str):
        return [TextPart(content)] if content else []
    if not isinstance(content, list):
        raise wrong(message.at("content"), "a string or an array of parts", content)
    path = message.at("content")
    return [_read_part(Fields(part, f"{path}[{n}]"), lost) for n, part in enumerate(content)]


def _read_part(part: Fields, lost: Lost) -> Part:
    kind = part.needed("type")
    read = _PARTS.get(kind)
    if read is None:  # kept for who knows it; nothing else is a target for it
        return MediaPart("file", name=f"content of type {kind[:64]}")
    said = read(part)
    lost.note("messages[].content[]", part)
    return said


def _read_image(part: Fields) -> Part:
    if isinstance(part.json.get("image_url"), str):  # Mistral's
        return read_image(part.needed("image_url"))
    image = part.inner("image_url")
    if image is None:
        raise ValueError(f"{part.at('image_url')} is missing: it must be an object with a url")
    return read_image(image.needed("url"), image.text("detail"))


def _read_audio(part: Fields) -> Part:
    if isinstance(value := part.json.get("input_audio"), str):  # Mistral's: a URL, or base64 of whatever format
        part.any("input_audio")
        return MediaPart("audio", url=value) if value.startswith("https://") else MediaPart("audio", data=value)
    audio = part.inner("input_audio") or Fields({}, part.at("input_audio"))
    return read_audio(audio.needed("format"), audio.needed("data"))


def _read_file(part: Fields) -> Part:
    file = part.inner("file") or Fields({}, part.at("file"))
    name, data = file.text("filename"), file.text("file_data")
    media_type, inline = split_data_url(data)
    if inline or not data:
        return MediaPart("file", media_type, inline, name=name)  # by `file_id` alone: nothing that another could read
    if data.startswith(("https://", "http://")):  # OpenRouter's
        return MediaPart("file", url=data, name=name)
    return MediaPart("file", "application/pdf", data, name=name)


def _read_video(part: Fields) -> Part:
    video = part.inner("video_url") or Fields({}, part.at("video_url"))
    media_type, data = split_data_url(url := video.needed("url"))
    return MediaPart("file", media_type or "video/mp4", data, "" if data else url)


def _read_thinking(part: Fields) -> Part:
    value = part.any("thinking")
    pieces = (
        [value] if isinstance(value, str) else [as_str(p.get("text")) for p in as_list(value) if isinstance(p, dict)]
    )
    return ReasoningPart("".join(map(str, pieces)), dialect=DIALECT)


_PARTS = {
    "text": lambda part: TextPart(part.text("text")),
    "refusal": lambda part: TextPart(part.text("refusal")),
    "image_url": _read_image,
    "input_audio": _read_audio,
    "file": _read_file,
    "video_url": _read_video,  # vLLM, OpenRouter, Alibaba
    "thinking": _read_thinking,  # Mistral
}


def _read_call(call: Fields, lost: Lost) -> Part:
    kind = call.text("type")
    function = call.inner("custom" if kind == "custom" else "function")
    if function is None:
        raise ValueError(f"{call.at('function')} is missing: it must be an object with name and arguments")
    call.any("index")  # some clients send back what they streamed
    arguments = function.text("input" if kind == "custom" else "arguments")
    said = ToolUsePart(call.text("id"), function.needed("name"), arguments)
    lost.note("messages[].tool_calls[]", call)
    return said


def _read_result(message: Fields, legacy: dict[str, str], lost: Lost) -> ToolResultPart:
    name = message.text("name")
    id_ = legacy.get(name, "") if message.json.get("role") == "function" else message.needed("tool_call_id")
    content = tuple(part for part in _content(message, lost) if isinstance(part, TextPart | MediaPart))
    return ToolResultPart(id_, content, name)


def write_message(message: Message, ids: CallIds, dropped: set[str]) -> list[Json]:
    """Return the message in OpenAI's words; what is left out is added to `dropped`. Raises Inexpressible."""
    if message.role == "system":
        return [{"role": "system", "content": "\n\n".join(map(_text_only, message.parts))}]
    if message.role == "assistant":
        return [_write_assistant(message, ids, dropped)]
    return _write_user(message, ids, dropped)


def _text_only(part: Part) -> str:
    if isinstance(part, TextPart):
        return part.text
    raise Inexpressible("a system message of more than text")


def _write_assistant(message: Message, ids: CallIds, dropped: set[str]) -> Json:
    texts, reasoning, calls = [], [], []
    for part in message.parts:
        match part:
            case TextPart(text=text):
                texts.append(text)
            case ReasoningPart(text=text, dialect=dialect):
                if dialect == DIALECT:
                    reasoning.append(text)
                else:
                    dropped.add("reasoning of earlier turns")
            case ToolUsePart():
                function = {"name": part.name, "arguments": part.arguments or "{}"}
                calls.append({"id": ids.call(part), "type": "function", "function": function})
            case MediaPart() | ToolResultPart():
                raise Inexpressible("an assistant's message with media")
    written: Json = {"role": "assistant", "content": "".join(texts) or (None if calls else "")}
    if reasoning:
        written["reasoning_content"] = "".join(reasoning)
    return {**written, "tool_calls": calls} if calls else written


def _write_user(message: Message, ids: CallIds, dropped: set[str]) -> list[Json]:
    """Results of tools first: they must follow their calls. Their images go into the user's own words, since OpenAI takes
    text alone from a tool."""
    written: list[Json] = []
    content: list[Json] = []
    for result in (part for part in message.parts if isinstance(part, ToolResultPart)):
        text = result_text(result, dropped)
        written.append({"role": "tool", "tool_call_id": ids.result(result), "content": text})
        content += [_write_part(part) for part in result.content if isinstance(part, MediaPart)]
    content += [_write_part(part) for part in message.parts if not isinstance(part, ToolResultPart)]
    if content or not written:
        written.append({"role": "user", "content": _plain(content)})
    return written


def _plain(content: list[Json]) -> str | list[Json]:
    """One text as a string, which every server takes."""
    if not content:
        return ""
    return content[0]["text"] if len(content) == 1 and content[0]["type"] == "text" else content


def _write_part(part: Part) -> Json:
    match part:
        case TextPart(text=text):
            return {"type": "text", "text": text}
        case MediaPart(kind="image"):
            detail = {"detail": part.detail} if part.detail else {}
            return {"type": "image_url", "image_url": {"url": media_url(part), **detail}}
        case MediaPart(kind="audio"):
            return {"type": "input_audio", "input_audio": {"data": part.data, "format": audio_format(part)}}
        case MediaPart():
            return _write_file(part)
        case _:
            raise Inexpressible("a user's message with an assistant's parts")


def _write_file(file: MediaPart) -> Json:
    if (text := file_text(file)) is not None:
        return {"type": "text", "text": text}
    if file.media_type != "application/pdf" or not file.data:
        raise Inexpressible(f"{file.name or file.media_type or 'a file'} that is no inline PDF")
    said: dict[str, Any] = {"filename": file.name or "file.pdf", "file_data": media_url(file)}
    return {"type": "file", "file": said}
