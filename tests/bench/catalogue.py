"""The catalogue with the time-outs that users have (10 s for the first token, 30 s for all else): what comes of each scenario
through midstream, and with the SDK alone, whose own two retries are on.

python tests/bench/catalogue.py
"""

from __future__ import annotations

import logging
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import openai

sys.path.insert(0, str(Path(__file__).parent.parent))

from end_to_end.catalogue import EXPECTED, Case, Pace, ask, cases, played, run, serve
from end_to_end.harness import Authority, Provider

PACE = Pace()


def through_midstream(authority: Authority, folder: Path) -> list[Case]:
    all_ = cases(PACE)
    with played(all_, PACE, authority, folder) as (_, client):
        ask(Case("warm-up", iter(()), iter(())), client)  # whom no provider knows; what is loaded late is loaded then
        run(all_, client)
    return all_


def alone(authority: Authority) -> list[Case]:
    """The official SDK, with its retries, before the primary alone: it knows no fallback."""
    all_, provider = cases(PACE), Provider(authority)
    for case in all_:
        case.persists = 0.0
    serve(all_, provider, "primary")
    http = httpx2.Client(verify=str(authority.file), timeout=PACE.idle, trust_env=False)
    try:
        with openai.OpenAI(
            base_url=f"https://localhost:{provider.port}/v1", api_key="sk-test", max_retries=2, http_client=http
        ) as client:
            run(all_, client)
    finally:
        provider.stop()
    return all_


def told(case: Case) -> str:
    attempts = "+".join(str(count) for count in case.counts if count) or "0"
    return f"{case.verdict:<13} {attempts:>7} {case.seconds:6.1f} s"


def main() -> None:
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # the provider resets connections on purpose
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = Authority(folder)
        with ThreadPoolExecutor(2) as pool:
            healed, bare = pool.submit(through_midstream, authority, folder), pool.submit(alone, authority)
            pairs = list(zip(healed.result(), bare.result(), strict=True))
    print(f"{'':24} {'through midstream':<30}  the SDK alone")
    print(f"{'':24} {'':13} attempts    took")
    for case, direct in pairs:
        print(f"{case.name:24} {told(case)}   {told(direct)}")
    outage = next(case for case, _ in pairs if case.persists)
    again = outage.lasted - PACE.down
    print(f"The primary that was down for {PACE.down:.0f} s answered again {again:.1f} s after it was up.")
    bad = [case.name for case, _ in pairs if case.verdict != EXPECTED.get(case.name, "rescued")]
    bad += [case.name for case, _ in pairs if case.seconds >= 45]
    bad += [outage.name] if again >= 30 else []
    sys.exit(f"not as it must be: {', '.join(bad)}" if bad else 0)


if __name__ == "__main__":
    main()
