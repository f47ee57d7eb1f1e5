"""What the live page costs the streams, whether it keeps up with them, and how long a scrape takes; one mitmdump for all.

    python tests/bench/watched.py [--rounds 3] [--parts look,serve,relay,frames,scrape]

look, serve: what the page costs mitmdump by itself. relay: 100 streams with no page open, with the page's events read, and with a
Chromium that shows it, in turns within every round: at 50 tokens/s each, then as fast as they go. The processor time of
mitmdump for each chunk tells most on a busy machine; the rest is ratios to the same round without a page. frames: what a
Chromium draws with 200 streams on the page. scrape: /metrics with as many label sets as there can be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from client import ask, connect, percentile, request, stream
from contender import ADDONS, SCRIPTS, Contender, Provider, providing

sys.path.insert(0, str(Path(__file__).parent.parent))

sys.path.insert(0, str(ADDONS))

from end_to_end.chromium import Chromium
from end_to_end.devtools import Tab, tab
from midstream.events import Text
from midstream.ledger import Account
from midstream.observation import Observation
from midstream.records import StreamRecord
from midstream.watch.board import Board
from midstream.watch.feed import TICK

STREAMS, PACE, CHUNKS, FLOOD = 100, 0.02, 300, 2000
SHOWN = 200
"""Streams on the page while its frames are counted."""
SECONDS = 6
MODELS = 250
"""More than a metric has label sets."""
SCRAPES = 20
LOOKS = 400
LISTENER = 18_181
"""The gateway's port."""
PAGE = f"http://127.0.0.1:{LISTENER}/"
WAYS = ("no page", "events", "chromium")

READ = "import sys, urllib.request\nfor line in urllib.request.urlopen(sys.argv[1]): pass"
LIVE = "document.querySelector('#connection')?.dataset.state === 'live'"
COUNT = """new Promise((done) => {
  const began = performance.now(); let n = 0; let worst = 0; let last = began;
  const frame = () => {
    const now = performance.now(); n += 1; worst = Math.max(worst, now - last); last = now;
    if (now - began < %d) requestAnimationFrame(frame); else done([n * 1000 / (now - began), worst]);
  };
  requestAnimationFrame(frame);
})"""


@contextmanager
def watching(how: str, chromium: Chromium) -> Iterator[Tab | None]:
    if how == "chromium":
        with tab(chromium, PAGE) as page:
            page.size(1400, 1000)
            page.until(LIVE)
            yield page
    elif how == "events":
        environment = {k: v for k, v in os.environ.items() if "PROXY" not in k.upper()}
        command = [sys.executable, "-c", READ, f"{PAGE}live/events"]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            yield None
        finally:
            process.terminate()
            process.wait()
    else:
        yield None


def chromium_cpu(chromium: Chromium) -> float:
    """Seconds of processor time that all its processes have used."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == chromium._process.pid:
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def look() -> None:
    """The work behind every update of the page, without the wire: it is done once for all who watch."""
    live = {
        f"s{n}": Account(Observation(StreamRecord(id=f"s{n}", started_at="", app="curl"), 0.0)) for n in range(STREAMS)
    }
    board, now, used, size = Board(), 0.0, 0.0, 0
    for _ in range(LOOKS):
        now += TICK
        for account in live.values():
            account.observation.feed([Text("word")] * round(TICK / PACE), now)
        started = time.thread_time()
        board.look(live, [], now, now)
        used += time.thread_time() - started
        size = len((board.since(board.last - 1) or [(0, b"")])[0][1])
    print(
        f"look: {used / LOOKS * 1000:.2f} ms at {STREAMS} streams, {size} bytes, {1 / TICK:.0f} times a second:",
        end=" ",
    )
    print(f"{used / LOOKS / TICK:.1%} of a core while somebody watches")


async def paced(contender: Contender, provider: Provider, streams: int, chunks: int, pace: float = PACE) -> list[float]:
    """Each chunk's delay, in milliseconds."""
    heard = await asyncio.gather(*(stream(contender, provider, f"n={chunks}&pace={pace}") for _ in range(streams)))
    return [delay for one in heard for delay in one.delays_ms]


async def flood(contender: Contender, provider: Provider) -> None:
    await asyncio.gather(*(stream(contender, provider, f"n={FLOOD}") for _ in range(STREAMS)))


def serve(contender: Contender, provider: Provider, chromium: Chromium) -> None:
    """All that showing the page costs mitmdump: chunks so slow that they never arrive together, which would make them cheaper."""
    used: dict[str, list[float]] = defaultdict(list)
    for _ in range(2):
        for how in WAYS:
            with watching(how, chromium):
                before, began = contender.cpu_seconds(), time.perf_counter()
                asyncio.run(paced(contender, provider, STREAMS, 12, 0.5))
                used[how].append((contender.cpu_seconds() - before) / (time.perf_counter() - began))
    shown = (f"{how} {min(values):.1%}" for how, values in used.items())
    print(f"serve: of a core, at {STREAMS} streams of 2 tokens/s: {', '.join(shown)}")


