"""A transcript as YAML that people read: mitmproxy highlights it, and no control character of an answer gets through. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from midstream.events import Failure, Usage
from midstream.watch.transcript import Part, Transcript
from midstream.wire.json_text import parse_json

PLAIN = re.compile(r"[A-Za-z0-9](?:(?:[\w./@()%,+ -]|:(?=\S))*[\w./@()%+-])?", re.ASCII)
"""What YAML takes as it is."""

_ODD = re.compile(
    r"[^\t\n\x20-\x7e\xa0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
"""What YAML cannot hold, what breaks a line there (NEL, LS, PS), and what turns the direction of the text around it."""

WIDTH = 100
"""Characters of a line; longer ones are broken: mitmweb breaks none."""

WHITE = " \t"

_SPACE = re.compile(r"(?<=\S) (?=\S)")

_WORDS = frozenset(("true", "false", "yes", "no", "on", "off", "null", "none", "nan", "y", "n"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of an answer beside its events. Times are milliseconds since the request.

    api: the dialect's name. asked: the model that was asked for. guessed: whether the API is an unknown one. live: whether more
    may come. broke: what the connection's end looked like, "" for a clean one. cut: "" or what of the body is not at hand.
    remark: see remarks.py.
    """

    api: str
    provider: str = ""
    asked: str = ""
    status: int | None = None
    stream: str = ""
    guessed: bool = False
    live: bool = False
    broke: str = ""
    cut: str = ""
    remark: str = ""
    head_ms: float | None = None
    duration_ms: float | None = None


def outcome_of(said: Transcript, known: Known) -> str:
    """In a word how the answer ended; never `complete` where nobody knows."""
    if said.failure is not None and said.failure.type == "truncated":
        return "truncated"
    if said.failure is not None:
        return "failed"
    if said.ended:
        return "complete"
    if known.live:
        return "running"
    if known.cut:
        return "not known from the part that is kept"
    return "truncated"


def write(said: Transcript, known: Known) -> str:
    """Return the whole answer: first the facts, then what was said."""
    facts = [*_facts(said, known), *_times(said, known)]
    if said.usage is not None:
        facts += _usage(said.usage)
    parts = [line for part in said.parts for line in _part(part)]
    return "\n".join([*facts, "", "said:", *parts] if parts else [*facts, "", "said: []"]) + "\n"


def line(name: str, value: str, indent: str = "") -> str:
    """A key and its value."""
    return f"{indent}{name}: {scalar(value)}"


def scalar(value: str) -> str:
    """One line, whatever is in it."""
    if PLAIN.fullmatch(value) and value.lower() not in _WORDS and not _is_number(value):
        return value
    return json.dumps(_ODD.sub(_escaped, value), ensure_ascii=False)


def _is_number(value: str) -> bool:
    return re.fullmatch(r"[-+.\d][\d_.,:exob-]*", value, re.I) is not None


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _facts(said: Transcript, known: Known) -> Iterator[str]:
    yield line("api", known.api)
    if known.provider:
        yield line("provider", known.provider)
    if said.model or known.asked:
        yield line("model", said.model or known.asked)
    if known.asked and said.model not in ("", known.asked):
        yield line("asked for", known.asked)
    if known.guessed:
        yield line("note", "midstream has no dialect for this API: what was said is a guess, and may come twice")
    yield line("outcome", outcome_of(said, known))
    reasons = [finish.reason + (f" ({finish.detail})" if finish.detail else "") for finish in said.finishes.values()]
    if reasons:
        yield line("finish", ", ".join(reasons))
    if said.failure is not None:
        yield from _long("error", worded(said.failure))
    if known.broke:
        yield from _long("connection", known.broke)
    if said.malformed:
        yield line("malformed", f"{len(said.malformed)} ({said.malformed[0]})")
    for name, value in (("kept", known.cut), ("midstream", known.remark), ("stream", known.stream)):
        if value:
            yield from _long(name, value)


def _long(name: str, value: str) -> Iterable[str]:
    return _block(name, value) if len(value) > WIDTH and value[0] not in WHITE else [line(name, value)]


def worded(failure: Failure) -> str:
    """An error in one line."""
    kinds = [word for word in (failure.type, failure.code) if word]
    status = [f"HTTP {failure.status}"] if failure.status else []
    named = ", ".join(dict.fromkeys((*status, *kinds)))
    return f"{named}: {failure.message}" if named and named != failure.message else failure.message


