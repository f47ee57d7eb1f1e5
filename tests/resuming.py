"""Recorded streams cut between two frames, with frames of ours behind the cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import exchanges
from encoded import dialect_of
from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.base import AnswerOptions, Dialect
from midstream.dialects.finish_reasons import openai_finish_reason
from midstream.dialects.registry import DIALECTS
from midstream.events import END, OPAQUE, Event, Failure, Malformed, Reasoning, Refusal, Text
from midstream.recording import read
from midstream.wire.framing import Framing

RECORDINGS = Path(__file__).parent.parent / "recordings"
EVERY = 40
"""Streams of no more frames than this are cut at each, longer ones at so many."""
SOME = 4
"""The same for the corpus."""


@dataclass(frozen=True)
class Native:
    """A recorded stream, frame by frame: where each ends in the body, and what it means; the end of the body is the last."""

    id: str
    dialect: Dialect
    path: str
    content_type: str
    body: bytes
    ends: tuple[int, ...]
    said: tuple[tuple[Event, ...], ...]
    most: int = EVERY

    @property
    def events(self) -> list[Event]:
        return [event for said in self.said for event in said]

    def cuts(self) -> Iterator[int]:
        """How many frames the client gets of the provider's own. (After none all is an encoder's own; its tests have that.)"""
        frames = len(self.ends)
        step = max(frames / self.most, 1)
        yield from sorted({1 + int(n * step) for n in range(min(frames, self.most))} | {frames - 1, frames})

    def decoder(self, cut: int) -> AnswerDecoder:
        """What has read the frames before the cut."""
        decoder = AnswerDecoder(self.dialect, content_type=self.content_type)
        decoder.feed_frames(self.body[: self.end(cut)])
        return decoder

    def end(self, cut: int) -> int:
        return self.ends[cut - 1] if cut else 0

    def before(self, cut: int) -> list[Event]:
        return coalesced([event for said in self.said[:cut] for event in said])

    def after(self, cut: int) -> list[Event]:
        return [event for said in self.said[cut:] for event in said]

    def healed(
        self, cut: int, rest: Sequence[Event] | None = None, *, blind: bool = False, functions: bool = False
    ) -> bytes:
        """The provider's own frames up to the cut, and ours for what the others mean. rest: what comes instead of them.
        blind: without the decoder that read the provider's own."""
        assert self.dialect.resume is not None
        native = self.decoder(cut)
        options = AnswerOptions(id="st_1", model="asked", created=1_700_000_000, path=self.path, functions=functions)
        encoder = self.dialect.resume(options, self.before(cut), None if blind else native.decoder)
        framing = Framing(native.framing or self.dialect.framing(self.path, {}), begun=cut > 0)
        out = self.body[: self.end(cut)]
        for event in self.after(cut) if rest is None else rest:
            out += framing.write(encoder.feed(event))
        return out + framing.close()

    def exchange(self, body: bytes) -> exchanges.Exchange:
        headers = {"content-type": self.content_type}
        return exchanges.Exchange("", "", "", "stream", "sse", "", (), {}, 200, headers, body, [], {})


def coalesced(events: Sequence[Event]) -> list[Event]:
    """As a keeper of what a client has got would hold them."""
    kept: list[Event] = []
    for event in events:
        last = kept[-1] if kept else None
        if event == OPAQUE:
            continue
        if isinstance(event, Text | Refusal) and type(last) is type(event) and at(last) == at(event):
            kept[-1] = type(event)(last.text + event.text, event.choice, event.block)
        elif isinstance(event, Reasoning) and isinstance(last, Reasoning) and at(last) == at(event):
            signature = last.signature + event.signature
            kept[-1] = Reasoning(last.text + event.text, event.choice, event.block, signature)
        else:
            kept.append(event)
    return kept


def at(event: Any) -> tuple[int, int]:
    return event.choice, event.block


