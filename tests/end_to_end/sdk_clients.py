"""Five official SDKs through a proxy: each asks the same of its own provider's host, by its own stream helper or for a whole
answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx
import httpx2
import ollama
import openai
from google import genai
from google.genai import errors, types

from end_to_end.harness import Proxy
from sdk_answers import TOLD, Told
from translated import ANTHROPIC, CHAT, GOOGLE, OLLAMAS, RESPONSES, STRICT

SECRET = "sk-of-the-caller"
SYSTEM = "You know the weather."
PROMPT = "How is the weather in Bern?"
TOKENS = 500
PROVIDERS = {CHAT: "openai", RESPONSES: "openai", ANTHROPIC: "anthropic", GOOGLE: "gemini", OLLAMAS: "ollama"}
"""Whose host each SDK asks."""

HOSTS = ("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com", "ollama.com", "localhost")
"""What the provider's certificate is for."""

RAISED: dict[str, tuple[type[Exception], ...]] = {
    CHAT: (openai.APIError,),
    RESPONSES: (openai.APIError, RuntimeError),  # behind a `response.failed` its helper misses the `response.completed`
    ANTHROPIC: (anthropic.APIError,),
    GOOGLE: (errors.APIError,),
    OLLAMAS: (ollama.ResponseError,),
}
"""What each SDK makes of an error that its provider tells."""

TORN = (httpx.TransportError, httpx2.TransportError)
"""What it makes of a connection that breaks off: each passes on its HTTP client's own."""

_DECLARED = {"name": "weather", "description": "The weather."}
_FUNCTION = {**_DECLARED, "parameters": STRICT, "strict": True}


@dataclass
class Heard:
    """An answer as an SDK has it. events: the objects that its stream yielded, one by one."""

    told: Told
    headers: dict[str, str]
    events: list[Any] = field(default_factory=list)


@dataclass
class Sdk:
    """One dialect's SDK behind a proxy. `seen` is what its stream has yielded so far, also of one that raised; on_text: called
    at each event in which it has some of the text, or of the reasoning."""

    dialect: str
    proxy: Proxy
    on_text: Callable[[], None] = lambda: None
    seen: list[Any] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, model: str, *, stream: bool = True, **more: Any) -> Heard:
        """Ask the one question, about the weather, that all of them ask. more: fields of the request, as the SDK names them."""
        self.seen, self.headers = [], {}
        told = _ASK[self.dialect](self, model, stream, more)
        return Heard(told, self.headers, self.seen)

    def http2(self) -> httpx2.Client:
        hooks = {"response": [self._note]}
        return httpx2.Client(proxy=self.proxy.url, verify=self.proxy.client_context(), timeout=30, event_hooks=hooks)

    def http(self) -> httpx.Client:
        return httpx.Client(**self.options())

    def options(self) -> dict[str, Any]:
        context, hooks = self.proxy.client_context(), {"response": [self._note]}
        return {"proxy": self.proxy.url, "verify": context, "timeout": 30, "event_hooks": hooks}

    def _note(self, response: Any) -> None:
        self.headers = {k.lower(): v for k, v in response.headers.items()}


def _openai(sdk: Sdk) -> openai.OpenAI:
    return openai.OpenAI(api_key=SECRET, max_retries=0, http_client=sdk.http2())


def _chat(sdk: Sdk, model: str, stream: bool, more: dict[str, Any]) -> Told:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}]
    tools = [{"type": "function", "function": _FUNCTION}]
    asked: Any = {"model": model, "messages": messages, "tools": tools, "max_completion_tokens": TOKENS, **more}
    with _openai(sdk) as client:
        if not stream:
            return TOLD[CHAT](client.chat.completions.create(**asked))
        with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
            _read(events, sdk)
            return TOLD[CHAT](events.get_final_completion())


