"""The program of `midstream demo`: the official SDKs, used as anybody would, in a process that knows nothing of midstream.

Reads its calls from standard input, [{"sdk": "openai" | "anthropic", "request": {…}}, …], and writes JSON lines: {"call": n,
"start": true}, then one for each piece that arrives, {"call": n, "text": …} or {"call": n, "tool": name, "arguments": …}, and at
last {"call": n, "end": true} or {"call": n, "error": …}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

TIMEOUT = 120.0
"""Seconds an SDK waits for the next piece."""


def ask_openai(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Chat completions, streamed."""
    from openai import OpenAI

    client = OpenAI(max_retries=0, timeout=TIMEOUT)
    for chunk in client.chat.completions.create(**{**request, "stream": True}):
        for choice in chunk.choices:
            if choice.delta.content:
                yield {"text": choice.delta.content}
            for call in choice.delta.tool_calls or []:
                if call.function:
                    yield {"tool": call.function.name or "", "arguments": call.function.arguments or ""}


def ask_anthropic(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Messages, streamed."""
    from anthropic import Anthropic

    client = Anthropic(max_retries=0, timeout=TIMEOUT)
    for event in client.messages.create(**{**request, "stream": True}):
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            yield {"text": event.delta.text}


SDKS: dict[str, Callable[[dict[str, Any]], Iterator[dict[str, Any]]]] = {
    "openai": ask_openai,
    "anthropic": ask_anthropic,
}


def main() -> None:
    for number, call in enumerate(json.load(sys.stdin)):
        say(number, {"start": True})
        try:
            for piece in SDKS[call["sdk"]](call["request"]):
                say(number, piece)
            say(number, {"end": True})
        except Exception as e:  # whatever an SDK raises is what the user should read
            say(number, {"error": f"{type(e).__name__}: {e}"})


def say(number: int, piece: dict[str, Any]) -> None:
    print(json.dumps({"call": number, **piece}), flush=True)


if __name__ == "__main__":
    main()
