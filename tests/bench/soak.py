"""Does it last? A fixed load of everything at once, for minutes or hours; then all must be back where it began.

    python tests/bench/soak.py [--minutes 3 | --hours 8] [--streams 24] [--seed 1] [--kill ROUNDS]

Mixed dialects, deliveries, faults, disconnects, resumes, reattached retries and slow readers, against a real mitmdump with all
addons. With --kill it is killed (SIGKILL) at a random moment and started again, so many times. Exit code 0: nothing was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import soak_checks
import soak_kill
from soak_checks import Asking, Check
from soak_clients import KINDS, Asked, Via, ask
from soak_provider import FAULTS

from end_to_end import sdk_clients
from end_to_end.harness import Authority, Proxy
from translated import DIALECTS

HERE = Path(__file__).parent

WARM_UP = 0.25
"""Share of the time after which things are counted for the first time: caches are full by then. Thirty seconds at least."""

SETTLE = 45.0
"""Seconds that what outlives its clients gets to go: the longest of `grace`, `keep`, `reattach` and the provider's patience."""

CONFIG = """
[streams]
grace = 2
keep = 3
reattach = 2
window = 16384
spool = 1048576
spool_dir = "{spool}"
drain = 5

[healing]
cool_down = 1

[providers.spare]
dialect = "anthropic_messages"
base_url = "https://localhost:{port}/spare"
api_key = "sk-spare"
"""
ROUTE = """
[[routes]]
model = "{glob}"
{more}attempts = 3
backoff = {{ base = 0.05, max = 0.5 }}
timeouts = {{ first_token = 2, idle = 2, total = 600 }}
on_break = "{on_break}"
"""
POLICIES = {"cont": "continue", "rest": "restart", "err": "error", "move": "continue"}
"""What a break leads to. Those of `move` have another provider to go to, which speaks Anthropic's dialect and is always well."""


PROVIDERS = ("openai", "anthropic", "gemini", "ollama")


def configured(folder: Path, port: int) -> Path:
    spool = folder / "spool"
    spool.mkdir(exist_ok=True)
    routes = "".join(_routes(name, on_break) for name, on_break in POLICIES.items())
    file = folder / "midstream.toml"
    file.write_text(CONFIG.format(spool=spool, port=port) + routes)
    return file


def _routes(name: str, on_break: str) -> str:
    glob = f"{name}-*"
    if name != "move":
        return ROUTE.format(glob=glob, on_break=on_break, more="")
    more = 'provider = "{0}"\ntargets = ["{0}", "spare"]\n'
    return "".join(ROUTE.format(glob=glob, on_break=on_break, more=more.format(name)) for name in PROVIDERS)


@dataclass
class Soak:
    """One provider and the proxies that come one after another; and what came of all that was asked."""

    folder: Path
    authority: Authority
    port: int
    chance: random.Random
    askings: list[Asking] = field(default_factory=list)
    running: int = 0
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def start(self) -> Proxy:
        return Proxy(
            self.folder,
            "--set",
            f"midstream_config={configured(self.folder, self.port)}",
            "-s",
            str(HERE / "soak_inside.py"),
            scripts=("all.py",),
            trust=self.authority.file,
            upstream=f"*.com:443:127.0.0.1:{self.port}",
        )

    def asked(self) -> Asked:
        chance = random.Random(self.chance.random())
        fault = "none" if chance.random() < 0.5 else chance.choice(FAULTS[1:])
        size = chance.choice([20, 60, 60, 200, 3000])
        return Asked(
            next(self.numbers), chance.choice(list(POLICIES)), fault, size, chance.choice(list(DIALECTS)), chance
        )

    async def work(self, proxy: Proxy, until: asyncio.Event) -> None:
        """One client at a time, with a connection pool that lives for some requests."""
        context = proxy.client_context()
        while not until.is_set():
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
                for _ in range(20):
                    if until.is_set():
                        return
                    await self._one(Via(proxy.url, context, session))

    async def _one(self, via: Via) -> None:
        asked = self.asked()
        (kind,) = asked.chance.choices(list(KINDS), list(KINDS.values()))
        self.running += 1
        try:
            verdict, told = await ask(kind, asked, via)
        finally:
            self.running -= 1
        self.askings.append(Asking(asked, kind.__name__, verdict, told))


@contextlib.contextmanager
def providing(folder: Path, authority: Authority) -> Iterator[int]:
    """soak_provider.py in a process of its own; its port."""
    files = authority.write_certificate(folder, *sdk_clients.HOSTS)
    command = [sys.executable, str(HERE / "soak_provider.py"), *files]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


async def inside(proxy: Proxy, *, kinds: bool = False) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://midstream.internal/inside{'?kinds' if kinds else ''}", proxy=proxy.url) as response,
    ):
        seen: dict[str, Any] = await response.json()
        return seen


