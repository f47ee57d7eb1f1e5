"""What the live page costs the streams: a relaying mitmdump with no page open, its events read, a Chromium showing it.

    python tests/bench/watched.py [--rounds 3] [--no-chromium]

Paced: 100 streams at 50 tokens/s; flood: 100 streams as fast as they go. They take turns within every round, one
mitmdump for all.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contender import ADDONS, SCRIPTS, Contender, Provider, percentile, providing, stream

STREAMS, PACE, CHUNKS, FLOOD = 100, 0.02, 300, 2000
LISTENER = 18_181
"""The gateway's port."""

READ = "import sys, urllib.request\nfor line in urllib.request.urlopen(sys.argv[1]): pass"
CHROMIUM = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--no-proxy-server", "--window-size=1400,1000", "--remote-debugging-port=0")  # fmt: skip


@contextmanager
def watching(how: str) -> Iterator[None]:
    url = f"http://127.0.0.1:{LISTENER}/"
    commands = {"events": [sys.executable, "-c", READ, f"{url}live/events"], "chromium": [*CHROMIUM, url]}
    if how not in commands:
        yield
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        profile = [f"--user-data-dir={folder}"] if how == "chromium" else []
        environment = {k: v for k, v in os.environ.items() if "PROXY" not in k.upper()}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
        process = subprocess.Popen([*commands[how], *profile], **quiet)  # type: ignore[call-overload]
        time.sleep(3 if how == "chromium" else 0.5)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def cpu(contender: Contender) -> float:
    """Seconds of processor time that mitmdump has used."""
    assert contender.process is not None
    fields = Path(f"/proc/{contender.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(contender: Contender, provider: Provider) -> dict[str, float]:
    before = cpu(contender)
    heard = await asyncio.gather(*(stream(contender, provider, f"n={CHUNKS}&pace={PACE}") for _ in range(STREAMS)))
    used = cpu(contender) - before
    delays = [delay for h in heard for delay in h.delays_ms]
    started = time.perf_counter()
    await asyncio.gather(*(stream(contender, provider, f"n={FLOOD}") for _ in range(STREAMS)))
    flood = STREAMS * FLOOD / (time.perf_counter() - started)
    return {
        "paced: CPU seconds": used,
        "paced: chunk delay p50, ms": percentile(delays, 50),
        "paced: chunk delay p99, ms": percentile(delays, 99),
        "flood: chunks/s": flood,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-chromium", action="store_true")
    options = parser.parse_args()
    ways = ("no page", "events") if options.no_chromium else ("no page", "events", "chromium")
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    SCRIPTS["watched"] = ADDONS / "relay_streams.py"
    modes = ("--mode", "regular", "--mode", f"reverse:http://midstream.internal@{LISTENER}")
    contender = Contender("watched")
    with providing() as provider, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        contender.start(Path(folder), provider, "-s", str(ADDONS / "watch_streams.py"), *modes)
        try:
            asyncio.run(measure(contender, provider))
            time.sleep(2)  # the tokenizer is loaded in the background
            for _ in range(options.rounds):
                for how in ways:
                    with watching(how):
                        for name, value in asyncio.run(measure(contender, provider)).items():
                            found[name][how].append(value)
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            opener.open(f"http://127.0.0.1:{LISTENER}/healthz").read()
        finally:
            contender.stop()
    for name, values in found.items():
        said = [f"{how} {statistics.median(some):.2f}" for how, some in values.items()]
        print(f"{name:28}", *(f"{one:>22}" for one in said))


if __name__ == "__main__":
    main()
