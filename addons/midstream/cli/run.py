"""`midstream run`: mitmdump (or mitmweb) with midstream's addons."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from midstream.cli.environment import Upstream
from midstream.cli.options import config_option, configured, refuse_unknown
from midstream.cli.paths import DEFAULT_PORT, addon_files, launcher, refuse_folder, tilde
from midstream.cli.settings import Settings, added_arguments, read_settings, upstream_for
from midstream.cli.web_page import PORT as WEB_PORT
from midstream.cli.web_page import page_port

PORTS = 65_535


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--web", is_flag=True, help="Start mitmweb, with its page, instead of mitmdump.")
@click.option("--db", metavar="PATH", help="SQLite database to record into.  [default: ~/.midstream/streams.db]")
@config_option
@click.option(
    "--break", "rules", metavar="RULE", multiple=True, help="Break streams on purpose, by a rule; again for more."
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[MITMDUMP OPTIONS]...")
def run(web: bool, db: str | None, config: str | None, rules: tuple[str, ...], options: tuple[str, ...]) -> None:
    """Start the proxy: mitmdump with midstream's addons. It listens on loopback only, on port 8080.

    All other options are mitmdump's own (`mitmdump --help`, `midstream run --options`).

    \b
    midstream run
    midstream run -p 8081 --db ./streams.db
    midstream run --config midstream.toml            with routes: retry, reroute, continue
    midstream run --web                              with mitmweb's page
    midstream run --listen-host 0.0.0.0              for other machines too
    midstream run --mode reverse:https://api.openai.com -p 9000
    midstream run --set midstream_recordings=DIR     write each stream to a file as well
    midstream run --break 'cut after=40 p=0.2'       what does my app do when its provider fails?
    """
    options = (*_breaking(rules), *configured(config), *options)
    settings = read_settings(options)
    refuse_unknown(settings)
    port = settings.port or DEFAULT_PORT
    if port > PORTS:
        raise click.UsageError(f"{port} is no port: they end at {PORTS}")
    upstream = upstream_for(settings, os.environ, port)
    try:
        refuse_folder(db or settings.db)
        page = page_port(settings) if web else None
        added = _arguments(settings, db, upstream, page)
    except OSError as error:
        raise click.ClickException(str(error)) from error
    command = [*launcher("mitmweb" if web else "mitmdump"), *added, *options]
    environment = os.environ | {
        "MIDSTREAM_UPSTREAM_AUTH": upstream.credentials if upstream else "",
        "MIDSTREAM_ANNOUNCE": _announcement(settings, db, port, upstream, page),
    }
    if sys.platform == "win32":  # where exec starts a second process and lets the shell go on
        sys.exit(subprocess.call(command, env=environment))  # noqa: S603 - our own interpreter
    os.execve(command[0], command, environment)  # noqa: S606 - our own interpreter


def _breaking(rules: Sequence[str]) -> list[str]:
    """The options for the rules. A wrong one is said here: mitmdump would say it in the middle of its own start."""
    from midstream.faults.rules import Faults, RuleError

    try:
        Faults(rules)
    except RuleError as error:
        raise click.BadParameter(str(error), param_hint="--break") from error
    return [word for rule in rules for word in ("--set", f"midstream_break={rule}")]


def _arguments(settings: Settings, db: str | None, upstream: Upstream | None, page: int | None) -> list[str]:
    from midstream.cli.trust import Trust

    trusted = Trust(settings.confdir, os.environ, db or settings.db).upstream()
    added = added_arguments(settings, addons=addon_files(), db=db, roots=trusted)
    if page is not None:
        added += ["--set", f"web_port={page}"]
    return [*added, "--mode", upstream.mode] if upstream else added


def _announcement(settings: Settings, db: str | None, port: int, upstream: Upstream | None, page: int | None) -> str:
    """What to do next, once the proxy is up."""
    other_port = "" if port == DEFAULT_PORT else f" --port {port}"
    path = Path(db or settings.db).expanduser()
    other_db = "" if db is None and "midstream_db" not in settings.values else f" --db {tilde(path)}"
    lines = [f"midstream: streams are recorded in {tilde(path)}"]
    if upstream:
        lines.append(f"  going out through {upstream.scheme}://{upstream.host}:{upstream.port}, as this shell does")
    if page is not None:
        lines.append(f"  mitmweb's page is on port {page}: {WEB_PORT} is taken by a listener of yours")
    if not settings.modes:
        lines.append(f"  midstream exec{other_port} -- python app.py     runs a program through it")
    lines.append(
        f"  midstream tail{other_db}     shows its streams as they come; midstream stats{other_db} sums them up"
    )
    return "\n".join(lines)
