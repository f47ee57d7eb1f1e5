"""`midstream run`: mitmdump itself, with our options where the user has none."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.process import Cli, command
from midstream.cli import main, proxy
from midstream.cli.ca import ca_of


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


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["-p", "99999"], "99999 is no port"),
        (["--no-such-option"], "unrecognized arguments"),
        (["--mode", "nonsense"], "nonsense"),
        (["-s", "no_such_script.py"], "no_such_script.py"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_start_is_not_announced(cli: Cli, options: list[str], complaint: str) -> None:
    done = cli("run", *options, plain=True)
    assert done.returncode != 0
    assert complaint in done.stdout + done.stderr
    assert "streams are recorded in" not in done.stderr


def test_a_taken_port_is_not_announced(cli: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = cli("run", "-p", str(taken.getsockname()[1]), plain=True)
    assert done.returncode == 1
    assert "streams are recorded in" not in done.stderr


def test_questions_to_mitmdump_are_answered_alone(cli: Cli) -> None:
    assert cli("run", "--options", plain=True).stderr == ""


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


def test_web_leaves_8081_to_a_listener_of_the_users(cli: Cli, options: tuple[str, ...]) -> None:
    listeners = ("--mode", f"regular@{proxy.free_port()}", "--mode", "reverse:http://midstream.internal@8081")
    done = cli("run", "--web", *options, *listeners, "--no-web-open-browser", plain=True)
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.startswith("web_port "))
    assert int(said["web_port"]) > 8081, done.stderr
    assert f"mitmweb's page is on port {said['web_port']}" in done.stderr


def test_a_page_whose_port_is_taken_ends_in_one_line(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        listener = ("-p", str(proxy.free_port()))
        done = cli("run", "--web", *listener, "--web-port", port, "--no-web-open-browser", plain=True)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"Error: Web server failed to listen on 127.0.0.1:{port} ")
    assert "--set web_port=" in line


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


def test_rules_that_break_streams_reach_mitmdump(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr("os.execve", lambda _, arguments, __: calls.append(arguments))
    rules = ["--break", "cut after=40 p=0.2", "--break", "status=429 times=1"]
    done = CliRunner().invoke(main, ["run", "--db", str(tmp_path / "x.db"), *rules, "-q"])
    assert done.exit_code == 0, done.output
    ours = [word for word in calls[0] if word.startswith("midstream_break=")]
    assert ours == ["midstream_break=cut after=40 p=0.2", "midstream_break=status=429 times=1"]


def test_a_wrong_rule_is_said_before_mitmdump_starts() -> None:
    done = CliRunner().invoke(main, ["run", "--break", "cut aftr=4"])
    assert done.exit_code == 2
    assert "cannot parse 'cut aftr=4': cut takes no 'aftr'" in " ".join(done.output.split())
