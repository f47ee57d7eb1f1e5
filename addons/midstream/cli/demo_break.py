"""The demo's first stream is broken on purpose, so that one can see it healed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from midstream.cli.output import console

if TYPE_CHECKING:
    from midstream.store.queries import Reader

AFTER = 30
"""Tokens after which the provider breaks off."""

CONFIG = """\
[[routes]]
provider = "openai"
on_break = "continue"
"""


def breaking(folder: Path) -> list[str]:
    """mitmdump's options for a provider that breaks off once, and a route that has it healed."""
    config = folder / "midstream.toml"
    config.write_text(CONFIG)
    rule = f"cut after={AFTER} provider=openai times=1"
    return ["--set", f"midstream_config={config}", "--set", f"midstream_break={rule}"]


def announce() -> None:
    click.echo(f"it will break off the first answer after {AFTER} tokens, on purpose; see if you can tell where")


def show_healed(reader: Reader, stream: str) -> None:
    """Draw the attempts of the stream that broke."""
    from midstream.cli.timeline import PLAIN, RICH, timeline

    row, attempts = reader.stream(stream), [dict(attempt) for attempt in reader.attempts(stream)]
    if len(attempts) < 2:
        return
    out = console()
    out.print("\nthe first stream broke, was asked to go on, and joined to what the app had already:", style="bold")
    for line in timeline(row, attempts, out.width, PLAIN if out.options.ascii_only else RICH):
        out.print(line, soft_wrap=True)
    out.print()
