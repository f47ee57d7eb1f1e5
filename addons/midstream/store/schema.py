"""The tables' history, read top to bottom; `database.py` applies what a database still lacks.

What is added must leave older midstreams able to read the file: new tables, new columns that may be NULL.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("midstream")


@migrations()
def m001_streams(db: Database) -> None:
    db.execute("""
        CREATE TABLE streams (
            id TEXT PRIMARY KEY, started_at TEXT, client TEXT, app TEXT, key TEXT,
            provider TEXT, dialect TEXT, model_requested TEXT, model_served TEXT, delivery TEXT,
            http_status INTEGER, outcome TEXT, finish_reason TEXT,
            attempts INTEGER, rerouted INTEGER, breaks INTEGER, resumes INTEGER,
            ttft_ms REAL, duration_ms REAL, tokens_per_s REAL, gap_p50_ms REAL, gap_p95_ms REAL, gap_max_ms REAL,
            chunks INTEGER, bytes INTEGER,
            input_tokens INTEGER, output_tokens INTEGER, cached_tokens INTEGER, reasoning_tokens INTEGER,
            usage_source TEXT, cost_usd REAL, paused_ms REAL, error_type TEXT, error TEXT
        )
    """)
    for column in ("started_at", "model_served", "provider", "app"):
        db.table("streams").create_index([column])


@migrations()
def m002_attempts(db: Database) -> None:
    db.execute("""
        CREATE TABLE attempts (
            stream_id TEXT, n INTEGER, provider TEXT, model TEXT, started_at TEXT,
            http_status INTEGER, ttft_ms REAL, duration_ms REAL, output_tokens INTEGER, ended TEXT, error TEXT,
            PRIMARY KEY (stream_id, n)
        )
    """)


@migrations()
def m003_in_flight(db: Database) -> None:
    """Streams that run now, and the process they run in: what a killed one leaves behind is told by it."""
    db.execute("""
        CREATE TABLE in_flight (
            id TEXT PRIMARY KEY, host TEXT, pid INTEGER, process TEXT, started_at TEXT, client TEXT, app TEXT, key TEXT,
            provider TEXT, dialect TEXT, model_requested TEXT, model_served TEXT, delivery TEXT,
            http_status INTEGER, ttft_ms REAL, chunks INTEGER
        )
    """)


@migrations()
def m004_last_sign_of_life(db: Database) -> None:
    db.execute("ALTER TABLE in_flight ADD COLUMN updated_at TEXT")


@migrations()
def m005_index_for_stats(db: Database) -> None:
    """All that `stats` reads, in the order it groups by: over a million streams it takes half a second instead of two."""
    db.execute("""
        CREATE INDEX streams_stats ON streams (
            model_served, model_requested, provider, app, outcome, started_at,
            ttft_ms, tokens_per_s, gap_p95_ms, input_tokens, output_tokens, cached_tokens, cost_usd
        )
    """)
    db.table("streams").create_index(["model_requested"])


@migrations()
def m006_what_an_attempt_cost(db: Database) -> None:
    """What each attempt was billed, by whose count, and what came after it."""
    for column in ("input_tokens INTEGER", "usage_source TEXT", "cost_usd REAL", "next TEXT"):
        db.execute(f"ALTER TABLE attempts ADD COLUMN {column}")


@migrations()
def m007_hours(db: Database) -> None:
    """What is left of streams once their rows were deleted (retention.py): an hour, a provider and a model each.

    Percentiles of hours cannot be joined exactly, so each measure has its count, sum and range beside them.
    """
    measures = ("ttft_ms", "duration_ms", "tokens_per_s", "gap_p95_ms")
    kinds = ("count INTEGER", "sum REAL", "min REAL", "max REAL", "p50 REAL", "p95 REAL", "p99 REAL")
    db.execute(f"""
        CREATE TABLE hours (
            hour TEXT, provider TEXT, model TEXT, streams INTEGER,
            complete INTEGER, client_gone INTEGER, truncated INTEGER, failed INTEGER, interrupted INTEGER, healed INTEGER,
            attempts INTEGER, rerouted INTEGER, breaks INTEGER, resumes INTEGER, chunks INTEGER, bytes INTEGER,
            input_tokens INTEGER, output_tokens INTEGER, cached_tokens INTEGER, reasoning_tokens INTEGER,
            cost_usd REAL, priced INTEGER, paused_ms REAL, failed_attempts INTEGER, failed_attempts_cost_usd REAL,
            {", ".join(f"{measure}_{kind}" for measure in measures for kind in kinds)},
            PRIMARY KEY (hour, provider, model)
        )
    """)


@migrations()
def m008_progress(db: Database) -> None:
    """What `tail` shows of a stream that runs, brought up to date once a second."""
    for column in ("attempts", "rerouted", "breaks", "resumes", "tokens"):
        db.execute(f"ALTER TABLE in_flight ADD COLUMN {column} INTEGER")
    for column in ("paused_ms", "gap_max_ms"):
        db.execute(f"ALTER TABLE in_flight ADD COLUMN {column} REAL")
    db.execute("ALTER TABLE in_flight ADD COLUMN asked TEXT")


@migrations()
def m009_index_for_stats_by_hour(db: Database) -> None:
    """The same as `streams_stats`, by the hour: over a million streams half a second instead of two, for 100 MB more."""
    db.execute("""
        CREATE INDEX streams_hours ON streams (
            substr(started_at, 1, 13), outcome, ttft_ms, tokens_per_s, gap_p95_ms, started_at,
            input_tokens, output_tokens, cached_tokens, cost_usd
        )
    """)
