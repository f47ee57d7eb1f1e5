"""Side by side in one run: plain mitmdump (streaming), midstream measuring, midstream relaying.

    python tests/bench/bench.py [--rounds 5] [--json]

Machines are noisy: only the ratios within one run mean anything. Contenders take turns within every round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ADDONS = HERE.parent.parent / "addons"
BODY = json.dumps({"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}).encode()
FLOOD = 20_000
BIG = 20 * 1024 * 1024


@dataclass
class Contender:
    """One mitmdump, its scripts, and what was measured of it."""

    name: str
    scripts: tuple[Path, ...]
    process: subprocess.Popen[str] | None = None
    port: int = 0
    chunks_per_s: dict[int, list[float]] = field(default_factory=dict)
    first_ms: list[float] = field(default_factory=list)
    kib_per_stream: float = 0.0
    kib_grown: float = 0.0

    def start(self, folder: Path) -> None:
        command = [sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()"]
        command = [*command, *(w for s in self.scripts for w in ("-s", str(s)))]
        command += ["--listen-host", "127.0.0.1", "--listen-port", "0", "--set", f"confdir={folder / 'conf'}"]
        command += ["--set", "flow_detail=0", "--set", "connection_strategy=lazy"]
        if self.name != "plain":
            command += ["--set", f"midstream_db={folder / (self.name + '.db')}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"listening at .*?:(\d+)", line):
                self.port = int(found.group(1))
                threading.Thread(target=self.process.stdout.read, daemon=True).start()  # else the pipe fills
                return
        raise SystemExit(f"{self.name}: mitmdump did not come up")

    def rss_kib(self) -> int:
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))  # type: ignore[union-attr]

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()


async def stream(port: int, provider: int, query: str) -> tuple[float, int]:
    """One request on a fresh connection: milliseconds to the first content, chunks received."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        return await ask(reader, writer, provider, query)
    finally:
        writer.close()


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, provider: int, query: str
) -> tuple[float, int]:
    target = f"http://127.0.0.1:{provider}/v1/chat/completions?{query}"
    fields = f"host: 127.0.0.1:{provider}\r\ncontent-type: application/json\r\ncontent-length: {len(BODY)}"
    started = time.perf_counter()
    writer.write(f"POST {target} HTTP/1.1\r\n{fields}\r\n\r\n".encode() + BODY)
    first, count, tail = 0.0, 0, b""
    while not tail.endswith(b"0\r\n\r\n"):
        data = await reader.read(1 << 18)
        if not data:
            raise SystemExit("the proxy closed the connection")
        seen = tail + data
        if not first and b"content" in seen.partition(b"\r\n\r\n")[2]:
            first = (time.perf_counter() - started) * 1000
        count += data.count(b" token")
        tail = seen[-7:] if first else seen
    return first, count


async def flood(contender: Contender, provider: int, streams: int) -> None:
    n = FLOOD // streams
    started = time.perf_counter()
    results = await asyncio.gather(*(stream(contender.port, provider, f"n={n}") for _ in range(streams)))
    took = time.perf_counter() - started
    contender.chunks_per_s.setdefault(streams, []).append(n * streams / took)
    if any(count < n * 0.99 for _, count in results):  # a token cut in two by a read is not counted
        raise SystemExit(f"{contender.name}: chunks were lost: {results}")


async def first_tokens(contenders: list[Contender], provider: int, requests: int) -> None:
    """Requests in turn, on one kept connection each, so that a slow moment of the machine hits everybody."""
    pairs = [(c, await asyncio.open_connection("127.0.0.1", c.port, limit=1 << 20)) for c in contenders]
    for i in range(requests + 5):
        for contender, (reader, writer) in pairs:
            first, _ = await ask(reader, writer, provider, "n=3&pace=0.002")
            if i >= 5:
                contender.first_ms.append(first)
    for _, (_, writer) in pairs:
        writer.close()


async def memory(contender: Contender, provider: int, streams: int = 100) -> None:
    before = contender.rss_kib()
    tasks = [asyncio.create_task(stream(contender.port, provider, "n=200&pace=0.05")) for _ in range(streams)]
    await asyncio.sleep(6)
    contender.kib_per_stream = (contender.rss_kib() - before) / streams
    await asyncio.gather(*tasks)
    before = contender.rss_kib()
    task = asyncio.create_task(stream(contender.port, provider, f"n={BIG // 230}"))
    most = before
    while not task.done():
        await asyncio.wait([task], timeout=0.05)
        most = max(most, contender.rss_kib())
    contender.kib_grown = most - before


async def measure(contenders: list[Contender], provider: int, rounds: int) -> None:
    for contender in contenders:  # warm up: imports, pools
        await stream(contender.port, provider, "n=200")
    await asyncio.sleep(2)  # the tokenizer is loaded in the background at the start
    for number in range(rounds):
        for streams in (1, 20):
            for contender in contenders:
                await flood(contender, provider, streams)
        print(f"round {number + 1} of {rounds} done", file=sys.stderr)
    await first_tokens(contenders, provider, 40 * rounds)
    for contender in contenders:
        await memory(contender, provider)


def report(contenders: list[Contender]) -> list[dict[str, object]]:
    plain = contenders[0]
    rows: list[dict[str, object]] = []
    for c in contenders:
        ratios = {
            n: statistics.median(
                mine / base for mine, base in zip(c.chunks_per_s[n], plain.chunks_per_s[n], strict=True)
            )
            for n in c.chunks_per_s
        }
        rows.append(
            {
                "contender": c.name,
                "chunks/s, 1 stream": round(statistics.median(c.chunks_per_s[1])),
                "÷ plain": round(ratios[1], 2),
                "chunks/s, 20 streams": round(statistics.median(c.chunks_per_s[20])),
                "÷ plain (20)": round(ratios[20], 2),
                "first token p50 ms": round(statistics.median(c.first_ms), 2),
                "- plain ms": round(statistics.median(c.first_ms) - statistics.median(plain.first_ms), 2),
                "KiB per open stream": round(c.kib_per_stream),
                "KiB grown over 20 MB": round(c.kib_grown),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", help="measure only this contender beside plain")
    options = parser.parse_args()
    everyone = [
        Contender("plain", (HERE / "plain_streaming.py",)),
        Contender("measuring", (ADDONS / "measure_streams.py",)),
        Contender("relaying", (ADDONS / "relay_streams.py",)),
    ]
    contenders = [c for c in everyone if options.only in (None, c.name) or c.name == "plain"]
    provider = subprocess.Popen([sys.executable, str(HERE / "provider.py")], stdout=subprocess.PIPE, text=True)
    assert provider.stdout is not None
    port = int(provider.stdout.readline())
    with tempfile.TemporaryDirectory() as folder:
        try:
            for contender in contenders:
                contender.start(Path(folder))
            asyncio.run(measure(contenders, port, options.rounds))
        finally:
            for contender in contenders:
                contender.stop()
            provider.terminate()
    rows = report(contenders)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    for key in rows[0]:
        print(f"{key:24}" + "".join(f"{row[key]!s:>14}" for row in rows))


if __name__ == "__main__":
    main()