def _responses(sdk: Sdk, model: str, stream: bool, more: dict[str, Any]) -> Told:
    tools = [{"type": "function", **_FUNCTION}]
    asked: Any = {"model": model, "instructions": SYSTEM, "input": PROMPT, "tools": tools, **more}
    with _openai(sdk) as client:
        if not stream:
            return TOLD[RESPONSES](client.responses.create(**asked, max_output_tokens=TOKENS))
        with client.responses.stream(**asked, max_output_tokens=TOKENS) as events:
            _read(events, sdk)
            return TOLD[RESPONSES](events.get_final_response())


def _anthropic(sdk: Sdk, model: str, stream: bool, more: dict[str, Any]) -> Told:
    asked: Any = {
        "model": model,
        "system": SYSTEM,
        "messages": [{"role": "user", "content": PROMPT}],
        "tools": [{**_DECLARED, "input_schema": STRICT}],
        "max_tokens": TOKENS,
        **more,
    }
    with anthropic.Anthropic(api_key=SECRET, max_retries=0, http_client=sdk.http2()) as client:
        if not stream:
            return TOLD[ANTHROPIC](client.messages.create(**asked))
        with client.messages.stream(**asked) as events:
            _read(events, sdk)
            return TOLD[ANTHROPIC](events.get_final_message())


def _gemini(sdk: Sdk, model: str, stream: bool, more: dict[str, Any]) -> Told:
    context = (
        sdk.proxy.client_context()
    )  # also for what is not used: else each client reads all of certifi's roots, thrice
    http = types.HttpOptions(
        httpx_client=sdk.http(),
        client_args={"verify": context},
        async_client_args={"verify": context, "ssl": context},
        retry_options=types.HttpRetryOptions(attempts=1),
    )
    declared = types.FunctionDeclaration(name="weather", description="The weather.", parameters_json_schema=STRICT)
    config = types.GenerateContentConfig(
        system_instruction=SYSTEM,
        tools=[types.Tool(function_declarations=[declared])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        max_output_tokens=TOKENS,
        **more,
    )
    models = genai.Client(api_key=SECRET, http_options=http).models
    if not stream:
        return TOLD[GOOGLE]([models.generate_content(model=model, contents=PROMPT, config=config)])
    _read(models.generate_content_stream(model=model, contents=PROMPT, config=config), sdk)
    return TOLD[GOOGLE](sdk.seen)


def _ollama(sdk: Sdk, model: str, stream: bool, more: dict[str, Any]) -> Told:
    asked: Any = {
        "model": model,
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}],
        "tools": [{"type": "function", "function": {**_DECLARED, "parameters": STRICT}}],
        "options": {"num_predict": TOKENS},
        **more,
    }
    headers = {"authorization": f"Bearer {SECRET}"}
    client = ollama.Client(host="https://ollama.com", headers=headers, **sdk.options())
    if not stream:
        return TOLD[OLLAMAS]([client.chat(**asked)])
    _read(client.chat(**asked, stream=True), sdk)
    return TOLD[OLLAMAS](sdk.seen)


def _read(events: Any, sdk: Sdk) -> None:
    """Keep each event as it comes, so that those before an error are seen."""
    for event in events:
        sdk.seen.append(event)
        if _CONTENT[sdk.dialect](event):
            sdk.on_text()


_ASK: dict[str, Callable[[Sdk, str, bool, dict[str, Any]], Told]] = {
    CHAT: _chat,
    RESPONSES: _responses,
    ANTHROPIC: _anthropic,
    GOOGLE: _gemini,
    OLLAMAS: _ollama,
}


_CONTENT: dict[str, Callable[[Any], Any]] = {
    CHAT: lambda e: e.type == "chunk" and e.chunk.choices and _spoken(e.chunk.choices[0].delta),
    RESPONSES: lambda e: e.type in ("response.output_text.delta", "response.reasoning_summary_text.delta"),
    ANTHROPIC: lambda e: e.type == "content_block_delta",
    GOOGLE: lambda e: e.candidates and e.candidates[0].content and e.candidates[0].content.parts,
    OLLAMAS: lambda e: e.message.content or e.message.thinking,
}


def _spoken(delta: Any) -> Any:
    return delta.content or getattr(delta, "reasoning_content", None)
