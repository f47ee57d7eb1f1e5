"""The `midstream` command. Each subcommand is a file of its own, imported when it is asked for: `--help` stays instant."""

from __future__ import annotations

import importlib
from typing import NamedTuple

import click

from midstream.loading import quietly


class _Entry(NamedTuple):
    """target: module:attribute; help: the line in the overview, kept here so that the overview imports nothing."""

    target: str
    help: str


COMMANDS = {
    "run": _Entry("midstream.cli.run:run", "Start the proxy: mitmdump with midstream's addons."),
    "exec": _Entry("midstream.cli.exec:exec_command", "Run a program through the proxy, with all it needs set up."),
    "demo": _Entry("midstream.cli.demo:demo", "See it work in half a minute, without a key or a network."),
    "stats": _Entry(
        "midstream.cli.stats:stats", "Latency, throughput, errors and cost by model, provider, app or hour."
    ),
    "streams": _Entry("midstream.cli.streams:streams", "List recorded streams, newest first."),
    "show": _Entry("midstream.cli.show:show", "Everything about one stream."),
    "tail": _Entry("midstream.cli.tail:tail", "Watch streams live."),
    "datasette": _Entry(
        "midstream.cli.datasette:datasette", "Browse the database: questions, SQL and charts (an extra)."
    ),
    "vacuum": _Entry("midstream.cli.vacuum:vacuum", "Sum up old streams by hour, and give the space back."),
    "replay": _Entry("midstream.cli.replay:replay", "Serve recorded streams as a provider."),
    "keys": _Entry("midstream.cli.keys:keys", "Make and list the keys of the gateway."),
    "doctor": _Entry("midstream.cli.doctor:doctor", "Check the installation; say what is wrong and how to mend it."),
}


class _LazyGroup(click.Group):
    """Knows its commands by name, and imports one only to run it or to show its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        with quietly():
            command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - a mistake in the table above
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from midstream.cli.paths import version

    click.echo(f"midstream {version()}")
    ctx.exit()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def main() -> None:
    """midstream sits in the middle of the stream between an app and its LLM provider.

    \b
    Try it:               midstream demo
    Measure a program:    midstream exec -- python app.py
    ... or many:          midstream run          (then, elsewhere: midstream exec -- ...)
    Read the results:     midstream stats
                          midstream streams --since 1h
                          midstream show last
    Something is wrong:   midstream doctor

    `midstream COMMAND --help` has more, with examples.
    """
