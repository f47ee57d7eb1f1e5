"""The `input` of OpenAI's Responses API ⇄ a conversation's messages.

https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

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
from midstream.dialects.openai.parts import CallIds, file_text, media_url, read_audio, read_image, split_data_url
from midstream.dialects.strict_fields import Fields, wrong
from midstream.wire.json_text import Json, as_dict, as_list, as_str

DIALECT = "openai_responses"
_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}

_RECORDS = frozenset(("web_search_call", "file_search_call", "mcp_list_tools", "compaction_trigger"))
"""Items that only record what a server's tool did; the answer that used it stands beside them."""

_ANSWERS = ("_output", "_response")
"""How the types end of what the client's side says to a call: `custom_tool_call_output`, `mcp_approval_response`."""

_NOISE = ("id", "status", "annotations", "logprobs", "created_by")
"""What clients send back of an answer, and no request needs."""


def read_items(fields: Fields, lost: Lost) -> list[Turn]:
    """Return the messages. What one answer said (reasoning, text, calls) is one assistant message; so are results that
    stand together one user message. A record of a server's tool is a turn without parts."""
    value = fields.any("input")
    if isinstance(value, str):
        return [Turn("user", [TextPart(value)], [{"role": "user", "content": value}])]
    turns: list[Turn] = []
    for item in fields.each("input"):
        turn = _read_item(item, lost)
        turn.raw.append(item.json)
        if turns and turn.open and turns[-1].open and turns[-1].role == turn.role:
            turns[-1].parts += turn.parts
            turns[-1].raw += turn.raw
        else:
            turns.append(turn)
    return turns


def _read_item(item: Fields, lost: Lost) -> Turn:
    kind = item.text("type") or "message"
    read = _ITEMS.get(kind)
    if read is not None:
        turn = read(item, lost)
        for name in _NOISE:
            item.any(name)
        lost.note("input[]", item)
        return turn
    if kind in _RECORDS:
        lost[f"input[].{kind}"] = True
        return Turn("assistant", open=True)
    role: Role = "user" if kind.endswith(_ANSWERS) else "assistant"
    return Turn(role, [MediaPart("file", name=f"an item of type {kind[:64]}")], open=True)


def _read_message(item: Fields, lost: Lost) -> Turn:
    role = item.needed("role")
    if role not in _ROLES:
        raise ValueError(f"{item.at('role')} must be one of system, developer, user, assistant")
    if item.json.get("content") is None:
        raise ValueError(f"{item.at('content')} is missing: it must be a string or an array of parts")
    return Turn(_ROLES[role], _read_content(item, "content", lost), open=role == "assistant")


def _read_content(item: Fields, key: str, lost: Lost) -> list[Part]:
    content, path = item.any(key), item.at(key)
    if isinstance(content, str):
        return [TextPart(content)] if content else []
    if not isinstance(content, list):
        raise wrong(path, "a string or an array of parts", content)
    return [_read_part(Fields(part, f"{path}[{n}]"), lost) for n, part in enumerate(content)]


def _read_part(part: Fields, lost: Lost) -> Part:
    kind = part.needed("type")
    read = _PARTS.get(kind)
    if read is None:
        return MediaPart("file", name=f"content of type {kind[:64]}")
    said = read(part)
    for name in _NOISE:
        part.any(name)
    lost.note("input[].content[]", part)
    return said


def _read_image(part: Fields) -> Part:
    url = part.text("image_url")
    return read_image(url, part.text("detail")) if url else MediaPart("image", name="an image by its file_id")


def _read_file(part: Fields) -> Part:
    name, data = part.text("filename"), part.text("file_data")
    media_type, inline = split_data_url(data)
    if data:
        return MediaPart("file", media_type or "application/pdf", inline or data, name=name)
    return MediaPart("file", url=part.text("file_url"), name=name)


def _read_audio(part: Fields) -> Part:
    audio = part.inner("input_audio") or Fields({}, part.at("input_audio"))
    return read_audio(audio.needed("format"), audio.needed("data"))


def _text(part: Fields) -> Part:
    return TextPart(part.text("text"))


_PARTS = {
    "input_text": _text,
    "output_text": _text,
    "text": _text,
    "refusal": lambda part: TextPart(part.text("refusal")),
    "input_image": _read_image,
    "input_file": _read_file,
    "input_audio": _read_audio,
}


