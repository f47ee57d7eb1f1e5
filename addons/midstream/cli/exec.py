"""`midstream exec -- CMD…`: a program, its traffic through the proxy, and nothing else changed about it."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from midstream.cli.environment import Route, child_environment, is_local, upstream_of, variable
from midstream.cli.options import config_option, configured, refuse_unknown
from midstream.cli.paths import (
    DEFAULT_CONFDIR,
    DEFAULT_DB,
    DEFAULT_PORT,
    LOOPBACK,
    addon_files,
    refuse_folder,
    state_folder,
    tilde,
)
from midstream.cli.settings import added_arguments, read_settings, upstream_for

if TYPE_CHECKING:
    from midstream.cli.trust import Trust

PROXY_LOG = "exec-proxy.log"

QUIET = {"flow_detail": "0", "termlog_verbosity": "warn"}
"""The log is for what goes wrong, and is no place for URLs."""


@dataclass(frozen=True, slots=True)
class _Wishes:
    """The command's options."""

    port: int | None
    db: str | None
    confdir: Path
    proxy_localhost: bool
    java: bool
    given: tuple[str, ...]
    """mitmproxy options, as words of its command line."""

    @property
    def own_proxy(self) -> bool:
        """Whether a proxy that already runs will not do: which database and options it has, nobody can tell."""
        return bool(self.db or self.given)


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port of the proxy to use or to start.  [default: 8080, or a free one]",
)
@click.option("--db", metavar="PATH", help="Record into this database, through a proxy of its own.")
@config_option
@click.option(
    "--confdir", metavar="DIR", default=DEFAULT_CONFDIR, show_default=True, help="mitmproxy's folder, with its CA."
)
@click.option(
    "--proxy-localhost", is_flag=True, help="Also measure model servers on this machine (Ollama, llama.cpp, vLLM)."
)
@click.option("--java", is_flag=True, help="Set JAVA_TOOL_OPTIONS too, with a trust store that has our CA.")
@click.option(
    "--set", "settings", metavar="NAME=VALUE", multiple=True, help="A mitmproxy option, for a proxy of its own."
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_command(
    command: tuple[str, ...], confdir: str, config: str | None, settings: tuple[str, ...], **options: object
) -> None:
    """Run a program with its HTTP traffic through the proxy: HTTPS_PROXY, NO_PROXY, and the variables by which OpenSSL,
    Python, Node, curl, AWS, git, Go, Rust and others learn to trust the proxy's CA beside the usual ones.

    Uses the proxy on --port if one of ours runs there, else starts one for the program's lifetime; with --db, --config or --set
    always one of its own. Its exit code is the program's (128 + n after signal n). A program with certificates pinned, or that
    takes no proxy, is not measured.

    \b
    midstream exec -- python app.py
    midstream exec -- claude -p "hello"
    midstream exec --db ./run1.db -- npm test
    midstream exec --config midstream.toml -- python app.py
    midstream exec --proxy-localhost -- curl http://localhost:11434/api/chat -d @body.json
    """
    from midstream.cli.ca import CAError
    from midstream.cli.program import forwarding, run_program
    from midstream.cli.proxy import ProxyError

    given = (*configured(config), *(part for item in settings for part in ("--set", item)))
    refuse_unknown(read_settings(given))
    wishes = _Wishes(confdir=Path(confdir).expanduser(), given=given, **options)  # type: ignore[arg-type]  # click has checked them
    try:
        refuse_folder(wishes.db or DEFAULT_DB)
        with forwarding() as signals, _proxy(wishes) as route:
            environment = child_environment(os.environ, route)
            _warn(command, environment)
            code = run_program(command, environment, signals)
    except (CAError, ProxyError, OSError) as error:
        raise click.ClickException(str(error)) from error
    sys.exit(code)


@contextlib.contextmanager
def _proxy(wishes: _Wishes) -> Iterator[Route]:
    """A proxy of ours for the time of the block: one that runs, or a new one."""
    from midstream.cli.ca import ensure_ca
    from midstream.cli.trust import Trust

    ca, trust = ensure_ca(wishes.confdir), Trust(wishes.confdir, os.environ, wishes.db)
    bundle, extra = str(trust.bundle(ca)), str(trust.addition(ca))
    store = _java_trust_store(trust, ca) if wishes.java else ""
    port = _running_port(wishes, ca)
    if port is not None:
        _say(f"through the proxy on port {port}")
        yield Route(LOOPBACK, port, bundle, extra, store, wishes.proxy_localhost)
        return
    with _own_proxy(wishes, ca, trust.upstream()) as port:
        yield Route(LOOPBACK, port, bundle, extra, store, wishes.proxy_localhost)


def _java_trust_store(trust: Trust, ca: Sequence[str]) -> str:
    try:
        return str(trust.java(ca))
    except ImportError as error:
        raise click.ClickException("--java needs cryptography 45 or newer: pip install -U cryptography") from error


def _running_port(wishes: _Wishes, ca: Sequence[str]) -> int | None:
    """The port of a proxy of ours that runs: where asked; by default also where this shell's HTTPS_PROXY points already."""
    from midstream.cli.proxy import identify

    if wishes.own_proxy:
        return None
    upstream = upstream_of(os.environ)
    nested = upstream.port if upstream and is_local(upstream.host) else None
    candidates = [wishes.port] if wishes.port else list(dict.fromkeys(filter(None, [nested, DEFAULT_PORT])))
    return next((port for port in candidates if identify(port, ca) == "ours"), None)


@contextlib.contextmanager
def _own_proxy(wishes: _Wishes, ca: Sequence[str], roots: Path) -> Iterator[int]:
    """Start one. Unless told a port, on a free one: on 8080 another exec would find it, and lose it when this one ends."""
    from midstream.cli.proxy import free_port, identify, running

    port = wishes.port or free_port()
    if wishes.port and (there := identify(wishes.port, ca)) != "nothing":
        port = free_port()
        _say(f"port {wishes.port} is taken ({there}); taking {port}", always=True)
    given = [*wishes.given, "--set", f"confdir={wishes.confdir}"]
    settings = read_settings(given)
    arguments = [*added_arguments(settings, addons=addon_files(), db=wishes.db, roots=roots), *given]
    upstream = upstream_for(settings, os.environ, port)
    if upstream:
        arguments += ["--mode", upstream.mode]
    for name, value in QUIET.items():
        if name not in settings.names:
            arguments += ["--set", f"{name}={value}"]
    with (
        _log(wishes) as log,
        running(arguments, port, ca, log, upstream.credentials if upstream else "") as process,
    ):
        _say(f"a proxy on port {port}, recording into {tilde(Path(wishes.db or DEFAULT_DB).expanduser())}")
        yield port
        if process.poll() is not None:
            _say(f"the proxy ended before the program did; its log: {log.with_name(PROXY_LOG)}", always=True)


@contextlib.contextmanager
def _log(wishes: _Wishes) -> Iterator[Path]:
    """The proxy's log, which no other proxy writes to at the same time; the last one's is kept."""
    folder = state_folder(wishes.db)
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=".exec-proxy-", suffix=".log")
    os.close(handle)
    try:
        yield Path(name)
    finally:
        with contextlib.suppress(OSError):
            Path(name).replace(folder / PROXY_LOG)


def _warn(command: Sequence[str], environment: dict[str, str]) -> None:
    from midstream.cli.program import node_hint

    if "*" in variable(environment, "no_proxy").split(","):
        _say("NO_PROXY=* keeps every request from the proxy; unset it for this program", always=True)
    hint = node_hint(command, environment)
    if hint:
        _say(hint, always=True)


def _say(text: str, *, always: bool = False) -> None:
    """Talk to a person: a program's captured standard error stays its own, unless something is wrong."""
    if always or sys.stderr.isatty():
        click.echo(f"midstream: {text}", err=True)