def native(id_: str, dialect: Dialect, path: str, content_type: str, body: bytes) -> Native:
    decoder = AnswerDecoder(dialect, content_type=content_type)
    frames = decoder.feed_frames(body)
    last = decoder.close_frames()
    frames += last[:-1]
    ends = [end for end, events in frames if events]
    said = [tuple(events) for _, events in frames if events]
    return Native(id_, dialect, path, content_type, body, tuple(ends), (*said, tuple(last[-1][1])))


def whole(stream: Native) -> bool:
    """A healthy stream: of several frames, and with an end."""
    broken = any(isinstance(event, Failure | Malformed) for event in stream.events)
    return not broken and END in stream.events and len(stream.ends) > 1


@cache
def streams(name: str) -> list[Native]:
    """Every recorded stream of a dialect: those that are shipped, and the corpus."""
    return [stream for stream in (*_shipped(name), *_corpus(name)) if whole(stream)]


def _shipped(name: str) -> Iterator[Native]:
    for file in sorted((RECORDINGS / name).glob("*.jsonl")):
        recording = read(file)
        header = recording.header
        if header.response.status == 200 and not header.websocket:
            url = urlsplit(header.request.url)
            dialect = next(d for d in DIALECTS if d.name == name and any(p.search(url.path) for p in d.paths))
            content_type = header.response.headers.get("content-type", "")
            yield native(file.stem, dialect, f"{url.path}?{url.query}", content_type, recording.body)


def _corpus(name: str) -> Iterator[Native]:
    for exchange in exchanges.corpus():
        dialect = dialect_of(exchange.api, exchange.provider) if exchange.kind == "stream" else None
        if dialect is not None and dialect.name == name:
            url = urlsplit(exchange.request.get("url") or "")
            stream = native(exchange.id, dialect, f"{url.path}?{url.query}", exchange.content_type, exchange.body)
            yield replace(stream, most=SOME)


def check[T](
    stream: Native,
    sdk_says: Callable[[bytes], T],
    readable: Callable[[T, exchanges.Said], bool],
    at: Callable[[Native, int], bool] = lambda stream, cut: True,
    *,
    blind: bool = False,
) -> None:
    """At every cut: our decoder and the SDK make the same of the healed stream as of the provider's own.

    readable: whether the SDK makes of the provider's own what it says. at: whether a stream can go on there.
    """
    said = exchanges.fold(stream.events)
    expected = attempt(sdk_says, stream.body)
    judges = expected is not None and readable(expected, said)
    cuts = [cut for cut in stream.cuts() if at(stream, cut)]
    assert cuts
    for cut in cuts:
        body = stream.healed(cut, blind=blind)
        assert body.startswith(stream.body[: stream.end(cut)])
        again = native("", stream.dialect, stream.path, stream.content_type, body)
        assert told(exchanges.fold(again.events), said) == told(said, said), cut
        assert not judges or sdk_says(body) == expected, cut


def attempt[T](sdk_says: Callable[[bytes], T], body: bytes) -> T | None:
    """None where the SDK cannot read the provider's own stream either."""
    try:
        return sdk_says(body)
    except Exception as error:  # whatever it is that it stumbles over
        print("the SDK cannot read the recording:", repr(error))
        return None


def told(said: exchanges.Said, expected: exchanges.Said) -> Any:
    """Finish reasons in OpenAI's words, since an encoder knows no other provider's, and only where one was expected; arguments
    where there are none as clients need them."""
    calls = [(call["id"], call["name"], call["arguments"] or "{}") for call in said.tool_calls]
    counts = said.usage_events[-1:]
    usage = [(u.input_tokens, u.output_tokens, u.cached_tokens or 0) for u in counts]
    called = {choice for choice, _ in said.tools}
    finishes = {n: openai_finish_reason(word, called=n in called) for n, word in said.finishes.items()}
    finishes = {n: word for n, word in finishes.items() if n in expected.finishes}
    return said.texts, said.reasoning, said.refusal, calls, finishes, usage, said.ended, said.failure
