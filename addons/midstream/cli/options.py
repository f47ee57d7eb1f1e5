"""The options that `run` and `exec` share, made into options of mitmdump's."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from midstream.cli.settings import Settings

PREFIX = "midstream_"

OURS = ("body_limit", "break", "config", "connect_to", "content", "db", "recordings")
"""What our addons call their options, behind the prefix."""


def config_option[F: Callable[..., Any]](command: F) -> F:
    """--config"""
    text = "midstream.toml: providers, routes, streams and gateway keys."
    return click.option("--config", metavar="FILE", help=text)(command)


def configured(path: str | None) -> list[str]:
    """The options for the configuration. What is wrong with it is said here, before mitmdump starts."""
    from midstream.config import ConfigError
    from midstream.config.file import ConfigFile

    if path is None:
        return []
    try:
        ConfigFile(path)
    except ConfigError as error:
        raise click.BadParameter(str(error), param_hint="--config") from error
    return ["--set", f"midstream_config={Path(path).expanduser().absolute()}"]


def refuse_unknown(settings: Settings) -> None:
    """mitmproxy passes over an option that no addon has, in silence: some script might still declare it. One that bears our
    prefix is a slip of the pen, but where there are scripts of the user's own: then it is only said."""
    known = [PREFIX + name for name in OURS]
    for name in settings.values:
        if not name.startswith(PREFIX) or name in known:
            continue
        near = difflib.get_close_matches(name, known, 1)
        told = f"no addon of midstream's has an option {name}; " + (f"did you mean {near[0]}?" if near else _all(known))
        if "scripts" not in settings.names:
            raise click.BadParameter(told, param_hint="--set")
        click.echo(f"midstream: {told}", err=True)


def _all(known: list[str]) -> str:
    return f"there are {', '.join(known)}"
