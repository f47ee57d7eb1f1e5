"""The doctor's checks of the proxy: its CA, its port, and a real request through it."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from midstream.cli.ca import BASENAME
from midstream.cli.checks import Check
from midstream.cli.checks_shell import in_system
from midstream.cli.paths import addon_files, tilde
from midstream.cli.probe import NAME, probe
from midstream.cli.proxy import Listener, ProxyError, free_port, running
from midstream.cli.settings import added_arguments, read_settings
from midstream.records import utc

ROW_SECONDS = 15.0
"""How long a row may take to appear: rows are written in batches, and tokens counted before."""

RENEW = timedelta(days=30)


def authority(confdir: Path, ca: Sequence[str]) -> Iterator[Check]:
    """The CA: is it there, for how long, who can read its key, who trusts it."""
    file = confdir / f"{BASENAME}-ca.pem"
    if not ca:
        state = Check(
            "CA", "warn", f"none in {tilde(confdir)} yet", "it is made by the first `midstream run` or `exec`"
        )
        damaged = Check(
            "CA", "fail", f"{tilde(file)} cannot be read", f"rm {tilde(confdir / BASENAME)}-*, and trust the new one"
        )
        yield damaged if file.exists() else state
        return
    yield _expiry(ca[0], confdir)
    mode = file.stat().st_mode & 0o077
    if mode:
        yield Check("CA key", "warn", f"{tilde(file)} can be read by others", f"chmod 600 {tilde(file)}")
    if in_system(ca):
        yield Check("CA trust", "ok", "the system trusts it")
    else:
        mend = "`midstream exec` tells its program; for others see http://mitm.it/ through the proxy"
        yield Check("CA trust", "warn", "the system does not trust it", mend)


def _expiry(pem: str, confdir: Path) -> Check:
    from cryptography import x509

    try:
        end = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
    except ValueError as error:
        return Check(
            "CA", "fail", f"it cannot be read: {error}", f"rm {tilde(confdir / BASENAME)}-*, and trust the new one"
        )
    left = end - datetime.now(UTC)
    found = f"in {tilde(confdir)}, valid until {end:%Y-%m-%d}"
    if left < RENEW:
        mend = f"rm {tilde(confdir / BASENAME)}-*; a new one is made, and must be trusted again"
        return Check("CA", "fail" if left < timedelta(0) else "warn", found, mend)
    return Check("CA", "ok", found)


def listener(port: int, found: Listener) -> Check:
    """What listens on the port."""
    match found:
        case "ours":
            return Check("proxy", "ok", f"on port {port}, and it signs with our CA")
        case "nothing":
            return Check(
                "proxy", "warn", f"none runs on port {port}", "`midstream run`; `midstream exec` starts its own"
            )
        case "mitmproxy":
            mend = "stop it, give its folder with --confdir, or use another --port"
            return Check("proxy", "fail", f"the mitmproxy on port {port} does not sign with our CA", mend)
        case "other":
            mend = f"use another port: midstream run -p {port + 1}, midstream exec --port {port + 1}"
            return Check("proxy", "warn", f"port {port} is taken by something else", mend)


def request_through(port: int, db: Path) -> Iterator[Check]:
    """Through the proxy that runs: does an answer stream, and does its row appear in the database?"""
    began = datetime.now(UTC)
    result = probe(port)
    over = datetime.now(UTC)
    if result.status != 200:
        yield Check(
            "request", "fail", f"status {result.status}: {result.error}", f"see what the proxy on port {port} logs"
        )
        return
    if not result.good:
        mend = "is an addon loaded that reads whole bodies, or an option that holds streams back?"
        yield Check("request", "fail", "the answer came, but not chunk by chunk", mend)
        return
    yield Check("request", "ok", f"an answer streamed through port {port}, chunk by chunk")
    row = _row(db, began, over)
    if row is None:
        mend = (
            "does that proxy record elsewhere (--db), or run without measure_streams.py? Start it with `midstream run`"
        )
        yield Check("row", "fail", f"no row appeared in {tilde(db)}", mend)
        return
    stays = _delete(db, row["id"])
    if row["outcome"] != "complete":
        yield Check("row", "fail", f"the row says {row['outcome']}: {row['error']}", "please report this")
    else:
        yield Check("row", "ok", f"its row came, first token after {row['ttft_ms'] or 0:.0f} ms; {stays}")


def _row(db: Path, began: datetime, over: datetime) -> dict[str, Any] | None:
    """Wait for the settled row of the request."""
    deadline = time.monotonic() + ROW_SECONDS
    while time.monotonic() < deadline:
        rows = _rows(db, began, over)
        if rows:
            return rows[-1]
        time.sleep(0.05)
    return None


def _rows(db: Path, began: datetime, over: datetime) -> list[dict[str, Any]]:
    """Those of the doctor's requests of this time: of two doctors', the newest first."""
    from midstream.store.database import open_reader
    from midstream.store.queries import Filter

    end = utc(over + timedelta(milliseconds=1))  # which is not included, and rows have no smaller part of a second
    try:
        with open_reader(db) as reader:
            return reader.streams(Filter(model=NAME, app=NAME, since=utc(began), until=end))
    except (sqlite3.Error, OSError, ValueError):  # it is being made at this moment
        return []


def _delete(db: Path, id_: str) -> str:
    """Nobody's stream is to be counted among the user's. Returns what became of its row."""
    from midstream.store.database import delete

    try:
        delete(db, id_)
    except (sqlite3.Error, OSError) as error:
        return f"it stays, for it cannot be deleted: {error}"
    return "it is deleted again"


def request_through_own(confdir: Path, ca: Sequence[str]) -> Iterator[Check]:
    """The same through a proxy started for it, with a database that is thrown away."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="midstream-doctor-") as name:
        folder = Path(name)
        given = ["--set", f"confdir={confdir}", "--set", "flow_detail=0"]
        try:
            addons = addon_files()
            added = added_arguments(
                read_settings(given), addons=addons, db=str(folder / "streams.db"), roots=Path(_certifi())
            )
            with running([*added, *given], port, ca, folder / "log"):
                yield from request_through(port, folder / "streams.db")
        except (ProxyError, OSError) as error:
            yield Check("request", "fail", str(error), "does `mitmdump` by itself start?")


def _certifi() -> str:
    import certifi

    return certifi.where()
