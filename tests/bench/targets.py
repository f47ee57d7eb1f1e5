"""What midstream means to reach, as ratios and differences within one run, and whether this run did."""

from __future__ import annotations

from sheet import Sheet

FLOOD, FIRST = "most chunks/s, {}", "first token p50, 1 stream, ms"
ADDED = "added to first token p50, 1 stream, ms"


def verdicts(sheet: Sheet) -> list[str]:
    """One line each, of those whose contenders took part."""
    lines = []
    for name in ("relaying", "healing"):
        for streams in ("1 stream", "20 streams"):
            lines += _at_least(
                f"{name}: chunks/s ÷ plain, {streams}", sheet.ratio(FLOOD.format(streams), name, "plain"), 2.5
            )
            lines += _at_least(
                f"{name}: chunks/s ÷ LiteLLM, {streams}", sheet.ratio(FLOOD.format(streams), name, "litellm"), 8
            )
        lines += _at_most(f"{name}: first token beyond plain, ms", sheet.difference(FIRST, name, "plain"), 1.0)
        lines += _at_most(f"{name}: added first token ÷ LiteLLM's", sheet.ratio(ADDED, name, "litellm"), 0.25)
        lines += _at_most(
            f"{name}: added to chunk p99, 100 streams, ms", sheet.value("added to chunk p99, 100 streams, ms", name), 20
        )
        lines += _at_most(
            f"{name}: first token p99, 100 streams, ms", sheet.value("first token p99, 100 streams, ms", name), 50
        )
        lines += _at_most(f"{name}: KiB per open stream", sheet.value("memory per open stream, KiB", name), 512)
        lines += _at_least(f"{name}: streams sustained", sheet.value("streams sustained at 50 tokens/s", name), 500)
    for streams in ("1 stream", "20 streams"):
        lines += _at_least(
            f"measuring: chunks/s ÷ plain, {streams}", sheet.ratio(FLOOD.format(streams), "measuring", "plain"), 0.9
        )
    return lines


def _at_least(what: str, value: float | None, target: float) -> list[str]:
    return [] if value is None else [_line(what, value, f"at least {target:g}", met=value >= target)]


def _at_most(what: str, value: float | None, target: float) -> list[str]:
    return [] if value is None else [_line(what, value, f"at most {target:g}", met=value <= target)]


def _line(what: str, value: float, target: str, *, met: bool) -> str:
    return f"{'met   ' if met else 'MISSED'}  {what}: {value:.2f} ({target})"
