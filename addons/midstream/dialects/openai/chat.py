"""OpenAI's chat.completions, and the many APIs made after it: Azure, Groq, Mistral, DeepSeek, xAI, OpenRouter, vLLM …

https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

import re
from typing import Any

from midstream.dialects.arguments import arguments_text
from midstream.dialects.base import Dialect, RequestFacts
from midstream.dialects.openai.chat_answer import ChatEncoder, write_answer, write_error, write_failure
from midstream.dialects.openai.chat_functions import whole_with_functions, with_functions
from midstream.dialects.openai.chat_request import model_of, read_conversation, write_request
from midstream.dialects.openai.chat_resume import resume
from midstream.dialects.openai.chunks import Choice, ChunkDecoder
from midstream.dialects.openai.other_model import adapt_chat
from midstream.events import Event, Media, Reasoning, Refusal, Text
from midstream.wire.json_text import Json, as_dict, as_list, as_str

PATHS = (
    re.compile(r"/chat/completions/?$"),  # with any prefix: /v1, /openai/deployments/X, /openai/v1, /models, /api/v1 …
    re.compile(r"/v1/chat/?$"),  # Writer
)

FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "function_call": "tool_calls",
    "eos": "stop",  # Together
    "eos_token": "stop",  # Hugging Face TGI
    "stop_sequence": "stop",
    "end_turn": "stop",
    "tool_use": "tool_calls",
    "model_length": "length",  # Mistral
    "max_tokens": "length",
    "insufficient_system_resource": "length",  # DeepSeek
}

_PLAIN = frozenset(("role", "content"))
_REASONING = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
"""DeepSeek's and most others' · OpenRouter's, Groq's, newer vLLM's · GitHub Copilot's · rarer servers'. Where one sends two
of them, both say the same."""


class _ChatDecoder(ChunkDecoder):
    def _read_choice(self, events: list[Event], choice: Json, state: Choice) -> None:
        delta = choice.get("delta")
        if isinstance(delta, dict):
            state.spoke = True
            _read_delta(events, delta, state)
        elif not state.spoke and isinstance(message := choice.get("message"), dict):
            # A whole answer, also one sent as a stream of one event. After deltas a message only repeats them (MiniMax).
            state.spoke = True
            _read_delta(events, message, state, whole=True)


def _read_delta(events: list[Event], delta: Json, state: Choice, *, whole: bool = False) -> None:
    plain = delta.keys() <= _PLAIN
    if not plain:
        _read_reasoning(events, delta, state)
    content = delta.get("content")
    if content:
        if isinstance(content, str):
            events.append(Text(content, state.number))
        else:
            _read_parts(events, content, state)
    if not plain:
        _read_rest(events, delta, state, whole=whole)


def _read_reasoning(events: list[Event], delta: Json, choice: Choice) -> None:
    text = ""
    for key in _REASONING:
        if (value := delta.get(key)) and isinstance(value, str):
            text, choice.reasoning = value, key
            break
    signature = as_str(delta.get("reasoning_opaque"))  # GitHub Copilot
    details = as_list(delta.get("reasoning_details")) or as_list(delta.get("thinking_blocks"))  # OpenRouter, LiteLLM
    if details:
        parts = [as_dict(part) for part in details]
        text = text or "".join(map(_detail_text, parts))
        signature += "".join(as_str(part.get("signature")) or as_str(part.get("data")) for part in parts)
    if text or signature:
        events.append(Reasoning(text, choice.number, signature=signature))


def _detail_text(part: Json) -> str:
    return as_str(part.get("text")) or as_str(part.get("summary")) or as_str(part.get("thinking"))


def _read_parts(events: list[Event], parts: Any, choice: Choice) -> None:
    """Mistral's content lists: thinking, text and references, in their order."""
    for part in as_list(parts):
        fields = as_dict(part)
        if fields.get("type") == "thinking":
            text, signature = _thinking(fields.get("thinking")), as_str(fields.get("signature"))
            if text or signature:
                choice.reasoning = "content"
                events.append(Reasoning(text, choice.number, signature=signature))
        elif fields.get("type") == "image_url":
            _read_image(events, fields, choice.number)
        elif text := part if isinstance(part, str) else as_str(fields.get("text")):
            events.append(Text(text, choice.number))