def _times(said: Transcript, known: Known) -> Iterator[str]:
    rows = {
        "response head": _ms(known.head_ms),
        "first content": _ms(said.first),
        "whole": _ms(known.duration_ms),
        "gaps": _gaps(said),
        "tokens per second": _rate(said),
    }
    yield from _mapping("time", rows)


def _ms(ms: float | None) -> str:
    if ms is None:
        return ""
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.2f} s"


def _gaps(said: Transcript) -> str:
    if not len(said.gaps):
        return ""
    p50, p95 = said.gaps.percentile(0.5), said.gaps.percentile(0.95)
    return f"p50 {_ms(p50)}, p95 {_ms(p95)}, longest {_ms(said.gaps.largest)}"


def _rate(said: Transcript) -> str:
    tokens = said.usage.output_tokens if said.usage is not None else None
    if not tokens or said.first is None or said.last is None or said.last <= said.first:
        return ""
    return f"{tokens / (said.last - said.first) * 1000:.1f}"


def _usage(usage: Usage) -> Iterator[str]:
    counts = {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cached": usage.cached_tokens,
        "written to cache": usage.cache_write_tokens,
        "reasoning": usage.reasoning_tokens,
    }
    yield from _mapping("tokens", {name: str(count) for name, count in counts.items() if count is not None})


def _mapping(name: str, rows: Mapping[str, str]) -> Iterator[str]:
    known = {key: value for key, value in rows.items() if value}
    if known:
        yield f"{name}:"
        yield from (f"  {key}: {value}" for key, value in known.items())


def _part(part: Part) -> Iterator[str]:
    text = part.text
    if part.kind in ("tool call", "server tool"):
        yield line(part.kind, part.name or "unnamed", "- ")
        if part.id:
            yield line("id", part.id, "  ")
        if part.kind == "tool call":
            yield from _block("  arguments", _pretty(text))
    elif part.kind in ("audio", "image"):
        yield f"- {part.kind}: {part.size} bytes"
        if text:
            yield from _block("  transcript", text)
    else:
        yield from _block(f"- {part.kind}", text)
    if part.choice:
        yield f"  choice: {part.choice}"


def _pretty(arguments: str) -> str:
    try:
        return json.dumps(parse_json(arguments.encode()), indent=2, ensure_ascii=False)
    except ValueError:
        return arguments  # half a call, or none that is JSON: as it is


def _block(name: str, text: str) -> Iterable[str]:
    """A literal block, or a folded one where lines are long; YAML reads either back as the text it was."""
    if not text:
        return [f'{name}: ""']
    rows = _ODD.sub(_escaped, text.replace("\r\n", "\n")).split("\n")
    first = next((row for row in rows if row), "")
    indented = "4" if not rows[0] or first[0] in WHITE else ""  # the first line could not tell how far it is indented
    chomp = "-" if rows[-1] else "+"
    if chomp == "+":
        rows.pop()
    folds = any(len(row) > WIDTH for row in rows)
    shown = _folded(rows) if folds else rows
    return [f"{name}: {'>' if folds else '|'}{indented}{chomp}", *(f"      {row}" if row else "" for row in shown)]


def _folded(rows: Sequence[str]) -> Iterator[str]:
    """Long lines broken at single spaces. YAML joins lines where nothing is between them, so that a line's end needs an empty
    line more; not so beside one that begins with white space. https://yaml.org/spec/1.2.2/#813-folded-style"""
    before = ""
    empty = 0
    for row in rows:
        if not row:
            empty += 1
            continue
        joins = bool(before) and before[0] not in WHITE and row[0] not in WHITE
        yield from [""] * (empty + joins)
        yield from [row] if row[0] in WHITE else _broken(row)
        before, empty = row, 0
    yield from [""] * empty


def _broken(row: str) -> Iterator[str]:
    start = place = 0
    for found in _SPACE.finditer(row):
        if found.start() - start > WIDTH and place > start:
            yield row[start:place]
            start = place + 1
        place = found.start()
    if len(row) - start > WIDTH and place > start:
        yield row[start:place]
        start = place + 1
    yield row[start:]
