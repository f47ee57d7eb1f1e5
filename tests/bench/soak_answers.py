"""What a native answer of each dialect says, read independently of midstream's own decoders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from translated import ANTHROPIC, CHAT, GOOGLE, OLLAMAS, RESPONSES


@dataclass
class Told:
    """ended: by its terminal event. error: what it says went wrong."""

    text: str = ""
    ended: bool = False
    error: str = ""


def read(dialect: str, body: bytes) -> Told:
    told = Told()
    for said in _objects(dialect, body):
        if said is None:
            told.ended = True
        else:
            _READ[dialect](said, told)
    return told


def _objects(dialect: str, body: bytes) -> Iterator[Any]:
    """The JSON of each frame; None for `[DONE]`. What is cut off at the end is left out."""
    if dialect == OLLAMAS:
        yield from (json.loads(line) for line in body.split(b"\n")[:-1] if line.strip())
        return
    for block in body.replace(b"\r\n", b"\n").split(b"\n\n")[:-1]:
        data = b"\n".join(line[5:].strip() for line in block.split(b"\n") if line.startswith(b"data:"))
        if data:
            yield None if data == b"[DONE]" else json.loads(data)


def _chat(said: Any, told: Told) -> None:
    told.error = told.error or str(said.get("error") or "")
    for choice in said.get("choices", ()):
        told.text += choice["delta"].get("content") or ""


def _responses(said: Any, told: Told) -> None:
    kind = said.get("type", "")
    told.text += said["delta"] if kind == "response.output_text.delta" else ""
    told.ended = told.ended or kind == "response.completed"
    told.error = told.error or (str(said) if kind in ("error", "response.failed") else "")


def _anthropic(said: Any, told: Told) -> None:
    kind = said.get("type", "")
    told.text += said["delta"].get("text", "") if kind == "content_block_delta" else ""
    told.ended = told.ended or kind == "message_stop"
    told.error = told.error or (str(said["error"]) if kind == "error" else "")


def _gemini(said: Any, told: Told) -> None:
    told.error = told.error or str(said.get("error") or "")
    for candidate in said.get("candidates", ()):
        told.text += "".join(part.get("text", "") for part in candidate.get("content", {}).get("parts", ()))
        told.ended = told.ended or bool(candidate.get("finishReason"))


def _ollama(said: Any, told: Told) -> None:
    told.error = told.error or str(said.get("error") or "")
    told.text += said.get("message", {}).get("content", "")
    told.ended = told.ended or bool(said.get("done"))


_READ = {CHAT: _chat, RESPONSES: _responses, ANTHROPIC: _anthropic, GOOGLE: _gemini, OLLAMAS: _ollama}