def _thinking(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "".join(as_str(as_dict(part).get("text")) for part in as_list(value))


def _read_rest(events: list[Event], delta: Json, state: Choice, *, whole: bool) -> None:
    if refusal := as_str(delta.get("refusal")):
        events.append(Refusal(refusal, state.number))
    if fragments := as_list(delta.get("tool_calls")):
        calls = state.numbered_calls()
        for position, fragment in enumerate(fragments):
            if call := calls.read(fragment, state.number, position if whole else None):
                events.append(call)
    legacy = as_dict(delta.get("function_call"))
    if legacy and (call := state.numbered_calls().read(legacy, state.number, "function_call")):
        events.append(call)
    if audio := as_dict(delta.get("audio")):
        size, transcript = len(as_str(audio.get("data"))), as_str(audio.get("transcript"))
        if size or transcript:
            events.append(Media("audio", size, transcript, state.number))
    for image in as_list(delta.get("images")):  # OpenRouter
        _read_image(events, as_dict(image), state.number)


def _read_image(events: list[Event], part: Json, choice: int) -> None:
    image = part.get("image_url")
    url = as_str(image) or as_str(as_dict(image).get("url"))
    if url:
        events.append(Media("image", len(url), choice=choice))


def read_request(path: str, body: Json) -> RequestFacts:
    """Return the model, on Azure the deployment that the path names if the body names no model, and whether to stream."""
    return RequestFacts(model=model_of(path, as_str(body.get("model"))), stream=body.get("stream") is True)


def _prompt(body: Json) -> list[str]:
    """What goes in front of the conversation as JSON (tools, the schema of the answer), then every text of every message."""
    schema = as_dict(body.get("response_format")).get("json_schema")
    texts = [arguments_text(said) for said in (body.get("tools"), body.get("functions"), schema) if said]
    for message in as_list(body.get("messages")):
        fields = as_dict(message)
        content = fields.get("content")
        texts += [content] if isinstance(content, str) else map(_part_text, as_list(content))
        calls = [as_dict(as_dict(call).get("function")) for call in as_list(fields.get("tool_calls"))]
        for function in [*calls, as_dict(fields.get("function_call"))]:
            texts += (as_str(function.get("name")), as_str(function.get("arguments")))
    return [text for text in texts if text]


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    fields = as_dict(part)
    return as_str(fields.get("text")) or as_str(fields.get("refusal")) or _thinking(fields.get("thinking"))


_PLAIN_MESSAGE = frozenset(("role", "content"))


def template_tokens(body: Json) -> int | None:
    """Three tokens and the role's one around each message, three that begin the answer: OpenAI's cookbook, "How to count
    tokens with tiktoken", for all its chat models since gpt-3.5-turbo-0613. None for what it gives no rule for."""
    messages = as_list(body.get("messages"))
    if any(body.get(key) for key in ("tools", "functions", "response_format")):
        return None
    for message in messages:
        if not isinstance(message, dict) or message.keys() != _PLAIN_MESSAGE or not isinstance(message["content"], str):
            return None
    return 4 * len(messages) + 3


OPENAI_CHAT = Dialect(
    name="openai_chat",
    paths=PATHS,
    body_keys=frozenset(("messages",)),
    read_request=read_request,
    decoder=_ChatDecoder,
    read_answer=lambda answer: _ChatDecoder().answer(answer),
    prompt=_prompt,
    template_tokens=template_tokens,
    finish_reasons=FINISH_REASONS,
    read_conversation=read_conversation,
    write_request=write_request,
    adapt=adapt_chat,
    encoder=with_functions(ChatEncoder),
    write_answer=whole_with_functions(write_answer),
    resume=resume,
    write_error=write_error,
    write_failure=write_failure,
)
