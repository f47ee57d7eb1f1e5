"""What the tests of healing share: providers that fail as they are told, and a proxy with routes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aiohttp import web

from end_to_end.harness import Authority, Handler, Provider, Proxy

WORDS = tuple(f"w{n:02d} " for n in range(60))
"""The whole answer, sixty tokens."""
WHOLE = "".join(WORDS)


def chunk(text: str = "", finish: str | None = None, **more: Any) -> bytes:
    """One chat.completion.chunk as a server-sent event."""
    delta = {"content": text} if text else {}
    said = {
        "id": "chatcmpl-first",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o-2024",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(said | more).encode() + b"\n\n"


def usage(output: int, prompt: int = 7, **more: Any) -> bytes:
    counts = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
    return chunk(choices=[], usage=counts, **more)


DONE = b"data: [DONE]\n\n"


def answer(words: tuple[str, ...] = WORDS, **more: Any) -> tuple[bytes, ...]:
    """A whole stream of OpenAI's chat API."""
    opening = chunk(
        choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}], **more
    )
    said = [chunk(word, **more) for word in words]
    return (opening, *said, chunk(finish="stop", **more), usage(len(words), **more), DONE)


class Scripted:
    """A provider that does, request by request, what it is told; the last for all that follow. bodies: what it was asked."""

    def __init__(self, provider: Provider, *scripts: Handler) -> None:
        self.bodies: list[Any] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self._scripts = list(scripts)
        provider.handler = self._answer

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.bodies.append(json.loads(body) if body else None)
        self.paths.append(request.path_qs)
        self.headers.append({k.lower(): v for k, v in request.headers.items()})
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        return await script(request)


def fails(status: int, body: Any = None, **headers: str) -> Handler:
    """An HTTP error."""
    said = body if body is not None else {"error": {"message": f"no: {status}", "type": "server_error", "code": None}}

    async def handler(request: web.Request) -> web.StreamResponse:
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        return web.json_response(said, status=status, headers=named)

    return handler


async def resets(request: web.Request) -> web.StreamResponse:
    """The connection is reset before any header."""
    assert request.transport is not None
    request.transport.abort()
    raise ConnectionResetError


def healing_proxy(folder: Path, authority: Authority, primary: Provider, backup: Provider, toml: str) -> Proxy:
    """A mitmdump whose requests to api.openai.com go to the primary, and whose provider `backup` is the other."""
    table = f'[providers.backup]\ndialect = "openai_chat"\nbase_url = "https://localhost:{backup.port}/v1"\n'
    return routed_proxy(folder, authority, primary, f'{table}api_key = "sk-backup"\n{toml}', hosts="api.openai.com")


def routed_proxy(
    folder: Path,
    authority: Authority,
    primary: Provider,
    toml: str,
    *options: str,
    hosts: str = "*.com",
    listening: int = 1,
) -> Proxy:
    """A mitmdump with this midstream.toml, whose requests to these hosts go to the primary."""
    config = folder / "midstream.toml"
    config.write_text(toml)
    return Proxy(
        folder,
        *options,
        "--set",
        f"midstream_config={config}",
        scripts=("relay_streams.py", "connect_to.py"),
        trust=authority.file,
        upstream=f"{hosts}:443:127.0.0.1:{primary.port}",
        listening=listening,
    )
