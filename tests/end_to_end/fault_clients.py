"""The clients of the fault matrix: official SDKs, and readers of midstream's own deliveries. Each asks, and says what it has."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import botocore.eventstream
import botocore.exceptions
import botocore.session
import cohere
import cohere.core
import httpx
import urllib3
from botocore.config import Config

from end_to_end import sdk_clients
from end_to_end.dialect_answers import CALLED
from end_to_end.fault_providers import BEDROCK, COHERE, ENDS, answer_for
from end_to_end.harness import Proxy
from end_to_end.lifecycles import LIFECYCLES
from end_to_end.sdk_clients import Sdk
from translated import ANTHROPIC, CHAT, GOOGLE, OLLAMAS, RESPONSES

TIMEOUT = 90.0
"""Seconds until a client gives up: by then every cell has long been decided."""


class Refused(Exception):
    """An HTTP error, an error in the delivery's own form, or one that broke off."""


RAISED: dict[str, tuple[type[Exception], ...]] = {
    **sdk_clients.RAISED,
    BEDROCK: (
        botocore.exceptions.ClientError,
        botocore.exceptions.EventStreamError,
        botocore.exceptions.HTTPClientError,
        botocore.eventstream.ParserError,
        urllib3.exceptions.HTTPError,  # botocore lets through what breaks off a stream
    ),
    COHERE: (cohere.core.ApiError, httpx.TransportError, Refused),
}


@dataclass
class Got:
    """What a client has of one answer. whole: it was told that this is all, with its finish reason, its usage, one lifecycle."""

    text: str = ""
    whole: bool = False


type Asking = Callable[[Proxy, str, Got], None]
"""Asks for a model; fills in what comes, as it comes. Raises what the client's SDK raises or Refused."""


def native(dialect: str, *, stream: bool) -> Asking:
    """One of the five SDKs of `sdk_clients`, by its stream helper or for a whole answer."""

    def ask(proxy: Proxy, model: str, got: Got) -> None:
        sdk = Sdk(dialect, proxy)
        try:
            heard = sdk.ask(model, stream=stream)
        except BaseException:
            got.text = "".join(_TEXT[dialect](event) or "" for event in sdk.seen)
            raise
        if stream:
            LIFECYCLES[dialect](heard.events)
        told, answer = heard.told, answer_for(model)
        got.text = told.text
        calls = [("weather", {"city": "Bern"})] if answer.arguments else []
        said = told.reasoning == answer.reasoning and [(name, given) for _, name, given in told.calls] == calls
        ends = CALLED if answer.arguments else ENDS
        got.whole = said and told.finish == ends[dialect] and _counted(*told.usage)

    return ask


def _counted(*tokens: Any) -> bool:
    return all(isinstance(count, int | float) and count > 0 for count in tokens)


_TEXT: dict[str, Callable[[Any], str | None]] = {
    CHAT: lambda e: e.chunk.choices[0].delta.content if e.type == "chunk" and e.chunk.choices else "",
    RESPONSES: lambda e: e.delta if e.type == "response.output_text.delta" else "",
    ANTHROPIC: lambda e: getattr(e.delta, "text", "") if e.type == "content_block_delta" else "",
    GOOGLE: lambda e: e.text,
    OLLAMAS: lambda e: e.message.content,
}
"""What each event of a stream that was not heard to its end has said."""


def bedrock(*, stream: bool) -> Asking:
    def ask(proxy: Proxy, model: str, got: Got) -> None:
        messages = [{"role": "user", "content": [{"text": sdk_clients.PROMPT}]}]
        client = _bedrock(proxy)
        if not stream:
            answer = client.converse(modelId=model, messages=messages)
            got.text = answer["output"]["message"]["content"][0]["text"]
            got.whole = answer["stopReason"] == ENDS[BEDROCK] and _counted(*answer["usage"].values())
            return
        kinds, events = [], client.converse_stream(modelId=model, messages=messages)["stream"]
        with contextlib.closing(events):  # else urllib3 stumbles over a broken connection when it is collected
            for event in events:
                ((kind, said),) = event.items()
                kinds.append(kind)
                got.text += said["delta"]["text"] if kind == "contentBlockDelta" else ""
        got.whole = kinds[-2:] == ["messageStop", "metadata"] and kinds.count("messageStart") == 1

    return ask


_SESSION = botocore.session.get_session()
"""Keeps the model of the API, which takes long to read."""
_ONE_AT_A_TIME = threading.Lock()


def _bedrock(proxy: Proxy) -> Any:
    config = Config(retries={"total_max_attempts": 1}, proxies={"https": proxy.url}, read_timeout=TIMEOUT)
    with _ONE_AT_A_TIME:
        return _SESSION.create_client(
            "bedrock-runtime",
            region_name="us-east-1",
            aws_access_key_id="none",
            aws_secret_access_key="none",
            verify=str(proxy.ca),
            config=config,
        )


def over_cohere(*, stream: bool) -> Asking:
    def ask(proxy: Proxy, model: str, got: Got) -> None:
        messages: Any = [{"role": "user", "content": sdk_clients.PROMPT}]
        options: Any = {"max_retries": 0}
        with httpx.Client(proxy=proxy.url, verify=proxy.client_context(), timeout=TIMEOUT) as http:
            client: Any = cohere.ClientV2(sdk_clients.SECRET, httpx_client=http)
            if not stream:
                answer = client.chat(model=model, messages=messages, request_options=options)
                got.text = answer.message.content[0].text
                got.whole = answer.finish_reason == ENDS[COHERE] and _counted(answer.usage.tokens.output_tokens)
                return
            _read_cohere(client.chat_stream(model=model, messages=messages, request_options=options), got)

    return ask


