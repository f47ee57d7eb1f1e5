"""What five official SDKs make of answers that we write for them, streamed and whole, and what they send back next."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx
import httpx2
import ollama
import openai
from openai.lib.streaming.chat import ChatCompletionStreamState

import google_sdk
from encoded import client as openai_client
from encoded import sse
from midstream.wire import Frame

SSE = "text/event-stream"
HI: Any = [{"role": "user", "content": "hi"}]


@dataclass
class Told:
    """An answer as an SDK has it.

    calls: (id, name, arguments as an object). usage: (input, output), None for what is not told. turns: what a client sends
    back of it in the next request, in its own words.
    """

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    finish: str = ""
    usage: tuple[int | None, int | None] = (None, None)
    model: str = ""
    id: str = ""
    turns: list[Any] = field(default_factory=list)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _openai(body: bytes, content_type: str, status: int = 200) -> openai.OpenAI:
    return openai_client(lambda _: httpx2.Response(status, headers={"content-type": content_type}, content=body))


def _chat(completion: Any) -> Told:
    choice, usage = completion.choices[0], completion.usage
    message = choice.message
    calls = message.tool_calls or []
    return Told(
        text=(message.content or "") + (message.refusal or "") + _transcript(message),
        reasoning=getattr(message, "reasoning_content", None) or "",
        calls=[(call.id, call.function.name, json.loads(call.function.arguments)) for call in calls],
        finish=choice.finish_reason,
        usage=(usage.prompt_tokens, usage.completion_tokens) if usage else (None, None),
        model=completion.model,
        id=completion.id,
        turns=[message.to_dict()],
    )


def _transcript(message: Any) -> str:
    audio = getattr(message, "audio", None)
    return (
        (audio.get("transcript", "") if isinstance(audio, dict) else getattr(audio, "transcript", "")) if audio else ""
    )


def chat_stream(frames: Sequence[Frame], status: int = 200) -> Told:
    state = ChatCompletionStreamState()
    for chunk in _openai(sse(frames), SSE, status).chat.completions.create(model="m", messages=HI, stream=True):
        state.handle_chunk(chunk)
    return _chat(state.current_completion_snapshot)


def chat_whole(answer: Any, status: int = 200) -> Told:
    return _chat(_openai(_json(answer), "application/json", status).chat.completions.create(model="m", messages=HI))


def _response(response: Any) -> Told:
    items: dict[str, list[Any]] = {"message": [], "reasoning": [], "function_call": []}
    for item in response.output:
        items[item.type].append(item)
    parts = [part for item in items["message"] for part in item.content]
    usage = response.usage
    finish = response.incomplete_details.reason if response.incomplete_details else response.status
    return Told(
        text="".join(part.text if part.type == "output_text" else part.refusal for part in parts),
        reasoning="".join(part.text for item in items["reasoning"] for part in item.summary),
        calls=[(call.call_id, call.name, json.loads(call.arguments)) for call in items["function_call"]],
        finish=finish,
        usage=(usage.input_tokens, usage.output_tokens) if usage else (None, None),
        model=response.model,
        id=response.id,
        turns=[item.to_dict() for item in response.output],
    )


def responses_stream(frames: Sequence[Frame], status: int = 200) -> Told:
    with _openai(sse(frames), SSE, status).responses.create(model="m", input="hi", stream=True) as stream:
        events = list(stream)
    if events[-1].type == "error":
        raise AssertionError("the SDK raises for these itself")
    last: Any = events[-1]
    if last.type == "response.failed":
        raise openai.APIError(last.response.error.message, request=httpx2.Request("POST", "http://x"), body=None)
    return _response(last.response)


def responses_whole(answer: Any, status: int = 200) -> Told:
    return _response(_openai(_json(answer), "application/json", status).responses.create(model="m", input="hi"))


def _anthropic(body: bytes, content_type: str, status: int = 200) -> anthropic.Anthropic:
    answer = httpx2.Response(status, headers={"content-type": content_type}, content=body)
    http = httpx2.Client(transport=httpx2.MockTransport(lambda _: answer))
    return anthropic.Anthropic(api_key="k", max_retries=0, http_client=http)


def _message(message: Any) -> Told:
    blocks = message.content
    usage = message.usage
    inputs = usage.input_tokens + (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
    return Told(
        text="".join(block.text for block in blocks if block.type == "text"),
        reasoning="".join(block.thinking for block in blocks if block.type == "thinking"),
        calls=[(block.id, block.name, block.input) for block in blocks if block.type == "tool_use"],
        finish=message.stop_reason,
        usage=(inputs, usage.output_tokens),
        model=message.model,
        id=message.id,
        turns=[{"role": "assistant", "content": [_sendable(block.to_dict()) for block in blocks]}],
    )


def _sendable(block: Any) -> Any:
    return {key: value for key, value in block.items() if value is not None}


def anthropic_stream(frames: Sequence[Frame], status: int = 200) -> Told:
    with _anthropic(sse(frames), SSE, status).messages.stream(model="m", max_tokens=9, messages=HI) as stream:
        return _message(stream.get_final_message())


def anthropic_whole(answer: Any, status: int = 200) -> Told:
    client = _anthropic(_json(answer), "application/json", status)
    return _message(client.messages.create(model="m", max_tokens=9, messages=HI))


def _candidates(chunks: Sequence[Any]) -> Told:
    told, parts = Told(), list[Any]()
    for chunk in chunks:
        told.model, told.id = chunk.model_version or told.model, chunk.response_id or told.id
        if (usage := chunk.usage_metadata) is not None:
            answer = usage.candidates_token_count
            told.usage = (
                usage.prompt_token_count,
                None if answer is None else answer + (usage.thoughts_token_count or 0),
            )
        for one in (one for one in chunk.candidates or [] if not one.index):
            told.finish = one.finish_reason.value if one.finish_reason else told.finish
            parts += (one.content and one.content.parts) or []
    for part in parts:
        if part.function_call:
            told.calls.append((part.function_call.id or "", part.function_call.name, part.function_call.args))
        elif part.thought:
            told.reasoning += part.text or ""
        else:
            told.text += part.text or ""
    dumped = [part.model_dump(mode="json", by_alias=True, exclude_none=True) for part in parts]
    told.turns = [{"role": "model", "parts": dumped}]
    return told


def gemini_stream(frames: Sequence[Frame], status: int = 200) -> Told:
    models = google_sdk.client(status, SSE, sse(frames)).models
    return _candidates(list(models.generate_content_stream(model="m", contents="hi")))


def gemini_whole(answer: Any, status: int = 200) -> Told:
    models = google_sdk.client(status, "application/json", _json(answer)).models
    return _candidates([models.generate_content(model="m", contents="hi")])


def _ollama(body: bytes, status: int = 200) -> ollama.Client:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, content=body))
    return ollama.Client(host="http://ollama.test", transport=transport)


def _lines(lines: Sequence[Any]) -> Told:
    messages, last = [line.message for line in lines], lines[-1]
    calls = [call for message in messages for call in message.tool_calls or []]
    text, reasoning = ("".join(getattr(m, key) or "" for m in messages) for key in ("content", "thinking"))
    turn: Any = {"role": "assistant", "content": text, "tool_calls": [call.model_dump() for call in calls]}
    return Told(
        text=text,
        reasoning=reasoning,
        calls=[("", call.function.name, dict(call.function.arguments)) for call in calls],
        finish=last.done_reason,
        usage=(last.prompt_eval_count, last.eval_count),
        model=last.model,
        turns=[turn if calls else {"role": "assistant", "content": text}],
    )


def ollama_stream(frames: Sequence[Frame], status: int = 200) -> Told:
    body = b"".join(frame.data + b"\n" for frame in frames)
    return _lines(list(_ollama(body, status).chat(model="m", messages=[], stream=True)))


def ollama_whole(answer: Any, status: int = 200) -> Told:
    return _lines([_ollama(_json(answer), status).chat(model="m", messages=[])])


STREAMS: dict[str, Callable[..., Told]] = {
    "openai_chat": chat_stream,
    "openai_responses": responses_stream,
    "anthropic_messages": anthropic_stream,
    "gemini": gemini_stream,
    "ollama": ollama_stream,
}
WHOLES: dict[str, Callable[..., Told]] = {
    "openai_chat": chat_whole,
    "openai_responses": responses_whole,
    "anthropic_messages": anthropic_whole,
    "gemini": gemini_whole,
    "ollama": ollama_whole,
}
"""By the client's dialect: (frames or the whole answer's JSON, HTTP status) → what its SDK says."""


def results(client: str, told: Told, text: str = "42") -> dict[str, Any]:
    """The next request's turns: the answer as the client got it, and a result for each of its calls."""
    said: list[Any]
    match client:
        case "openai_chat":
            said = [{"role": "tool", "tool_call_id": id_, "content": text} for id_, *_ in told.calls]
        case "openai_responses":
            said = [{"type": "function_call_output", "call_id": id_, "output": text} for id_, *_ in told.calls]
        case "anthropic_messages":
            blocks: Any = [{"type": "tool_result", "tool_use_id": id_, "content": text} for id_, *_ in told.calls]
            said = [{"role": "user", "content": blocks}]
        case "gemini":
            replies: Any = [
                {"name": name, "response": {"output": text}, **({"id": i} if i else {})} for i, name, _ in told.calls
            ]
            said = [{"role": "user", "parts": [{"functionResponse": reply} for reply in replies]}]
        case _:
            said = [{"role": "tool", "tool_name": name, "content": text} for _, name, _ in told.calls]
    key = {"openai_responses": "input", "gemini": "contents"}.get(client, "messages")
    asked: Any = {"role": "user", "parts": [{"text": "hi"}]} if client == "gemini" else HI[0]
    return {key: [asked, *told.turns, *said]}


TOLD: dict[str, Callable[[Any], Told]] = {
    "openai_chat": _chat,
    "openai_responses": _response,
    "anthropic_messages": _message,
    "gemini": _candidates,
    "ollama": _lines,
}
"""By the client's dialect: what its SDK made of an answer (of Gemini's and Ollama's, a list of chunks)."""
