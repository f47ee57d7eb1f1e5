"""`midstream run`: mitmdump itself, with our options where the user has none."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.process import Cli, command
from midstream.cli import main, proxy
from midstream.cli.ca import ca_of

READY = 60


@pytest.fixture
def running(environment: dict[str, str], confdir: Path, tmp_path: Path) -> subprocess.Popen[str]:
    """A `midstream run` on a free port, that serves."""
    port = proxy.free_port()
    line = [*command(plain=True), "run", "-p", str(port), "--db", "x.db"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(line, env=environment, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True)
    proxy._wait_until_ready(process, port, ca_of(confdir), tmp_path / "no-log")  # type: ignore[arg-type]
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_becomes_mitmdump_on_loopback_and_says_what_next(
    running: subprocess.Popen[str], number: signal.Signals
) -> None:
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0
    assert "proxy listening at 127.0.0.1:" in out
    assert "midstream exec --port " in err
    assert "x.db" in err


def test_the_exit_code_is_mitmdumps(cli: Cli) -> None:
    assert cli("run", "--mode", "nonsense", plain=True).returncode == 1
    done = cli("run", "--no-such-option", plain=True)
    assert done.returncode == 1
    assert "unrecognized arguments: --no-such-option" in done.stderr


PRINT_OPTIONS = """
from mitmproxy import ctx
def running():
    names = "listen_host listen_port connection_strategy stream_large_bodies mode upstream_auth web_port"
    for name in names.split():
        print(name, getattr(ctx.options, name, None), flush=True)
    ctx.master.shutdown()
"""
"""What mitmdump itself makes of its command line."""


@pytest.fixture
def options(tmp_path: Path) -> tuple[str, ...]:
    """The options by which a mitmdump prints its options and ends."""
    (tmp_path / "print_options.py").write_text(PRINT_OPTIONS)
    return ("-s", "print_options.py", "-n")


def test_mitmdumps_own_options_pass_untouched(cli: Cli, options: tuple[str, ...]) -> None:
    done = cli("run", *options, "--set", "stream_large_bodies=3m", "-p", "9", plain=True)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert {"listen_port 9", "stream_large_bodies 3m", "connection_strategy lazy", "listen_host 127.0.0.1"} <= set(said)


def test_web_is_mitmweb(cli: Cli, options: tuple[str, ...]) -> None:
    done = cli("run", "--web", *options, "--set", "web_port=0", "--no-web-open-browser", plain=True)
    assert "web_port 0" in done.stdout.splitlines(), done.stderr


def test_an_upstream_proxys_password_reaches_mitmdump_but_no_command_line(cli: Cli, options: tuple[str, ...]) -> None:
    done = cli("run", *options, plain=True, HTTPS_PROXY="http://me:geheim@proxy.corp:3128")
    said = done.stdout.splitlines()
    assert "mode ['upstream:http://proxy.corp:3128']" in said, done.stderr
    assert "upstream_auth me:geheim" in said
    assert "geheim" not in done.stderr


def test_the_password_is_not_among_the_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr("os.execve", lambda _, arguments, environment: calls.append((arguments, environment)))
    monkeypatch.setenv("HTTPS_PROXY", "http://me:geheim@proxy.corp:3128")
    monkeypatch.delenv("https_proxy", raising=False)
    CliRunner().invoke(main, ["run", "--db", str(tmp_path / "x.db")])
    [(arguments, environment)] = calls
    assert "geheim" not in " ".join(arguments)
    assert environment["MIDSTREAM_UPSTREAM_AUTH"] == "me:geheim"
