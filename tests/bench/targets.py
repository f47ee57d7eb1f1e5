"""What midstream means to reach, as ratios and differences within one run, and whether this run did."""

from __future__ import annotations

from sheet import Sheet

FLOOD, FIRST = "most chunks/s, {}", "first token p50, 1 stream, ms"
ADDED = "added to first token p50, 1 stream, ms"


def verdicts(sheet: Sheet) -> list[str]:
    """One line each, of those whose contenders took part. Of a stream with a route that wants breaks healed less is wanted."""
    lines = [
        *_relay(sheet, "relaying", chunks=2.5, first=1.0),
        *_beside_litellm(sheet, "relaying"),
        *_at_least("relaying: streams sustained", sheet.value("streams sustained at 50 tokens/s", "relaying"), 500),
        *_relay(sheet, "healing", chunks=2.0, first=1.5),
    ]
    for streams in ("1 stream", "20 streams"):
        lines += _at_least(
            f"measuring: chunks/s ÷ plain, {streams}", sheet.ratio(FLOOD.format(streams), "measuring", "plain"), 0.9
        )
    return lines


def _relay(sheet: Sheet, name: str, *, chunks: float, first: float) -> list[str]:
    """chunks: as so many times plain mitmdump's at least. first: milliseconds of a first token beyond it at most."""
    lines = []
    for streams in ("1 stream", "20 streams"):
        ratio = sheet.ratio(FLOOD.format(streams), name, "plain")
        lines += _at_least(f"{name}: chunks/s ÷ plain, {streams}", ratio, chunks)
    lines += _at_most(f"{name}: first token beyond plain, ms", sheet.difference(FIRST, name, "plain"), first)
    for measure, most in (("added to chunk p99, 100 streams, ms", 20), ("first token p99, 100 streams, ms", 50)):
        lines += _at_most(f"{name}: {measure}", sheet.value(measure, name), most)
    return lines + _at_most(f"{name}: KiB per open stream", sheet.value("memory per open stream, KiB", name), 512)


def _beside_litellm(sheet: Sheet, name: str) -> list[str]:
    lines = []
    for streams in ("1 stream", "20 streams"):
        ratio = sheet.ratio(FLOOD.format(streams), name, "litellm")
        lines += _at_least(f"{name}: chunks/s ÷ LiteLLM, {streams}", ratio, 8)
    return lines + _at_most(f"{name}: added first token ÷ LiteLLM's", sheet.ratio(ADDED, name, "litellm"), 0.25)


def _at_least(what: str, value: float | None, target: float) -> list[str]:
    return [] if value is None else [_line(what, value, f"at least {target:g}", met=value >= target)]


def _at_most(what: str, value: float | None, target: float) -> list[str]:
    return [] if value is None else [_line(what, value, f"at most {target:g}", met=value <= target)]


def _line(what: str, value: float, target: str, *, met: bool) -> str:
    return f"{'met   ' if met else 'MISSED'}  {what}: {value:.2f} ({target})"
