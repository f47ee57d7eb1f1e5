"""`midstream demo`: a provider, the proxy and an app, all real; then what was measured of exactly these streams."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from midstream.cli import demo_break
from midstream.cli.endings import told_to_end
from midstream.cli.environment import Route, child_environment, upstream_of
from midstream.cli.output import clean, console, print_table
from midstream.cli.paths import LOOPBACK, refuse_folder, tilde
from midstream.cli.reading import reading
from midstream.cli.streams import COLUMNS
from midstream.locate import addon_path, recordings_path
from midstream.recording import Recording, read
from midstream.records import utc
from midstream.replay.server import ReplayServer
from midstream.replay.throwaway_ca import ThrowawayCA
from midstream.store.queries import Filter

if TYPE_CHECKING:
    from rich.console import Console

DEFAULT_DB = "~/.midstream/demo.db"
RECORDINGS = ("openai_chat/plain_text", "anthropic_messages/plain_text", "openai_chat/parallel_tool_calls")
SDK_OF_HOST = {"api.openai.com": "openai", "api.anthropic.com": "anthropic"}
KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
PROMPT = "In three sentences: why do answers of language models arrive word by word?"
LIVE: dict[str, dict[str, Any]] = {
    "openai": {"model": "gpt-4o-mini", "stream_options": {"include_usage": True}},
    "anthropic": {"model": "claude-haiku-4-5", "max_tokens": 300},
}


@dataclass(slots=True)
class Call:
    """One call of the app's. prompt: what to show of it; arrived: the app got its end."""

    sdk: str
    request: Mapping[str, Any]
    prompt: str = PROMPT
    arrived: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """How the proxy reaches its provider: mitmdump options, and its own upstream proxy's user:password."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    auth: str = ""


@click.command()
@click.option(
    "--live", is_flag=True, help="Ask the real providers whose key is set: OPENAI_API_KEY, ANTHROPIC_API_KEY."
)
@click.option(
    "--speed", type=click.FloatRange(min=0), default=1.0, show_default=True, help="2: twice as fast; 0: no pauses."
)
@click.option("--db", metavar="PATH", default=DEFAULT_DB, show_default=True, help="SQLite database to record into.")
@told_to_end()
def demo(live: bool, speed: float, db: str) -> None:
    """See it work: real SDKs, through a real proxy, streaming from a provider on this machine that replays recordings.

    No key and no network is needed, but for --live.

    \b
    midstream demo
    midstream demo --speed 0 --db ./demo.db
    OPENAI_API_KEY=... midstream demo --live
    """
    _need_sdks()
    calls = _live_calls() if live else [_recorded_call(recording) for recording in _recordings()]
    database = _database(db)
    started = utc(datetime.now(UTC))
    with tempfile.TemporaryDirectory(prefix="midstream-demo-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        stage = _live_stage(folder) if live else stack.enter_context(_replaying(folder, speed))
        _run(folder, stage, database, calls)
    _conclude(calls, database, started)


def _database(db: str) -> Path:
    try:
        refuse_folder(db)
    except OSError as e:
        raise click.ClickException(str(e)) from e
    return Path(db).expanduser().absolute()


def _need_sdks() -> None:
    missing = [name for name in KEYS if importlib.util.find_spec(name) is None]
    if missing:
        raise click.ClickException(
            f'the demo\'s app uses the official SDKs; not installed: {", ".join(missing)}. pip install "midstream[demo]"'
        )


def _recordings() -> list[Recording]:
    try:
        return [read(recordings_path() / f"{name}.jsonl") for name in RECORDINGS]
    except (OSError, ValueError) as e:
        raise click.ClickException(str(e)) from e


def _recorded_call(recording: Recording) -> Call:
    request = recording.header.request
    host = next(host for host in SDK_OF_HOST if f"//{host}/" in request.url)
    return Call(SDK_OF_HOST[host], request.body, _prompt(request.body))


def _prompt(body: Mapping[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    parts = [{"text": content}] if isinstance(content, str) else content
    return " ".join(part.get("text") or "[an image]" for part in parts)


def _live_calls() -> list[Call]:
    sdks = [sdk for sdk, key in KEYS.items() if os.environ.get(key)]
    if not sdks:
        raise click.ClickException(
            "--live needs OPENAI_API_KEY or ANTHROPIC_API_KEY in the environment; neither is set"
        )
    messages = [{"role": "user", "content": PROMPT}]
    return [Call(sdk, {**LIVE[sdk], "messages": messages}) for sdk in sdks]


def _live_stage(folder: Path) -> Stage:
    from midstream.cli.ca import roots, write_bundle

    bundle = write_bundle(folder / "roots.pem", roots(os.environ))
    upstream = upstream_of(os.environ)
    mode = ["--mode", upstream.mode] if upstream else []
    arguments = [*mode, "--set", f"ssl_verify_upstream_trusted_ca={bundle}"]
    click.echo("asking the real providers, through the proxy")
    return Stage(arguments, auth=upstream.credentials if upstream else "")


@contextlib.contextmanager
def _replaying(folder: Path, speed: float) -> Iterator[Stage]:
    """Serve the recordings over TLS for the time of the block."""
    ca = ThrowawayCA()
    ca.write(folder / "provider-ca.pem")
    with _in_thread(ReplayServer(_recordings(), speed=speed, ca=ca)) as server:
        click.echo(
            f"a provider on https://{LOOPBACK}:{server.port} replays recorded answers (their pauses are made up)"
        )
        arguments = [
            "--set",
            f"ssl_verify_upstream_trusted_ca={folder / 'provider-ca.pem'}",
            *demo_break.breaking(folder),
        ]
        demo_break.announce()
        for host in SDK_OF_HOST:
            arguments += ["--set", f"midstream_connect_to={host}:443:{LOOPBACK}:{server.port}"]
        keys = dict.fromkeys(KEYS.values(), "sk-no-key-is-needed-here")
        yield Stage(arguments, keys)


@contextlib.contextmanager
def _in_thread(server: ReplayServer) -> Iterator[ReplayServer]:
    """Run a server in an event loop of its own: the command itself waits for processes."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="midstream-demo-provider", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result()
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _run(folder: Path, stage: Stage, database: Path, calls: list[Call]) -> None:
    from midstream.cli.ca import CAError, ensure_ca, write_bundle
    from midstream.cli.proxy import ProxyError, free_port, running

    port = free_port()
    arguments = ["-s", str(addon_path("all.py")), "--listen-host", LOOPBACK]
    for option in (f"confdir={folder / 'conf'}", f"midstream_db={database}"):
        arguments += ["--set", option]
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        ca = ensure_ca(folder / "conf")
        trust = str(write_bundle(folder / "trust.pem", ca))
        with running([*arguments, *stage.arguments], port, ca, folder / "mitmdump.log", stage.auth):
            click.echo(
                f"mitmdump on port {port} measures and relays; the app knows it as HTTPS_PROXY=http://{LOOPBACK}:{port}"
            )
            _run_app(_app_environment(stage, port, trust), calls, folder / "app.log")
    except (CAError, ProxyError, OSError) as e:
        raise click.ClickException(str(e)) from e