def _read_cohere(events: Any, got: Got) -> None:
    """Its API tells errors in the last event, and its SDK leaves it to the user to look there:
    https://docs.cohere.com/reference/chat-stream"""
    starts, last = 0, None
    for event in events:
        last = event
        starts += event.type == "message-start" and bool(event.id)  # a frame that is no JSON becomes one without an id
        got.text += event.delta.message.content.text if event.type == "content-delta" else ""
    if last is None or last.type != "message-end":
        return
    if last.delta.finish_reason == "ERROR":
        raise Refused(last.delta.error)
    got.whole = starts == 1 and last.delta.finish_reason == ENDS[COHERE]


GATEWAY = "http://midstream.internal/v1/chat/stream"
_CHATS = {"messages": [{"role": "user", "content": sdk_clients.PROMPT}]}
_BODIES: dict[str, dict[str, Any]] = {
    CHAT: _CHATS,
    RESPONSES: {"input": sdk_clients.PROMPT},
    ANTHROPIC: {**_CHATS, "max_tokens": 99},
    GOOGLE: {"contents": [{"parts": [{"text": sdk_clients.PROMPT}]}]},
    OLLAMAS: _CHATS,
}
_URLS = {
    CHAT: "https://api.openai.com/v1/chat/completions",
    RESPONSES: "https://api.openai.com/v1/responses",
    ANTHROPIC: "https://api.anthropic.com/v1/messages",
    GOOGLE: "https://generativelanguage.googleapis.com/v1beta/models/{model}:streamGenerateContent?alt=sse",
    OLLAMAS: "https://ollama.com/api/chat",
}
_KEYS = {ANTHROPIC: "x-api-key", GOOGLE: "x-goog-api-key"}
"""The headers that credentials go in; for the others, `Authorization: Bearer`."""


def redelivered(delivery: str, dialect: str, *, gateway: bool) -> Asking:
    """delivery: sse, ndjson, text or websocket, of a provider's answer in this dialect."""

    def ask(proxy: Proxy, model: str, got: Got) -> None:
        body = {"model": model, **(_CHATS if gateway else _BODIES[dialect])}
        url = GATEWAY if gateway else _URLS[dialect].format(model=model)
        named = _KEYS.get(dialect, "authorization")
        headers = {} if gateway else {named: f"{'' if dialect in _KEYS else 'Bearer '}{sdk_clients.SECRET}"}
        if delivery != "websocket":
            headers["accept"] = _ACCEPT[delivery]

        async def run() -> None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT)
            async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
                await _READERS[delivery](session, url, {"proxy": proxy.url, "ssl": proxy.client_context()}, body, got)

        asyncio.run(run())

    return ask


_ACCEPT = {"sse": "text/event-stream", "ndjson": "application/x-ndjson", "text": "text/plain"}


async def _over_http(session: aiohttp.ClientSession, url: str, via: Any, body: Any, got: Got) -> None:
    async with session.post(url, json=body, **via) as response:
        if response.status >= 400:
            raise Refused(f"HTTP {response.status}")
        lines, broken = [], None
        try:
            async for line in response.content:
                lines.append(line.decode().strip("\r\n"))
        except aiohttp.ClientPayloadError as error:
            broken = error
        _read_lines(response.content_type, lines, got)
        if broken is not None:
            raise Refused(str(broken))


def _read_lines(content_type: str, lines: list[str], got: Got) -> None:
    if content_type == "text/plain":
        got.text = "\n".join(lines)
        got.whole = True  # if the body ends cleanly: plain text has no other way to say so
    elif content_type == "text/event-stream":
        _read_chunks([line.removeprefix("data: ") for line in lines if line.startswith("data: ")], got, done=True)
    else:
        _read_chunks([line for line in lines if line.strip()], got, done=False)


def _read_chunks(said: list[str], got: Got, *, done: bool) -> None:
    """Chunk objects. done: whether `[DONE]` ends them. Raises Refused where the last of them is an error."""
    chunks = [json.loads(one) for one in said if one != "[DONE]"]
    for chunk in chunks:
        got.text += "".join(choice["delta"]["content"] for choice in chunk.get("choices", ()))
    if chunks and "error" in chunks[-1]:
        raise Refused(chunks[-1]["error"]["message"])
    finishes = [c["finish_reason"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]]
    one = len({(chunk["id"], chunk["model"]) for chunk in chunks}) == 1
    usage = (chunks[-1].get("usage") or {}) if chunks else {}
    counted = _counted(usage.get("prompt_tokens"), usage.get("completion_tokens"))
    ended = said.count("[DONE]") == int(done) and (not done or said[-1] == "[DONE]")
    got.whole = finishes == [ENDS[CHAT]] and one and counted and ended


async def _over_websocket(session: aiohttp.ClientSession, url: str, via: Any, body: Any, got: Got) -> None:
    """`[DONE]` behind an error is what a refusal looks like: the socket may take another chat."""
    said: list[str] = []
    async with session.ws_connect(url, **via) as socket:
        await socket.send_json(body)
        while not said or said[-1] != "[DONE]":
            message = await socket.receive(timeout=TIMEOUT)
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            said.append(message.data)
        _read_chunks(said, got, done=True)
        if not got.whole and socket.close_code not in (None, aiohttp.WSCloseCode.OK):
            raise Refused(f"closed with {socket.close_code}")


_READERS: dict[str, Callable[[aiohttp.ClientSession, str, Any, Any, Got], Any]] = {
    "sse": _over_http,
    "ndjson": _over_http,
    "text": _over_http,
    "websocket": _over_websocket,
}
