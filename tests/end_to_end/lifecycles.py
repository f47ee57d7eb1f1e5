"""What each official SDK's stream must yield from first event to last, whoever said it: one answer, told once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from translated import ANTHROPIC, CHAT, GOOGLE, OLLAMAS, RESPONSES


def _chat(events: list[Any]) -> None:
    """One id, model and creation time; the role first; one finish reason, and only the usage behind it."""
    chunks = [event.chunk for event in events if event.type == "chunk"]
    assert len({(chunk.id, chunk.model, chunk.created) for chunk in chunks}) == 1
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert [delta.role for delta in deltas if delta.role] == ["assistant"]
    assert deltas[0].role
    finishes = [at for at, chunk in enumerate(chunks) if chunk.choices and chunk.choices[0].finish_reason]
    assert len(finishes) == 1
    assert [bool(chunk.choices) for chunk in chunks[finishes[0] :]] == [True, False]
    assert chunks[-1].usage is not None
    calls = [call for delta in deltas for call in delta.tool_calls or []]
    assert [bool(call.id and call.function.name) for call in calls] == [n == 0 for n in range(len(calls))]


def _responses(events: list[Any]) -> None:
    """Numbered without a gap; one response; each item added, then done, one after another."""
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.created") == kinds.count("response.completed") == 1
    assert len({event.response.id for event in events if hasattr(event, "response")}) == 1
    items = [
        (event.type.rpartition(".")[2], event.output_index)
        for event in events
        if event.type.startswith("response.output_item.")
    ]
    assert items == [(kind, n) for n in range(len(items) // 2) for kind in ("added", "done")]
    added = [event.item.id for event in events if event.type == "response.output_item.added"]
    assert added == [item.id for item in events[-1].response.output]
    assert len(set(added)) == len(added)


def _anthropic(events: list[Any]) -> None:
    """message_start, blocks one after another and numbered from 0, message_delta, message_stop."""
    raw = [event for event in events if event.type in _RAW]
    kinds = [event.type for event in raw]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("message_start") == kinds.count("message_delta") == kinds.count("message_stop") == 1
    open_, count = False, 0
    for event in raw[1:-2]:
        if event.type == "content_block_start":
            assert (open_, event.index) == (False, count)
            open_, count = True, count + 1
        else:
            assert (open_, event.index) == (True, count - 1)
            open_ = event.type != "content_block_stop"
    assert not open_


_RAW = (
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
)


def _gemini(chunks: list[Any]) -> None:
    """One id and model; a finish reason at the end alone, with the usage."""
    assert len({(chunk.response_id, chunk.model_version) for chunk in chunks}) == 1
    finished = [bool(c.candidates and c.candidates[0].finish_reason) for c in chunks]
    assert finished == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].usage_metadata is not None


def _ollama(chunks: list[Any]) -> None:
    """One model; `done` in the last line alone, with the counts."""
    assert len({chunk.model for chunk in chunks}) == 1
    assert [bool(chunk.done) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].eval_count is not None


LIFECYCLES: dict[str, Callable[[list[Any]], None]] = {
    CHAT: _chat,
    RESPONSES: _responses,
    ANTHROPIC: _anthropic,
    GOOGLE: _gemini,
    OLLAMAS: _ollama,
}
"""By the client's dialect: raises where the events are none of a whole answer's."""