def _read_reasoning(item: Fields, lost: Lost) -> Turn:
    parts = as_list(item.any("summary")) + as_list(item.any("content"))
    text = "".join(as_str(as_dict(part).get("text")) for part in parts)
    signature = item.text("encrypted_content")
    return Turn("assistant", [ReasoningPart(text, signature, DIALECT)] if text or signature else [], open=True)


def _read_call(item: Fields, lost: Lost) -> Turn:
    call = ToolUsePart(item.needed("call_id"), item.needed("name"), item.text("arguments"))
    return Turn("assistant", [call], open=True)


def _read_result(item: Fields, lost: Lost) -> Turn:
    id_ = item.needed("call_id")
    content = tuple(p for p in _read_content(item, "output", lost) if isinstance(p, TextPart | MediaPart))
    return Turn("user", [ToolResultPart(id_, content)], open=True)


_ITEMS = {
    "message": _read_message,
    "reasoning": _read_reasoning,
    "function_call": _read_call,
    "function_call_output": _read_result,
}


def write_items(message: Message, ids: CallIds, dropped: set[str]) -> list[Json]:
    """Return the items that say a message; what is left out is added to `dropped`. Raises Inexpressible.

    An item each for reasoning, calls and results; texts and media that stand together are one message's content.
    """
    items: list[Json] = []
    content: list[Part] = []
    for part in message.parts:
        if isinstance(part, TextPart | MediaPart):
            content.append(part)
            continue
        if content:
            items.append(_write_content(message.role, content))
            content = []
        item = _write_item(part, ids, dropped)
        items += [item] if item else []
    if content or not message.parts:
        items.append(_write_content(message.role, content))
    return items


def _write_item(part: ReasoningPart | ToolUsePart | ToolResultPart, ids: CallIds, dropped: set[str]) -> Json | None:
    match part:
        case ToolUsePart():
            said = {"call_id": ids.call(part), "name": part.name, "arguments": part.arguments or "{}"}
            return {"type": "function_call", **said}
        case ToolResultPart():
            return {"type": "function_call_output", "call_id": ids.result(part), "output": _write_output(part, dropped)}
        case ReasoningPart(text=text) if part.dialect == DIALECT and part.signature:
            summary = [{"type": "summary_text", "text": text}] if text else []
            return {"type": "reasoning", "summary": summary, "encrypted_content": part.signature}
        case ReasoningPart():
            dropped.add("reasoning of earlier turns")
            return None


def _write_output(result: ToolResultPart, dropped: set[str]) -> str | list[Json]:
    if result.is_error:
        dropped.add("is_error")
    texts = [part.text for part in result.content if isinstance(part, TextPart)]
    if len(texts) == len(result.content):
        return "\n".join(texts)
    return [_write_part(part) for part in result.content]


def _write_content(role: Role, content: list[Part]) -> Json:
    texts = [part.text for part in content if isinstance(part, TextPart)]
    if role != "user":
        if len(texts) < len(content):
            raise Inexpressible(f"a message of the {role} with media")
        return {"role": role, "content": ("" if role == "assistant" else "\n\n").join(texts)}
    if len(texts) == len(content) <= 1:
        return {"role": role, "content": "".join(texts)}
    return {"role": role, "content": [_write_part(part) for part in content]}


def _write_part(part: Part) -> Json:
    match part:
        case TextPart(text=text):
            return {"type": "input_text", "text": text}
        case MediaPart(kind="image"):
            return {"type": "input_image", "image_url": media_url(part), "detail": part.detail or "auto"}
        case MediaPart(kind="audio"):
            raise Inexpressible("audio")  # the Responses API takes none
        case MediaPart():
            return _write_file(part)
        case _:
            raise Inexpressible("content of another kind")


def _write_file(file: MediaPart) -> Json:
    if (text := file_text(file)) is not None:
        return {"type": "input_text", "text": text}
    if file.media_type.startswith(("video/", "audio/", "image/")):
        raise Inexpressible(f"a file of type {file.media_type}")
    if not file.data:
        return {"type": "input_file", "file_url": media_url(file)}
    if file.media_type != "application/pdf":
        raise Inexpressible(f"a file of type {file.media_type}")
    return {"type": "input_file", "filename": file.name or "file.pdf", "file_data": media_url(file)}