def looked_at(proxy: Proxy) -> tuple[float, int]:
    """From outside: MiB of memory, and open files."""
    process = Path(f"/proc/{proxy.process.pid}")
    lines = (process / "status").read_text().splitlines()
    rss = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return rss / 1024, sum(1 for _ in (process / "fd").iterdir())


@contextlib.asynccontextmanager
async def load(soak: Soak, proxy: Proxy, streams: int) -> AsyncIterator[None]:
    """So many clients at once for the time of the block; those that have begun finish."""
    until = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(streams):
            group.create_task(soak.work(proxy, until))
        yield
        until.set()


async def watch(soak: Soak, proxy: Proxy, seconds: float) -> None:
    """A line now and then."""
    began, every = time.monotonic(), min(60.0, max(5.0, seconds / 20))
    while (left := began + seconds - time.monotonic()) > 0:
        await asyncio.sleep(min(every, left))
        counts = Counter(asking.verdict for asking in soak.askings)
        rss, descriptors = looked_at(proxy)
        said = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
        print(
            f"{time.monotonic() - began:6.0f} s  {soak.running:3} run  {said};  {rss:.0f} MiB, {descriptors} files",
            flush=True,
        )


async def settled(proxy: Proxy, *, kinds: bool) -> dict[str, Any]:
    """What is left once nobody asks: as soon as it is nothing, or after SETTLE."""
    until = time.monotonic() + SETTLE
    while True:
        await asyncio.sleep(2)
        seen = await inside(proxy, kinds=kinds)
        left = {k: v for k, v in seen["held"].items() if v and k not in soak_checks.NOT_LEAKS and k != "deliveries"}
        if time.monotonic() > until or (not left and not seen["breakers"].get("open")):
            return seen


async def last(soak: Soak, seconds: float, streams: int) -> list[Check]:
    """The load in two parts, with a pause after each in which to count."""
    proxy = soak.start()
    try:
        warm = max(30.0, seconds * WARM_UP)
        async with load(soak, proxy, streams):
            await watch(soak, proxy, warm)
        before, asked = await settled(proxy, kinds=True), len(soak.askings)
        print(f"warm after {asked} streams: {before['memory'] / 1024:.1f} MiB", flush=True)
        async with load(soak, proxy, streams):
            await watch(soak, proxy, max(30.0, seconds - warm))
        after = await settled(proxy, kinds=True)
    finally:
        code = proxy.stop(patiently=True)
    more = Counter(after["kinds"]) - Counter(before["kinds"])
    print(f"more objects after {len(soak.askings) - asked} more streams:", dict(more.most_common(8)))
    return [*soak_checks.compare(before, after), Check("exit code", "0", str(code), code == 0)]


def judged(soak: Soak) -> list[Check]:
    wrong = [a for a in soak.askings if a.verdict == "wrong"]
    for asking in wrong[:20]:
        print(f"WRONG {asking.kind} {asking.asked.dialect} {asking.asked.model}: {asking.told[:300]}")
    unfit = soak_checks.misfits(soak.folder / "streams.db", soak.askings)
    for line in unfit[:20]:
        print("ROW", line)
    open_rows = soak_checks.in_flight(soak.folder / "streams.db")
    return [
        Check("wrong answers", "0", str(len(wrong)), not wrong),
        Check("rows that do not fit", "0", str(len(unfit)), not unfit),
        Check("rows still in flight", "0", str(open_rows), not open_rows),
    ]


def summary(soak: Soak) -> str:
    """What was asked, and what came of it: a line a way of asking."""
    verdicts = ("whole", "honest error", "left", "wrong")
    counts = Counter((a.kind, a.verdict) for a in soak.askings)
    lines = [f"{'':16}" + "".join(f"{verdict:>14}" for verdict in verdicts)]
    for name in [kind.__name__ for kind in KINDS]:
        lines.append(f"{name:16}" + "".join(f"{counts[name, verdict]:>14}" for verdict in verdicts))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--hours", type=float, default=0)
    parser.add_argument("--streams", type=int, default=24, help="at once (24)")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--kill", type=int, default=0, metavar="ROUNDS", help="kill it so many times instead")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else time.time_ns() % 1_000_000
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        authority = Authority(folder)
        with providing(folder, authority) as port:
            soak = Soak(folder, authority, port, random.Random(seed))
            if options.kill:
                checks = asyncio.run(soak_kill.rounds(soak, options.kill, options.streams))
            else:
                seconds = options.hours * 3600 or options.minutes * 60
                checks = asyncio.run(last(soak, seconds, options.streams))
                checks += judged(soak)
        told = [summary(soak)] if soak.askings else []
        print("", *told, soak_checks.table(checks), f"seed {seed}", sep="\n\n")
    return int(not all(check.good for check in checks))


if __name__ == "__main__":
    sys.exit(main())