def _app_environment(stage: Stage, port: int, trust: str) -> dict[str, str]:
    """The user's environment with the way through our proxy, and without what would lead around it."""
    leads_elsewhere = {"NO_PROXY", "ALL_PROXY"}
    if stage.environment:  # replaying: the user's own settings for the SDKs are no part of it
        leads_elsewhere |= {"OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN"}
    base = {name: value for name, value in os.environ.items() if name.upper() not in leads_elsewhere}
    return child_environment(base, Route(LOOPBACK, port, trust, trust)) | dict(stage.environment)


def _run_app(environment: Mapping[str, str], calls: list[Call], log: Path) -> None:
    from midstream.cli.proxy import last_lines

    command = [sys.executable, "-P", str(Path(__file__).with_name("demo_app.py"))]
    asked = json.dumps([{"sdk": call.sdk, "request": call.request} for call in calls])
    with log.open("w") as errors:
        app = subprocess.Popen(  # noqa: S603 - our own interpreter
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
        )
        try:
            assert app.stdin is not None  # noqa: S101 - Popen was told to
            app.stdin.write(asked)
            app.stdin.close()
            _show(app, calls)
            app.wait()
        finally:
            app.kill()
            app.wait()
        if app.returncode:
            raise click.ClickException(f"the app ended with code {app.returncode}:\n{last_lines(log)}")


def _show(app: subprocess.Popen[str], calls: list[Call]) -> None:
    """Print the pieces as they arrive."""
    out = console()
    for line in app.stdout or ():
        piece = json.loads(line)
        call = calls[piece["call"]]
        if "start" in piece:
            out.print(f"\n{call.sdk} · {call.request['model']} · {clean(call.prompt)}", style="bold")
        elif "end" in piece:
            call.arrived = True
            out.print()
        elif "error" in piece:
            out.print(clean(piece["error"]), style="red")
        else:
            _show_piece(out, piece)


def _show_piece(out: Console, piece: Mapping[str, str]) -> None:
    if piece.get("tool"):
        out.print(f"→ {clean(piece['tool'])} ", style="cyan", end="")
    # past rich, which would wrap each piece as if it stood alone
    out.file.write(_printable(piece.get("text", "") + piece.get("arguments", "")))
    out.file.flush()


def _printable(text: str) -> str:
    return "\n".join(clean(line) for line in text.split("\n"))


def _conclude(calls: Sequence[Call], database: Path, started: str) -> None:
    with reading(str(database)) as reader:
        rows = reader.streams(Filter(since=started), limit=100)[::-1]
        shown = [row | {"model": row["model_served"] or row["model_requested"]} for row in rows]
        print_table(COLUMNS, shown, title="\nmeasured:")
        for row in rows[:1]:
            demo_break.show_healed(reader, row["id"])
    arrived = sum(call.arrived for call in calls)
    complete = sum(row["outcome"] == "complete" for row in rows)
    if not arrived == complete == len(rows) == len(calls):
        raise click.ClickException(
            f"of {len(calls)} streams {arrived} arrived and {complete} of {len(rows)} rows are complete; the database: {database}"
        )
    option = f" --db {tilde(database)}"
    click.echo(f"The rows are in {tilde(database)} (SQLite, table streams). Next:")
    click.echo(f"  midstream show {rows[-1]['id']}{option}     all about one of them")
    click.echo(f"  midstream stats{option}     percentiles by model, provider, app or hour")
    click.echo("  midstream exec -- python app.py     the same for a program of yours")
