"""What one round measures of every contender, in turn. All figures are what the client sees."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cost
from client import Heard, Reader, Writer, ask, connect, percentile, request_of, stream
from contender import Contender, Provider
from crowd import Crowd
from sheet import BESIDE, Sheet

PACE = 0.02
"""Seconds between two tokens: 50 a second."""

LATE = 0.001
"""The share of a step's tokens that may come after a gap of twice the pace: any machine makes a program wait now and then."""

OPENED_PER_SECOND = 50

WINDOW, LOOKS = 1.5, 3
"""Seconds of a step that are looked at, and how often at most until they are good: a moment in which the machine was busy with
something else is not the proxy's limit."""


@dataclass(frozen=True)
class Effort:
    """How long a round takes. flood: seconds. asks: of one stream. crowd: seconds after all have opened. calls: seconds.
    each: requests of each of a few clients. steps: the numbers of streams at which `sustained` looks."""

    flood: float
    asks: int
    crowd: float
    calls: float
    each: int
    steps: Sequence[int]


FULL = Effort(
    flood=1.5,
    asks=25,
    crowd=3.0,
    calls=2.0,
    each=15,
    steps=(10, 25, 50, 100, 150, 200, 250, 300, 400, 500, 600, 800, 1000),
)
QUICK = Effort(flood=0.7, asks=15, crowd=1.5, calls=1.0, each=8, steps=(10, 50, 100, 200, 300, 400, 500))


