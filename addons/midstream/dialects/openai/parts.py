"""What requests to both of OpenAI's APIs share: media, the ids of tool calls, models' quirks, what another dialect left over."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from hashlib import sha256

from midstream.conversation import (
    Conversation,
    Inexpressible,
    MediaPart,
    TextPart,
    ToolResultPart,
    ToolUsePart,
)
from midstream.dialects.prefill import OPENAIS
from midstream.wire.json_text import Json

CALL_ID_LIMIT = 40
"""Characters of a tool call's id that OpenAI takes. LiteLLM's, with Gemini's signatures in them, are longer."""

FIXED_SAMPLING = re.compile(r"(^|/)(o\d|gpt-5(?!.*chat))")
"""Models that refuse temperature, top_p and penalties; they also refuse `max_tokens` under that name.

https://platform.openai.com/docs/guides/reasoning"""

_GOOGLES = "https://generativelanguage.googleapis.com/"
"""Where files are that were uploaded to Gemini: nobody else may read them."""

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""https://platform.openai.com/docs/api-reference/chat/create: "a-z, A-Z, 0-9, or contain underscores and dashes, with a maximum
length of 64"."""

_AUDIO_TYPES = {"mp3": "audio/mpeg"}
_AUDIO_FORMATS = {"mpeg": "mp3", "mp3": "mp3", "wav": "wav", "wave": "wav", "x-wav": "wav", "vnd.wave": "wav"}
_DATA_URL = re.compile(r"data:([^;,]*)(?:;[^;,]*)*;base64,")


def read_image(url: str, detail: str = "") -> MediaPart:
    """An image by URL, or inline in a data URL."""
    media_type, data = split_data_url(url)
    return MediaPart("image", media_type, data, "" if data else url, detail=detail)


def split_data_url(url: str) -> tuple[str, str]:
    """Return (media type, base64) of a data URL; ("", "") where it is none."""
    head = _DATA_URL.match(url[:256])
    return (head[1].lower(), url[head.end() :]) if head else ("", "")


def media_url(media: MediaPart) -> str:
    """The URL of a medium, a data URL where it is inline."""
    if media.data:
        return f"data:{media.media_type or 'application/octet-stream'};base64,{media.data}"
    if not media.url:
        raise Inexpressible(f"{media.name or media.kind} that only its own provider can find")
    if not media.url.startswith(("https://", "http://")):
        raise Inexpressible(f"{media.kind} at a URL that is not http")  # Gemini's gs://
    if media.url.startswith(_GOOGLES):
        raise Inexpressible(f"{media.name or media.kind} that only its own provider can find")
    return media.url


def read_audio(format_: str, data: str) -> MediaPart:
    """OpenAI's input_audio: base64, and `wav` or `mp3`."""
    return MediaPart("audio", _AUDIO_TYPES.get(format_, f"audio/{format_}"), data)


def audio_format(media: MediaPart) -> str:
    """`wav` or `mp3`, which is all that OpenAI takes."""
    format_ = _AUDIO_FORMATS.get(media.media_type.partition(";")[0].removeprefix("audio/").lower(), "")
    if not media.data or not format_:
        raise Inexpressible("audio that is not inline wav or mp3")
    return format_


def file_text(media: MediaPart) -> str | None:
    """The text of an inline text file, which OpenAI takes as text only; None for any other."""
    if not media.media_type.startswith("text/") or not media.data:
        return None
    try:
        return b64decode(media.data, validate=True).decode()
    except (Base64Error, UnicodeDecodeError):
        return None


def check_names(conversation: Conversation) -> None:
    """Raises Inexpressible for a tool's name that OpenAI's own models refuse: another one the client would not know. Other
    servers behind these APIs take more, or it is not known what."""
    if not OPENAIS.search(conversation.model):
        return
    choice = conversation.tool_choice
    names = [tool.name for tool in conversation.tools] + ([choice.name] if choice and choice.mode == "named" else [])
    names += [part.name for message in conversation.messages for part in message.parts if isinstance(part, ToolUsePart)]
    if not all(_TOOL_NAME.fullmatch(name) for name in names):
        raise Inexpressible("a tool's name of over 64 characters, or of others than letters, digits, _ and -")


class CallIds:
    """The ids of tool calls as OpenAI takes them: never empty, never long, and the same on a call and its result.

    Gemini's calls may have none: their results then belong to the calls of their name, in their order.
    own: the conversation is this dialect's, so whoever gave long ids (xAI, Bedrock) takes them, and other messages name them.
    """

    def __init__(self, *, own: bool = False) -> None:
        self._limit = 1 << 30 if own else CALL_ID_LIMIT
        self._open: list[tuple[str, str]] = []
        self._made = 0

    def call(self, part: ToolUsePart) -> str:
        """The id of a call."""
        id_ = self._short(part.id)
        if not id_:
            self._made += 1
            id_ = f"call_{self._made}"
            self._open.append((part.name, id_))
        return id_

    def result(self, part: ToolResultPart) -> str:
        """The id of the call that a result answers."""
        if part.id:
            return self._short(part.id)
        named = [at for at, (name, _) in enumerate(self._open) if name == part.name or not part.name]
        if not named:
            raise Inexpressible("a tool's result without its call")
        return self._open.pop(named[0])[1]

    def _short(self, id_: str) -> str:
        if len(id_) <= self._limit:
            return id_
        return f"call_{sha256(id_.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def result_text(part: ToolResultPart, dropped: set[str]) -> str:
    """A tool's result as text."""
    if part.is_error:
        dropped.add("is_error")
    return "\n".join(inner.text for inner in part.content if isinstance(inner, TextPart))


def schema_of(parameters: object) -> Json:
    """A tool's parameters as OpenAI takes them: an object, also where there are none."""
    return dict(parameters) if isinstance(parameters, dict) and parameters else {"type": "object", "properties": {}}
