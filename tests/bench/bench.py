"""Side by side in one run: plain mitmdump (streaming), midstream measuring, relaying, and relaying with a route.

    python tests/bench/bench.py [floods] [paced] [anew] [--rounds 3] [--slow] [--json]

Machines are noisy: only the ratios within one run mean anything. Contenders take turns within every round.
"""

from __future__ import annotations

import argparse
import json

import anew
import floods
import paced
import slow
from contender import PROXIES, Contender, providing

PARTS = {"floods": floods.run, "paced": paced.run, "anew": anew.run, "slow": slow.run}
DEFAULT = ("floods", "paced", "anew")
COLUMNS = ("direct", *PROXIES)


def table(parts: dict[str, list[Contender]]) -> dict[str, dict[str, float]]:
    """Measure → contender → value."""
    rows: dict[str, dict[str, float]] = {}
    for contenders in parts.values():
        for contender in contenders:
            for measure, value in contender.results.items():
                rows.setdefault(measure, {})[contender.name] = round(value, 2 if abs(value) < 1000 else None)
    return rows


def show(rows: dict[str, dict[str, float]]) -> None:
    width = max(map(len, rows))
    print(f"{'':{width}}" + "".join(f"{name:>12}" for name in COLUMNS))
    for measure, values in rows.items():
        print(f"{measure:{width}}" + "".join(f"{values.get(name, '')!s:>12}" for name in COLUMNS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; by default the first three")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow", action="store_true", help="200 clients that read slowly, too (three minutes more)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}")
    chosen = tuple(options.parts) or (() if options.slow else DEFAULT)
    chosen += ("slow",) if options.slow and "slow" not in chosen else ()
    with providing() as provider:
        rounds = {"paced": max(1, options.rounds // 3)}
        rows = table({part: PARTS[part](provider, rounds.get(part, options.rounds)) for part in chosen})
    print(json.dumps(rows, indent=1, ensure_ascii=False)) if options.json else show(rows)


if __name__ == "__main__":
    main()
