"""What people ask of the database, as SQL with a title: what `midstream datasette` offers, and the charts it draws of them."""

# ruff: noqa: S608 - the SQL is put together from names of our own; what a user gives is bound as :days

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from midstream.store.survey import sum_of

DATABASE = "midstream"
"""What Datasette calls the database, whatever its file's name."""

SINCE = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-' || coalesce(nullif(:days, ''), '7') || ' days')"
TODAY = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', 'localtime', 'start of day', 'utc')"
MODEL = "coalesce(nullif(model_served, ''), model_requested)"
FAILED = "ended NOT IN ('complete', 'client_gone', 'interrupted')"


@dataclass(frozen=True, slots=True)
class Question:
    """about: how to read the answer."""

    title: str
    about: str
    sql: str


def _slow(since: str, name: str) -> str:
    """Percentiles by nearest rank."""
    ranks = ", ".join(
        f"round(max(CASE WHEN place = cast({q} * (many - 1) + 0.5 AS INTEGER) THEN ttft_ms END)) AS ttft_p{q * 100:.0f}_ms"
        for q in (0.5, 0.95)
    )
    return f"""SELECT name AS {name}, many AS streams, {ranks},
  round(avg(tokens_per_s), 1) AS tokens_per_s, round(max(gap_max_ms)) AS longest_gap_ms
FROM (
  SELECT {MODEL if name == "model" else "substr(started_at, 1, 13)"} AS name, ttft_ms, tokens_per_s, gap_max_ms,
    row_number() OVER (PARTITION BY {MODEL if name == "model" else "substr(started_at, 1, 13)"} ORDER BY ttft_ms) - 1 AS place,
    count(*) OVER (PARTITION BY {MODEL if name == "model" else "substr(started_at, 1, 13)"}) AS many
  FROM streams WHERE started_at >= {since} AND ttft_ms IS NOT NULL
)
GROUP BY name"""


QUESTIONS = {
    "slow_today": Question(
        "Which model is slow today?",
        "Time to first token of the streams begun since midnight, the slowest first.",
        f"{_slow(TODAY, 'model')}\nORDER BY ttft_p50_ms DESC",
    ),
    "slow_when": Question(
        "When is it slow?",
        "The same by the hour (UTC) over the last days (7, if left empty).",
        f"{_slow(SINCE, 'hour')}\nORDER BY hour DESC",
    ),
    "spending": Question(
        "Who spends what?",
        "By program, gateway key and model over the last days (7, if left empty); of the streams whose price is known.",
        f"""SELECT app, key, {MODEL} AS model, count(*) AS streams, round(sum(cost_usd), 4) AS cost_usd,
  {sum_of("input_tokens")},
  {sum_of("cached_tokens")},
  {sum_of("output_tokens")},
  count(*) - count(cost_usd) AS without_price
FROM streams WHERE started_at >= {SINCE}
GROUP BY app, key, {MODEL} ORDER BY sum(cost_usd) DESC, streams DESC""",
    ),
    "breaking": Question(
        "Which provider breaks, and how?",
        "Every try at a provider over the last days (7, if left empty) that failed, also those that were healed.",
        f"""SELECT attempts.provider, attempts.model, ended AS how, count(*) AS times,
  round(100.0 * count(*) / (SELECT count(*) FROM attempts AS others
    WHERE others.provider = attempts.provider AND others.model = attempts.model
      AND others.started_at >= {SINCE}), 1) AS percent_of_its_attempts,
  sum(streams.outcome = 'complete') AS healed, max(attempts.started_at) AS last, max(attempts.error) AS an_error
FROM attempts JOIN streams ON streams.id = attempts.stream_id
WHERE attempts.started_at >= {SINCE} AND {FAILED}
GROUP BY 1, 2, 3 ORDER BY times DESC""",
    ),
    "fallbacks": Question(
        "What did fallbacks cost?",
        "Streams over the last days (7, if left empty) that needed more than one try: what the tries cost that failed, and "
        "what those cost that took over.",
        f"""SELECT streams.provider AS asked_for, streams.model_requested AS model, count(DISTINCT streams.id) AS streams,
  count(DISTINCT CASE WHEN streams.outcome = 'complete' THEN streams.id END) AS healed,
  sum({FAILED}) AS failed_attempts, round(sum(CASE WHEN {FAILED} THEN attempts.cost_usd END), 6) AS cost_of_failed_usd,
  round(sum(CASE WHEN attempts.n > 1 THEN attempts.cost_usd END), 6) AS cost_of_later_attempts_usd,
  group_concat(DISTINCT CASE WHEN attempts.n > 1 THEN attempts.provider || '/' || attempts.model END) AS who_took_over
FROM streams JOIN attempts ON attempts.stream_id = streams.id
WHERE streams.started_at >= {SINCE} AND streams.attempts > 1
GROUP BY 1, 2 ORDER BY streams DESC""",
    ),
    "healed": Question(
        "Which streams were healed?",
        "The last 100 that were retried, rerouted or continued.",
        f"""SELECT id, started_at, provider, {MODEL} AS model, outcome, attempts, rerouted, breaks, ttft_ms, duration_ms, cost_usd
FROM streams WHERE attempts > 1 ORDER BY started_at DESC LIMIT 100""",
    ),
}


