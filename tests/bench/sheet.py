"""What was measured, of whom: one value for each round, of which the table shows the median."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

PLAIN, BESIDE = "plain", "direct"


class Sheet:
    def __init__(self) -> None:
        self._values: dict[str, dict[str, list[float]]] = {}

    def note(self, measure: str, contender: str, value: float) -> None:
        self._values.setdefault(measure, {}).setdefault(contender, []).append(value)

    def beyond(self, measure: str, contender: str, value: float, base: float) -> None:
        """Note what a contender adds to what is there without it."""
        if contender != BESIDE:
            self.note(measure, contender, value - base)

    def value(self, measure: str, contender: str) -> float | None:
        """The median over the rounds."""
        values = self._values.get(measure, {}).get(contender)
        return statistics.median(values) if values else None

    def ratio(self, measure: str, contender: str, base: str) -> float | None:
        """The median of the rounds' ratios: what slows a round down slows both."""
        mine, theirs = (self._values.get(measure, {}).get(name, []) for name in (contender, base))
        ratios = [a / b for a, b in zip(mine, theirs, strict=False) if b]
        return statistics.median(ratios) if ratios else None

    def difference(self, measure: str, contender: str, base: str) -> float | None:
        mine, theirs = (self._values.get(measure, {}).get(name, []) for name in (contender, base))
        return statistics.median(a - b for a, b in zip(mine, theirs, strict=False)) if mine and theirs else None

    def table(self, columns: Sequence[str]) -> str:
        width = max(map(len, self._values), default=0)
        lines = [f"{'':{width}}" + "".join(f"{name:>11}" for name in columns)]
        for measure in self._values:
            values = [self.value(measure, name) for name in columns]
            lines.append(f"{measure:{width}}" + "".join(f"{_shown(value):>11}" for value in values))
        return "\n".join(lines)

    def markdown(self, columns: Sequence[str]) -> str:
        """The same for docs/performance.md."""
        lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for measure in self._values:
            values = [_shown(self.value(measure, name)) for name in columns]
            lines.append(f"| {measure} | " + " | ".join(values) + " |")
        return "\n".join(lines)

    def write(self, path: Path, columns: Sequence[str], **more: object) -> None:
        """As JSON: the machine, the medians, and each round's value behind them."""
        machine = {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
        medians = {m: {c: self.value(m, c) for c in columns if c in by} for m, by in self._values.items()}
        whole = {"machine": machine, **more, "medians": medians, "rounds": self._values}
        path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