def relay(contender: Contender, provider: Provider) -> dict[str, float]:
    before = contender.cpu_seconds()
    delays = asyncio.run(paced(contender, provider, STREAMS, CHUNKS))
    between, started = contender.cpu_seconds(), time.perf_counter()
    asyncio.run(flood(contender, provider))
    took = time.perf_counter() - started
    return {
        "paced: mitmdump's µs for a chunk": (between - before) * 1e6 / (STREAMS * CHUNKS),
        "paced: delay of a chunk p50, ms": percentile(delays, 50),
        "paced: delay of a chunk p99, ms": percentile(delays, 99),
        "flood: mitmdump's µs for a chunk": (contender.cpu_seconds() - between) * 1e6 / (STREAMS * FLOOD),
        "flood: chunks/s": STREAMS * FLOOD / took,
    }


def relay_in_turns(contender: Contender, provider: Provider, chromium: Chromium, rounds: int) -> None:
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for n in range(rounds):
        for how in WAYS[n % 3 :] + WAYS[: n % 3]:
            with watching(how, chromium):
                for name, value in relay(contender, provider).items():
                    found[name][how].append(value)
    print(f"{'':36}" + "".join(f"{how:>22}" for how in WAYS))
    for name, values in found.items():
        base = values["no page"]
        shown = []
        for how in WAYS:
            change = statistics.median(b / a - 1 for a, b in zip(base, values[how], strict=True))
            more = f" ({change:+.1%})" if how != "no page" else ""
            shown.append(f"{statistics.median(values[how]):.1f}{more}")
        print(f"{name:36}" + "".join(f"{one:>22}" for one in shown))


def frames(contender: Contender, provider: Provider, chromium: Chromium) -> None:
    chunks = int((SECONDS + 6) / PACE)
    flowing = threading.Thread(target=lambda: asyncio.run(paced(contender, provider, SHOWN, chunks)))
    with tab(chromium, PAGE) as page:
        page.size(1400, 1000)
        page.do("Performance.enable", timeDomain="threadTicks")
        page.until(LIVE)
        idle = page.js(COUNT % 1500)
        flowing.start()
        page.until(f"document.querySelectorAll('#live-rows .stream').length >= {SHOWN}")
        before, used = _busy(page), chromium_cpu(chromium)
        rate, worst = page.js(COUNT % (SECONDS * 1000))
        busy, used = (_busy(page) - before) / SECONDS, (chromium_cpu(chromium) - used) / SECONDS
    flowing.join()
    print(
        f"frames: {rate:.1f} a second with {SHOWN} streams (idle {idle[0]:.1f}), the longest {worst:.0f} ms apart;",
        end=" ",
    )
    print(f"the page's own thread takes {busy:.0%} of a core, all of Chromium {used:.0%}")


def _busy(page: Tab) -> float:
    metrics = {one["name"]: one["value"] for one in page.do("Performance.getMetrics")["metrics"]}
    return float(metrics["TaskDuration"])


def scrape(contender: Contender, provider: Provider) -> None:
    asyncio.run(many_models(contender, provider))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    asked = urllib.request.Request(f"{PAGE}metrics", headers={"accept-encoding": "gzip"})  # as Prometheus does
    took, size, before = list[float](), 0, contender.cpu_seconds()
    for _ in range(SCRAPES):
        started = time.perf_counter()
        size = len(opener.open(asked).read())
        took.append((time.perf_counter() - started) * 1000)
    used = (contender.cpu_seconds() - before) * 1000 / SCRAPES
    print(f"scrape: {statistics.median(took):.1f} ms (longest {max(took):.1f}), {size / 1000:.0f} kB;", end=" ")
    print(f"{used:.1f} ms of mitmdump's processor time")


async def many_models(contender: Contender, provider: Provider) -> None:
    origin = f"http://127.0.0.1:{provider.port}"
    for n in range(MODELS):
        reader, writer = await connect(contender, provider)
        asked = request("n=3", provider.port, origin).replace(b"gpt-4o-mini", b"model-%05d" % n)  # as long
        await ask(reader, writer, asked)
        writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", default="look,serve,relay,frames,scrape")
    options = parser.parse_args()
    parts = options.parts.split(",")
    if "look" in parts:
        look()
    SCRIPTS["watched"] = ADDONS / "relay_streams.py"
    modes = ("--mode", "regular", "--mode", f"reverse:http://midstream.internal@{LISTENER}")
    contender = Contender("watched")
    with providing() as provider, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        contender.start(folder, provider, "-s", str(ADDONS / "watch_streams.py"), *modes)
        chromium = Chromium(folder, contender.certificate)
        try:
            asyncio.run(paced(contender, provider, 10, 20))
            time.sleep(3)  # the tokenizer is loaded in the background
            if "serve" in parts:
                serve(contender, provider, chromium)
            if "relay" in parts:
                relay_in_turns(contender, provider, chromium, options.rounds)
            if "frames" in parts:
                frames(contender, provider, chromium)
            if "scrape" in parts:
                scrape(contender, provider)
        finally:
            chromium.stop()
            contender.stop()


if __name__ == "__main__":
    main()