@dataclass
class Measuring:
    """One run: what is compared, how long, and where it is noted."""

    contenders: Sequence[Contender]
    provider: Provider
    effort: Effort
    sheet: Sheet
    say: Callable[[str], None]
    grown: set[str] = field(default_factory=set)
    """Whose memory per stream is known: that of the first crowd, since the next ones find it there."""

    def warm_up(self) -> None:
        """Imports, pools, tokenizers; and the memory of a process that has done something, and now does nothing."""
        for contender in self.contenders:
            asyncio.run(self._several(contender, 10, "n=50&pace=0.002"))
        time.sleep(2)
        for contender in self.contenders:
            if contender.process is not None:
                self.sheet.note("memory, idle, MiB", contender.name, contender.rss_kib() / 1024)

    async def _several(self, contender: Contender, streams: int, query: str) -> list[Heard]:
        return await asyncio.gather(*(stream(contender, self.provider, query) for _ in range(streams)))

    def round(self) -> None:
        asyncio.run(self.one_stream())
        for streams in (20, 100):
            base = [0.0] * 4
            for contender in self.contenders:
                base = self.crowd(contender, streams, base)
        for streams in (1, 20):
            for contender in self.contenders:
                self.flood(contender, streams)
        for contender in self.contenders:
            asyncio.run(self.calls(contender))
        for contender in self.contenders:
            if contender.process is not None and contender.peer is None:  # the others take no CONNECT
                asyncio.run(self.costs(contender))

    async def one_stream(self) -> None:
        """One after another, on a kept connection each; contenders in turn, so that a slow moment hits everybody."""
        pairs = [(c, await connect(c, self.provider)) for c in self.contenders]
        heard: dict[str, list[Heard]] = {c.name: [] for c in self.contenders}
        for number in range(self.effort.asks + 2):
            for contender, (reader, writer) in pairs:
                one = await ask(reader, writer, request_of(contender, self.provider, f"n=5&pace={PACE}"))
                if number >= 2:
                    heard[contender.name].append(one)
        for _, (_, writer) in pairs:
            writer.close()
        base = [0.0] * 4
        for contender in self.contenders:
            said = heard[contender.name]
            base = self._added(contender, 1, [h.first_ms for h in said], [d for h in said for d in h.delays_ms], base)
        self.say("one stream")

    def crowd(self, contender: Contender, streams: int, base: list[float]) -> list[float]:
        """Streams at 50 tokens/s, each on a connection of its own, 50 opened a second. Returns the percentiles of `direct`."""
        opening = streams / OPENED_PER_SECOND
        crowd = Crowd(contender, self.provider, PACE, int((opening + self.effort.crowd) / PACE))
        rss, cpu = contender.rss_kib(), contender.cpu_seconds()
        crowd.open(streams, opening)
        crowd.read(self.effort.crowd * 0.8)
        peak = contender.rss_kib()
        crowd.read(30.0)
        crowd.close()
        if contender.process is not None and streams == 100:
            used = contender.cpu_seconds() - cpu
            self.sheet.note("CPU at 50 tokens/s, ms per 1000 chunks", contender.name, used * 1e6 / len(crowd.delays_ms))
            if contender.name not in self.grown:
                self.grown.add(contender.name)
                self.sheet.note("memory per open stream, KiB", contender.name, (peak - rss) / streams)
            self.sheet.note("memory, at 100 streams, MiB", contender.name, peak / 1024)
        self.say(f"{streams} streams: {contender.name}")
        return self._added(contender, streams, crowd.firsts_ms, crowd.delays_ms, base)

    def _added(
        self, contender: Contender, streams: int, firsts: list[float], delays: list[float], base: list[float]
    ) -> list[float]:
        label = "1 stream" if streams == 1 else f"{streams} streams"
        mine = [percentile(values, p) for values in (firsts, delays) for p in (50, 99)]
        base = mine if contender.name == BESIDE else base
        for name, value, at_least in zip(
            ("first token p50", "first token p99", "chunk p50", "chunk p99"), mine, base, strict=True
        ):
            self.sheet.note(f"{name}, {label}, ms", contender.name, value)
            self.sheet.beyond(f"added to {name}, {label}, ms", contender.name, value, at_least)
        return base

    def flood(self, contender: Contender, streams: int) -> None:
        """Chunks as fast as they go, so many that they take the time that is wanted."""
        trial = 500 * streams
        trial_time = self._timed(contender, streams, trial // streams)
        each = max(500, int(trial / trial_time * self.effort.flood / streams))
        cpu = contender.cpu_seconds()
        took = self._timed(contender, streams, each)
        label = "1 stream" if streams == 1 else f"{streams} streams"
        self.sheet.note(f"most chunks/s, {label}", contender.name, each * streams / took)
        if contender.process is not None:
            used = (contender.cpu_seconds() - cpu) * 1e6 / (each * streams)
            self.sheet.note(f"CPU at most chunks/s, {label}, ms per 1000 chunks", contender.name, used)
        self.say(f"flood of {label}: {contender.name}")

    def _timed(self, contender: Contender, streams: int, each: int) -> float:
        started = time.perf_counter()
        heard = asyncio.run(self._several(contender, streams, f"n={each}"))
        took = time.perf_counter() - started
        if any(h.count < each * 0.99 for h in heard):  # a token cut in two by a read is not counted
            raise SystemExit(f"{contender.name}: chunks were lost: {[h.count for h in heard]}")
        return took

    async def calls(self, contender: Contender) -> None:
        """Answers of one piece, asked for by 20 clients one after another."""
        asked = request_of(contender, self.provider, "", stream=False)
        until = time.perf_counter() + self.effort.calls
        counts = await asyncio.gather(*(self._caller(contender, asked, until) for _ in range(20)))
        self.sheet.note("short calls/s, 20 clients", contender.name, sum(counts) / self.effort.calls)
        self.say(f"short calls: {contender.name}")

    async def _caller(self, contender: Contender, asked: bytes, until: float) -> int:
        reader, writer = await connect(contender, self.provider)
        count = 0
        while time.perf_counter() < until:
            await call(reader, writer, asked)
            count += 1
        writer.close()
        return count

    async def costs(self, contender: Contender) -> None:
        """What a connection and a request take, of the processor."""
        for measure, value in (await cost.of_requests(contender, self.provider, self.effort.each)).items():
            self.sheet.note(measure, contender.name, value)
        self.say(f"CPU of requests: {contender.name}")

    def sustained(self, contender: Contender) -> None:
        """Open more and more streams at 50 tokens/s; note how many there were before tokens came late."""
        crowd, most = Crowd(contender, self.provider, PACE), 0
        for step in self.effort.steps:
            more = step - len(crowd.streams)
            crowd.open(more, more / OPENED_PER_SECOND)
            crowd.read(0.5)
            if not any(self._keeps_up(crowd) for _ in range(LOOKS)):
                break
            most = step
        crowd.close()
        self.sheet.note("streams sustained at 50 tokens/s", contender.name, most)
        self.say(f"sustained: {contender.name}: {most}")
        time.sleep(2)  # what was left is cancelled

    def _keeps_up(self, crowd: Crowd) -> bool:
        """Whether every stream goes on, at its pace, without a stall of twice the pace (but for a few)."""
        crowd.forget()
        crowd.read(WINDOW)
        gaps, expected = crowd.gaps_ms, len(crowd.streams) * WINDOW / PACE
        late = sum(gap > 2 * PACE * 1000 for gap in gaps)
        return not any(s.ended for s in crowd.streams) and len(gaps) >= 0.95 * expected and late <= LATE * len(gaps)


async def call(reader: Reader, writer: Writer, asked: bytes) -> None:
    """One answer, of a known length or chunked."""
    writer.write(asked)
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head[:16]:
        raise SystemExit(f"a short call was refused: {head!r}")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    if length:
        await reader.readexactly(int(length.group(1)))
    else:
        await reader.readuntil(b"\r\n0\r\n\r\n")
