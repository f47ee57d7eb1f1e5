"""`midstream datasette`: the database in a browser, with the questions people ask of it and charts."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import click

from midstream.cli.endings import as_interrupt, told_to_end
from midstream.cli.paths import LOOPBACK, tilde
from midstream.cli.questions import DATABASE, metadata
from midstream.cli.reading import complain, db_option, reading

PORT = 8001

SETTINGS = {
    "sql_time_limit_ms": 10_000,  # percentiles over a million streams take some seconds
    "suggest_facets": False,  # they are counted anew for each page, whatever the table's size
    "allow_download": False,
    "default_cache_ttl": 0,  # a proxy may be writing
}

HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
]
"""Nothing foreign is loaded or told. Datasette's pages have scripts inline, and Vega compiles its expressions."""

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[[Message, Receive, Send], Awaitable[None]]


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: any that is free.")
@click.option("--open", "browse", is_flag=True, help="Open it in the browser.")
@db_option
def datasette(port: int, browse: bool, db: str) -> None:
    """Browse the database with Datasette: tables, SQL, charts, and answers to the questions people ask.

    Which model is slow today, who spends what, which provider breaks and how, what did fallbacks cost. Read only, on this
    machine only, also while a proxy writes. Ctrl-C ends it. It is an extra: pip install 'midstream[datasette]'

    \b
    midstream datasette
    midstream datasette --open --port 9000
    midstream datasette --db ./streams.db
    """
    try:
        importlib.import_module("datasette_dashboards")  # a plugin, which Datasette finds by itself
        importlib.import_module("uvicorn")
        from datasette.app import Datasette
    except ImportError as error:
        complain(f"Datasette is not installed ({error}). Install it with: pip install 'midstream[datasette]'")
    with reading(db):
        pass  # there is one, and it is ours
    served = Datasette([], metadata=metadata(), settings=SETTINGS)
    _add(served, Path(db).expanduser())
    sock = _listen(port)
    with contextlib.suppress(KeyboardInterrupt), told_to_end(as_interrupt):
        asyncio.run(_serve(served, sock, Path(db).expanduser(), browse))


async def _serve(served: Any, sock: socket.socket, path: Path, browse: bool) -> None:
    """Until it is told to end. Nothing is said before: by then that is no trouble to the event loop."""
    import uvicorn

    url = f"http://{LOOPBACK}:{sock.getsockname()[1]}"
    click.echo(f"Questions and tables of {tilde(path)}: {url}/{DATABASE}")
    click.echo(f"Charts: {url}/-/dashboards/streams")
    await served.invoke_startup()
    if browse:
        click.launch(f"{url}/-/dashboards/streams")
    await uvicorn.Server(uvicorn.Config(guarded(served.app()), log_level="warning", lifespan="off")).serve([sock])


def _add(served: Any, path: Path) -> None:
    from datasette.database import Database

    served.add_database(Database(served, path=str(path), is_mutable=True), name=DATABASE)


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        complain(f"cannot listen on port {port}: {error.strerror or error}. Choose another with --port, 0 for any.")


def guarded(application: Application) -> Application:
    """Refuse whoever came by another name than this machine's (DNS rebinding: a page of a stranger's, whose name now leads
    here), and let the pages load nothing foreign."""

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
        elif not _is_ours(dict(scope["headers"]).get(b"host", b"").decode("latin-1")):
            await send({"type": "http.response.start", "status": 421, "headers": [(b"content-type", b"text/plain")]})
            await send(
                {"type": "http.response.body", "body": b"This is served by the name of 127.0.0.1 or localhost only.\n"}
            )
        else:
            await application(scope, receive, lambda message: send(_with_headers(message)))

    return answer


def _is_ours(host: str) -> bool:
    return host.rpartition(":")[0] in (LOOPBACK, "localhost") or host in (LOOPBACK, "localhost")


def _with_headers(message: Message) -> Message:
    if message["type"] == "http.response.start":
        return {**message, "headers": [*message.get("headers", ()), *HEADERS]}
    return message