def _chart(title: str, query: str, mark: Any, **encoding: Any) -> dict[str, Any]:
    display = {"mark": mark, "encoding": encoding}
    return {"title": title, "db": DATABASE, "query": query, "library": "vega-lite", "display": display}


def _axis(field: str, kind: str, title: str, **more: Any) -> dict[str, Any]:
    return {"field": field, "type": kind, "title": title, **more}


_HOUR = "substr(started_at, 1, 13) || ':00:00Z'"
_DAY = "substr(started_at, 1, 10)"

CHARTS = {
    "latency": _chart(
        "Time to first token by hour: p50 and p95",
        f"SELECT hour || ':00:00Z' AS hour, 'p50' AS quantile, ttft_p50_ms AS ms FROM ({_slow(SINCE, 'hour')}) "
        f"UNION ALL SELECT hour || ':00:00Z', 'p95', ttft_p95_ms FROM ({_slow(SINCE, 'hour')})",
        {"type": "line", "point": True, "tooltip": True},
        x=_axis("hour", "temporal", "", axis={"grid": False, "format": "%d %b %H:%M", "labelOverlap": True}),
        y=_axis("ms", "quantitative", "milliseconds"),
        color=_axis("quantile", "nominal", ""),
    ),
    "models": _chart(
        "Time to first token by model, p50",
        f"{_slow(SINCE, 'model')} ORDER BY streams DESC LIMIT 12",
        {"type": "bar", "tooltip": True},
        y=_axis("model", "nominal", "", sort="-x", axis={"labelLimit": 200}),
        x=_axis("ttft_p50_ms", "quantitative", "milliseconds"),
    ),
    "cost": _chart(
        "Cost by day and model",
        f"SELECT {_DAY} AS day, {MODEL} AS model, sum(cost_usd) AS cost_usd FROM streams "
        f"WHERE started_at >= {SINCE} GROUP BY 1, 2",
        {"type": "bar", "tooltip": True},
        x=_axis("day", "ordinal", "", axis={"labelAngle": 0, "labelOverlap": True}),
        y=_axis("cost_usd", "quantitative", "US$"),
        color=_axis("model", "nominal", ""),
    ),
    "spenders": _chart(
        "Cost by program",
        f"SELECT coalesce(nullif(app, ''), '?') AS app, sum(cost_usd) AS cost_usd FROM streams "
        f"WHERE started_at >= {SINCE} GROUP BY 1 ORDER BY 2 DESC LIMIT 12",
        {"type": "bar", "tooltip": True},
        y=_axis("app", "nominal", "", sort="-x", axis={"labelLimit": 200}),
        x=_axis("cost_usd", "quantitative", "US$"),
    ),
    "breaks": _chart(
        "Failed attempts by provider, and how they ended",
        f"SELECT provider, ended, count(*) AS attempts FROM attempts WHERE started_at >= {SINCE} AND {FAILED} "
        "GROUP BY 1, 2",
        {"type": "bar", "tooltip": True},
        y=_axis("provider", "nominal", "", sort="-x"),
        x=_axis("attempts", "quantitative", "attempts", axis={"tickMinStep": 1}),
        color=_axis("ended", "nominal", ""),
    ),
    "fallback": _chart(
        "What failed attempts cost by day",
        f"SELECT {_DAY} AS day, provider, sum(cost_usd) AS cost_usd FROM attempts "
        f"WHERE started_at >= {SINCE} AND {FAILED} GROUP BY 1, 2",
        {"type": "bar", "tooltip": True},
        x=_axis("day", "ordinal", "", axis={"labelAngle": 0, "labelOverlap": True}),
        y=_axis("cost_usd", "quantitative", "US$"),
        color=_axis("provider", "nominal", ""),
    ),
}


def metadata() -> dict[str, Any]:
    """Datasette's: the questions as canned queries, and the charts as a dashboard."""
    queries = {
        name: {"title": question.title, "description": question.about, "sql": question.sql, "hide_sql": True}
        for name, question in QUESTIONS.items()
    }
    dashboard = {
        "title": "LLM streams",
        "description": "The last days, as midstream measured them.",
        "layout": [["latency", "models"], ["cost", "spenders"], ["breaks", "fallback"]],
        "filters": {"days": {"name": "Days", "type": "number", "default": 7, "min": 1}},
        "charts": CHARTS,
    }
    return {
        "title": "midstream",
        "databases": {DATABASE: {"queries": queries, "description": "One row a stream, one an attempt, one an hour."}},
        "plugins": {"datasette-dashboards": {"streams": dashboard}},
    }
