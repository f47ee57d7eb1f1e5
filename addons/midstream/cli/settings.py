"""What a line of mitmdump options already says, and what we add to it. Pure but for reading mitmproxy's config.yaml."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from midstream.cli.environment import Upstream, is_local, upstream_of
from midstream.cli.paths import DEFAULT_CONFDIR, DEFAULT_DB, DEFAULT_PORT, LOOPBACK

OPEN_MODES = ("transparent", "wireguard", "tun")
"""Their traffic is addressed to this machine's other interfaces: on loopback they would hear nothing."""

STREAMED = "64m"
"""Bodies beyond this size are passed on as they come, not held in memory: a program's downloads come through here as well.
LLM requests stay below it (Anthropic takes 32 MB, OpenAI 50), so that they can be read whole."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user's options say; names: the mitmproxy options that are set, on the line or in config.yaml; ports: those
    that listeners are said to have, first that of the first one."""

    names: frozenset[str]
    values: Mapping[str, str]
    modes: tuple[str, ...]
    ports: tuple[int, ...]

    @property
    def port(self) -> int | None:
        return self.ports[0] if self.ports else None

    @property
    def confdir(self) -> Path:
        return Path(self.values.get("confdir", DEFAULT_CONFDIR)).expanduser()

    @property
    def db(self) -> str:
        return self.values.get("midstream_db", DEFAULT_DB)


def read_settings(arguments: Sequence[str]) -> Settings:
    """Read the options that matter to us; all others are mitmproxy's own business, and so are mistakes in these."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--listen-host")
    parser.add_argument("-p", "--listen-port")
    parser.add_argument("-m", "--mode", action="append", default=[])
    parser.add_argument("-k", "--ssl-insecure", action="store_const", const="true")
    parser.add_argument("--flow-detail")
    parser.add_argument("--web-port")
    parser.add_argument("-s", "--scripts", action="append")
    parser.add_argument("--set", action="append", default=[])
    try:
        known, _ = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError:
        return Settings(frozenset(), {}, (), ())
    values = dict(item.partition("=")[::2] for item in known.set)
    flags = {
        name: value
        for name, value in vars(known).items()
        if name not in ("set", "mode", "scripts") and value is not None
    }
    values.update(flags)
    modes = (*known.mode, *(item.partition("=")[2] for item in known.set if item.startswith("mode=")))
    confdir = Path(values.get("confdir", DEFAULT_CONFDIR)).expanduser()
    several = {name for name, given in (("mode", modes), ("scripts", known.scripts)) if given}
    names = frozenset(values) | several | _configured(confdir)
    return Settings(names, values, modes, _ports(values.get("listen_port"), modes))


def _configured(confdir: Path) -> frozenset[str]:
    """The options that mitmproxy's config.yaml sets: its top-level keys."""
    names: set[str] = set()
    for file in ("config.yaml", "config.yml"):
        try:
            text = (confdir / file).read_text("utf-8", "replace")
        except OSError:
            continue
        names.update(re.findall(r"^([a-z_0-9]+)\s*:", text, re.MULTILINE))
    return frozenset(names)


def _ports(listen_port: str | None, modes: Sequence[str]) -> tuple[int, ...]:
    """The ports of the listeners that say one (`regular@8081`, `regular@127.0.0.1:8081`), then that of the others."""
    said = [match.group(1) for mode in modes if (match := re.search(r"@(?:.*:)?(\d+)$", mode))]
    return tuple(int(text) for text in (*said, listen_port or "") if text.isdecimal())


def added_arguments(settings: Settings, *, addons: Sequence[Path], db: str | None, roots: Path) -> list[str]:
    """Our options for a mitmdump: only what the user has not set.

    roots: a file with the roots this machine trusts. mitmproxy by itself knows certifi's alone, and would refuse a
    provider, or a company's gateway, that the program was able to reach without us.
    """
    names = settings.names
    added = [part for path in addons for part in ("-s", str(path))]
    if "listen_host" not in names and not any(mode.startswith(OPEN_MODES) for mode in settings.modes):
        added += ["--listen-host", LOOPBACK]
    defaults = {
        "connection_strategy": "lazy",  # else a provider that is down fails the CONNECT, before anybody sees a request
        "stream_large_bodies": STREAMED,
    }
    if not names & {"ssl_verify_upstream_trusted_ca", "ssl_verify_upstream_trusted_confdir", "ssl_insecure"}:
        defaults["ssl_verify_upstream_trusted_ca"] = str(roots)
    if db is not None:
        defaults["midstream_db"] = str(Path(db).expanduser().absolute())
    for name, value in defaults.items():
        if name not in names:
            added += ["--set", f"{name}={value}"]
    return added


def upstream_for(settings: Settings, environment: Mapping[str, str], own_port: int) -> Upstream | None:
    """The proxy that ours must go out through: the one of this environment, unless that is ours or a mode is set."""
    upstream = upstream_of(environment)
    if upstream is None or settings.names & {"mode", "upstream_auth"}:
        return None
    itself = is_local(upstream.host) and upstream.port in (own_port, DEFAULT_PORT)
    return None if itself else upstream
