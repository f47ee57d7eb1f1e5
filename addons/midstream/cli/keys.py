"""`midstream keys`: who may use the gateway."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click

from midstream.cli.output import Column, print_json, print_table
from midstream.cli.reading import json_option

COLUMNS = (
    Column("name", "key"),
    Column("models", "models"),
    Column("expires", "expires"),
    Column("max_streams", "streams at most", "number"),
    Column("state", "state"),
)


class Expiry(click.ParamType[date | datetime]):
    """A date, a date-time, or a number of days from now."""

    name = "date"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> date | datetime:
        if isinstance(value, date):
            return value
        text = str(value)
        try:
            if days := re.fullmatch(r"(\d+)d", text, re.ASCII):
                return datetime.now(UTC).date() + timedelta(days=int(days[1]))
            return date.fromisoformat(text) if len(text) <= 10 else _in_utc(datetime.fromisoformat(text))
        except (ValueError, OverflowError):
            self.fail(f"{text!r} is none of 2027-01-01, 2027-01-01T12:00:00Z, 90d", param, ctx)


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.group()
def keys() -> None:
    """Make and list the keys of the gateway. Until there is one, it answers loopback clients only.

    \b
    midstream keys new mobile-app --models 'gpt-4o*' --expires 90d
    midstream keys list --config ./midstream.toml
    """


@keys.command()
@click.argument("name")
@click.option(
    "--models", multiple=True, metavar="GLOB", help="Only these models, as `gpt-4o*` or `openai/*`; repeatable."
)
@click.option("--expires", type=Expiry(), metavar="DATE", help="Refused from then on (UTC): 2027-01-01, or 90d.")
@click.option("--max-streams", type=click.IntRange(min=1), metavar="N", help="Concurrent streams at most.")
@json_option
def new(name: str, models: tuple[str, ...], expires: date | None, max_streams: int | None, as_json: bool) -> None:
    """Make a key: its token, shown this once, and the entry for midstream.toml, which has only the token's hash.

    \b
    midstream keys new mobile-app
    midstream keys new ci --models 'gpt-4o*' --models 'claude-*' --expires 90d --max-streams 8
    """
    from midstream.config import ConfigError
    from midstream.config.file import parse
    from midstream.keys import new_token

    token, digest = new_token()
    toml = entry(name, digest, models, expires, max_streams)
    try:
        key = parse(toml, "the new entry").keys[name]
    except ConfigError as error:
        raise click.UsageError("\n".join(problem.partition(": ")[2] for problem in error.problems)) from error
    if key.expired(datetime.now(UTC)):
        raise click.UsageError(f"--expires {expires}: that is past already")
    if as_json:
        print_json({"name": name, "token": token, **key.model_dump(mode="json"), "toml": toml})
    else:
        click.echo(f"The token of {name}, shown this once; it is sent as `Authorization: Bearer TOKEN`:\n\n{token}\n")
        click.echo(f"Its entry for midstream.toml:\n\n{toml}", nl=False)


def entry(name: str, digest: str, models: Sequence[str], expires: date | None, max_streams: int | None) -> str:
    """A key's table in TOML."""
    from midstream.config.problems import dotted

    lines = [f"[{dotted(('keys', name))}]", f'sha256 = "{digest}"']
    if models:
        lines.append(f"models = [{', '.join(map(_quoted, models))}]")
    if expires is not None:
        lines.append(f"expires = {expires.isoformat()}")
    if max_streams is not None:
        lines.append(f"max_streams = {max_streams}")
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    """A TOML string. JSON's are, but for DEL, which TOML wants escaped, and the surrogate pairs of JSON's own escapes."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


@keys.command("list")
@click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default="midstream.toml",
    show_default=True,
    help="The configuration file.",
)
@json_option
def list_keys(path: Path, as_json: bool) -> None:
    """List the keys of a configuration file, without their hashes.

    \b
    midstream keys list
    midstream keys list --config ./midstream.toml --json
    """
    from midstream.config import ConfigError
    from midstream.config.file import load

    try:
        config = load(path)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    now = datetime.now(UTC)
    rows = [
        {
            "name": name,
            **key.model_dump(mode="json", exclude={"sha256"}),
            "state": "expired" if key.expired(now) else "valid",
        }
        for name, key in config.keys.items()
    ]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(COLUMNS, [{**row, "models": " ".join(row["models"]) or "all"} for row in rows])
    else:
        click.echo("No key is configured: the gateway answers loopback clients only.")
