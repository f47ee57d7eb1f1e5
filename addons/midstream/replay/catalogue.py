"""Which recording answers a request. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from midstream.recording import Header, Recording
from midstream.wire.json_text import as_dict, as_str

_STREAMS_UNASKED = re.compile(r"/api/(chat|generate)$")
"""Ollama streams unless the body says `"stream": false`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request is matched by. stream: None where the body does not tell."""

    method: str
    host: str
    path: str
    query: frozenset[tuple[str, str]]
    model: str
    stream: bool | None
    websocket: bool


def wanted(method: str, url: str, body: Any, *, websocket: bool) -> Wanted:
    """Read a request (method, whole URL, parsed JSON body) as what it is matched by."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return Wanted(method.upper(), "", "", frozenset(), "", None, websocket)
    path = re.sub("/+", "/", unquote(parts.path)).rstrip("/") or "/"
    query = frozenset(parse_qsl(parts.query))
    fields = as_dict(body)
    return Wanted(
        method=method.upper(),
        host=host.lower(),
        path=path,
        query=query,
        model=as_str(fields.get("model")) or dict(query).get("model", ""),
        stream=bool(fields.get("stream", bool(_STREAMS_UNASKED.search(path)))) if fields else None,
        websocket=websocket,
    )


def of_header(header: Header) -> Wanted:
    """Return what a recording's own request asked for."""
    request = header.request
    return wanted(request.method, request.url, request.body, websocket=header.websocket)


class Catalogue:
    """Recordings to choose from; several that fit equally well take turns."""

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self._entries = [(of_header(recording.header), recording) for recording in recordings]
        self._turns: dict[tuple[int, ...], int] = {}

    @property
    def hosts(self) -> list[str]:
        """The hosts that were recorded, sorted."""
        return sorted({wanted.host for wanted, _ in self._entries if wanted.host})

    def find(self, request: Wanted) -> Recording | None:
        """Return the recording that answers this request, or None.

        Method, path, WebSocket or not, and streamed or not must agree. Among those that do, the ones of the same host, the
        same model and the most of the same query are preferred, in this order: a client whose base URL is ours sends another
        host, and one recording should answer whatever model is asked for.
        """
        fits = [(w, r) for w, r in self._entries if _fits(w, request)]
        if not fits:
            return None
        best = max(_likeness(w, request) for w, _ in fits)
        choice = [r for w, r in fits if _likeness(w, request) == best]
        return choice[self._turn(choice) % len(choice)]

    def listing(self) -> list[dict[str, str]]:
        """Return what there is, for the answer to a request that nothing fits."""
        return [
            {
                "method": w.method,
                "host": w.host,
                "path": w.path,
                "model": w.model,
                "stream": _said(w),
                "recording": r.name,
            }
            for w, r in self._entries
        ]

    def _turn(self, choice: Sequence[Recording]) -> int:
        key = tuple(map(id, choice))
        turn = self._turns.get(key, 0)
        self._turns[key] = turn + 1
        return turn


def _fits(recorded: Wanted, request: Wanted) -> bool:
    same = (recorded.method, recorded.path, recorded.websocket) == (request.method, request.path, request.websocket)
    return same and (recorded.stream is None or request.stream is None or recorded.stream == request.stream)


def _likeness(recorded: Wanted, request: Wanted) -> tuple[bool, bool, int]:
    # alt=sse or not is the difference between Gemini's two framings
    same_query = len(recorded.query & request.query) - len(recorded.query ^ request.query)
    return recorded.host == request.host, recorded.model == request.model, same_query


def _said(wanted: Wanted) -> str:
    if wanted.websocket:
        return "websocket"
    return "unknown" if wanted.stream is None else str(wanted.stream).lower()
