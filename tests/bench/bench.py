"""One table, one run: no proxy, plain mitmdump (streaming), midstream measuring, relaying, relaying with a route, all of it, and
the gateways that `just bench-peers` has installed.

    python tests/bench/bench.py [--quick] [--rounds N] [--only direct,plain,relaying] [--json FILE]
    python tests/bench/bench.py anew | cost | slow     # more of midstream's own: see docs/performance.md

Machines are noisy: only what one run compares means anything. Contenders take turns within every round; the table shows the
medians over the rounds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import anew
import cost
import peers
import slow
from contender import PROXIES, Contender, providing, running
from measures import FULL, QUICK, Measuring
from sheet import BESIDE, Sheet
from targets import verdicts

PARTS = {"anew": anew.run, "cost": cost.run, "slow": slow.run}


def compare(names: tuple[str, ...], rounds: int, *, quick: bool) -> Sheet:
    """The table's run."""
    sheet, started = Sheet(), time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - started:5.0f} s  {what}", file=sys.stderr, flush=True)

    with providing() as provider:
        say(f"starting {', '.join(names)}")
        with running(names, provider) as contenders:
            measuring = Measuring(contenders, provider, QUICK if quick else FULL, sheet, say)
            measuring.warm_up()
            for number in range(rounds):
                say(f"round {number + 1} of {rounds}")
                measuring.round()
            for contender in contenders:
                measuring.sustained(contender)
    return sheet


def show_part(part: str, rounds: int) -> None:
    with providing() as provider:
        contenders: list[Contender] = PARTS[part](provider, rounds)
    sheet = Sheet()
    for contender in contenders:
        for measure, value in contender.results.items():
            sheet.note(measure, contender.name, value)
    print(sheet.table([c.name for c in contenders]))


def columns(only: str) -> tuple[str, ...]:
    every = (BESIDE, *PROXIES, *peers.PEERS)
    if unknown := set(filter(None, only.split(","))) - set(every):
        raise SystemExit(f"no such contender: {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    chosen = tuple(name for name in every if not only or name in (BESIDE, *only.split(",")))
    for name in set(chosen) & set(peers.PEERS) - set(peers.present()):
        print(f"{name} is left out: it is not installed (just bench-peers)", file=sys.stderr)
    return tuple(name for name in chosen if name not in peers.PEERS or name in peers.present())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=tuple(PARTS), help="instead of the table")
    parser.add_argument("--rounds", type=int, help="3, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="shorter measurements: about three minutes")
    parser.add_argument("--only", default="", metavar="NAMES", help="of the columns, beside direct")
    parser.add_argument("--markdown", action="store_true", help="print the table as docs/performance.md has it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of every round there, too")
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.quick else 3)
    if options.part:
        show_part(options.part, rounds)
        return
    names = columns(options.only)
    sheet = compare(names, rounds, quick=options.quick)
    judged = verdicts(sheet)
    print(sheet.markdown(names) if options.markdown else sheet.table(names), "", *judged, sep="\n")
    if options.json:
        sheet.write(options.json, names, quick=options.quick, verdicts=judged)


if __name__ == "__main__":
    main()
