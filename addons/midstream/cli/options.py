"""The options that `run` and `exec` share, made into options of mitmdump's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


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
