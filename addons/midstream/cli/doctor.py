"""`midstream doctor`: what is wrong, and how to mend it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import click

from midstream.cli import checks
from midstream.cli.checks import Check
from midstream.cli.endings import told_to_end
from midstream.cli.output import clean, print_json
from midstream.cli.paths import DEFAULT_CONFDIR, DEFAULT_PORT
from midstream.cli.reading import db_option, json_option

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}

MORE_LINES = 8
"""Of what a mitmdump said that did not start: the reason is at its end."""


@click.command()
@click.option(
    "--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True, help="The proxy's port."
)
@click.option(
    "--confdir", metavar="DIR", default=DEFAULT_CONFDIR, show_default=True, help="mitmproxy's folder, with its CA."
)
@click.option("--config", metavar="FILE", help="A midstream.toml to check as well.")
@json_option
@db_option
@told_to_end()
def doctor(port: int, confdir: str, config: str | None, as_json: bool, db: str) -> None:
    """Check the installation, the CA, the proxy and this shell; send a real request through; say how to mend what is wrong.

    The request goes to a provider on this machine, through the proxy on --port or, where none runs, one started for it. Its row
    (model and app midstream-doctor) is deleted again. Exit code 1 if something fails; a warning is none.

    \b
    midstream doctor
    midstream doctor --port 8081 --db ./streams.db
    midstream doctor --config midstream.toml
    midstream doctor --json | jq '.[] | select(.state != "ok")'
    """
    found = []
    configured = checks.configuration(config) if config else ()
    for check in chain(configured, _checks(port, Path(confdir).expanduser(), Path(db).expanduser())):
        found.append(check)
        if not as_json:
            _print(check)
    if as_json:
        print_json([asdict(check) for check in found])
    else:
        _print_sum(found)
    sys.exit(1 if any(check.state == "fail" for check in found) else 0)


def _checks(port: int, confdir: Path, db: Path) -> Iterator[Check]:
    """All checks, cheap ones first."""
    from midstream.cli import checks_proxy, checks_shell
    from midstream.cli.ca import CAError, ca_of, ensure_ca
    from midstream.cli.proxy import identify

    yield checks.python_version()
    yield from checks.libraries()
    yield checks.addons()
    yield checks.tokenizers()
    yield checks.disk(db)
    yield checks.database(db)
    ca = ca_of(confdir)
    yield from checks_proxy.authority(confdir, ca)
    yield from checks_shell.shell(os.environ, port, ca)
    there = identify(port, ca)
    yield checks_proxy.listener(port, there)
    if there == "ours":
        yield from checks_proxy.request_through(port, db)
        return
    try:
        ca = ensure_ca(confdir)
    except CAError as error:
        yield Check("request", "fail", str(error), f"is {confdir} writable?")
        return
    yield from checks_proxy.request_through_own(confdir, ca)


def _print(check: Check) -> None:
    """One line a check, at once; below it how to mend it. click drops the colours where no terminal shows them."""
    state = check.state if os.environ.get("NO_COLOR") else click.style(check.state, fg=COLOURS[check.state])
    first, *more = check.found.splitlines() or [""]
    click.echo(f"{state}{' ' * (5 - len(check.state))}{check.name:<13}{clean(first)}")
    for line in more[-MORE_LINES:]:
        click.echo(f"{'':18}{clean(line)}")
    if check.mend and check.state != "ok":
        click.echo(f"{'':18}→ {clean(check.mend)}")


def _print_sum(found: Sequence[Check]) -> None:
    failed = sum(check.state == "fail" for check in found)
    warned = sum(check.state == "warn" for check in found)
    if failed or warned:
        click.echo(f"\n{failed} failed, {warned} to look at.")
    else:
        click.echo("\nAll is well.")
