"""`midstream exec`: real programs, a real mitmdump, a provider that only the proxy trusts."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli.process import Cli, command
from midstream.cli import probe, proxy
from midstream.cli.ca import ca_of, read_certificates
from midstream.replay.throwaway_ca import ThrowawayCA

ASK = {
    "httpx": "import httpx; print(httpx.get(URL).status_code)",
    "requests": "import requests; print(requests.get(URL).status_code)",
    "urllib": """
import urllib.request, urllib.error
try: urllib.request.urlopen(URL)
except urllib.error.HTTPError as error: print(error.code)""",
    "aiohttp": """
import aiohttp, asyncio
async def ask():
    async with aiohttp.ClientSession(trust_env=True) as session, session.get(URL) as response:
        print(response.status)
asyncio.run(ask())""",
}
"""What a program does that knows nothing of us."""


@pytest.fixture
def through(cli: Cli, throwaway_ca: tuple[ThrowawayCA, Path]) -> Cli:
    """`exec` with a proxy that trusts the provider."""

    def run(*program: str, **extra: str) -> subprocess.CompletedProcess[str]:
        trust = f"ssl_verify_upstream_trusted_ca={throwaway_ca[1]}"
        return cli("exec", "--proxy-localhost", "--set", trust, "--", *program, plain=True, **extra)

    return run


@pytest.mark.parametrize("client", ASK)
def test_python_clients_come_through_and_trust(through: Cli, tls_server: str, client: str) -> None:
    done = through(sys.executable, "-c", f"URL={tls_server!r}\n{ASK[client]}")
    assert (done.stdout.strip(), done.returncode) == ("418", 0), done.stderr


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl")
def test_curl_comes_through_and_trusts(through: Cli, tls_server: str) -> None:
    done = through("curl", "-sS", "-o", os.devnull, "-w", "%{http_code}", tls_server)
    assert (done.stdout, done.returncode) == ("418", 0), done.stderr


JAVA = """
import java.net.*;
public class Ask { public static void main(String[] a) throws Exception {
    System.out.println(((HttpURLConnection) new URI(a[0]).toURL().openConnection()).getResponseCode()); } }
"""


@pytest.mark.skipif(not shutil.which("javac"), reason="no Java compiler")
def test_java_comes_through_and_trusts(
    cli: Cli, throwaway_ca: tuple[ThrowawayCA, Path], tls_server: str, tmp_path: Path
) -> None:
    (tmp_path / "Ask.java").write_text(JAVA)
    trust = f"ssl_verify_upstream_trusted_ca={throwaway_ca[1]}"
    program = ("java", str(tmp_path / "Ask.java"), tls_server)
    done = cli("exec", "--java", "--proxy-localhost", "--set", trust, "--", *program, plain=True)
    assert (done.stdout.strip(), done.returncode) == ("418", 0), done.stderr


def test_without_the_option_localhost_is_left_alone(
    cli: Cli, throwaway_ca: tuple[ThrowawayCA, Path], tls_server: str
) -> None:
    trust = f"ssl_verify_upstream_trusted_ca={throwaway_ca[1]}"
    done = cli("exec", "--set", trust, "--", sys.executable, "-c", f"URL={tls_server!r}\n{ASK['httpx']}", plain=True)
    assert "CERTIFICATE_VERIFY_FAILED" in done.stderr  # it met the provider itself, whose CA it does not know


def test_a_ca_preset_by_the_user_stays_trusted(
    through: Cli, throwaway_ca: tuple[ThrowawayCA, Path], home: Path
) -> None:
    """The user's own bundle, here the throw-away CA, is in ours: for hosts in NO_PROXY the program still needs it."""
    done = through("printenv", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", SSL_CERT_FILE=str(throwaway_ca[1]))
    bundle, extra = map(Path, done.stdout.split())
    preset, ours = read_certificates(throwaway_ca[1]), ca_of(home / ".mitmproxy")
    assert {*preset, *ours} < set(read_certificates(bundle))
    assert read_certificates(extra) == ours


def test_the_proxy_trusts_what_the_user_trusts(
    cli: Cli, throwaway_ca: tuple[ThrowawayCA, Path], tls_server: str
) -> None:
    """A company's CA in SSL_CERT_FILE: mitmproxy knows certifi's roots alone, and would answer 502."""
    program = (sys.executable, "-c", f"URL={tls_server!r}\n{ASK['httpx']}")
    done = cli("exec", "--proxy-localhost", "--", *program, plain=True, SSL_CERT_FILE=str(throwaway_ca[1]))
    assert done.stdout.strip() == "418", done.stderr


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
)
def test_the_exit_code_is_the_programs(cli: Cli, script: str, code: int) -> None:
    assert cli("exec", "--", "sh", "-c", script, plain=True).returncode == code


def test_a_program_that_is_not_there_or_no_program(cli: Cli, tmp_path: Path) -> None:
    missing = cli("exec", "--", "no-such-program", plain=True)
    assert (missing.returncode, missing.stderr) == (127, "midstream: no-such-program: command not found\n")
    assert cli("exec", "--", str(tmp_path), plain=True).returncode == 126


def test_options_of_the_program_are_its_own_and_its_streams_too(cli: Cli) -> None:
    echo = "import sys; print(sys.argv[1:], sys.stdin.isatty())"
    done = cli("exec", sys.executable, "-c", echo, "--port", "1", "--db=x", "--", "--help", plain=True)
    assert done.stdout == "['--port', '1', '--db=x', '--', '--help'] False\n"
    assert done.stderr == ""


def _started(environment: dict[str, str], script: str, *options: str) -> subprocess.Popen[str]:
    """An `exec` whose program has printed its first line: the proxy's port."""
    program = [sys.executable, "-u", "-c", f"import os, signal, sys\nprint(os.environ['HTTPS_PROXY'])\n{script}"]
    line = [*command(plain=True), "exec", *options, "--", *program]
    pipe = subprocess.PIPE
    return subprocess.Popen(line, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline().rpartition(":")[2])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_reaches_the_program_and_its_answer_us(environment: dict[str, str], number: signal.Signals) -> None:
    script = f"signal.signal({number.value}, lambda *_: sys.exit(33)); print('ready'); signal.pause()"
    with _started(environment, script) as process:
        port = _port(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(60) == 33
    assert proxy.identify(port, []) == "nothing"


def test_a_killed_exec_takes_its_proxy_along(environment: dict[str, str]) -> None:
    with _started(environment, "sys.stdin.read()") as process:
        port = _port(process)
        listener = _owner(port)
        process.kill()
    _wait_until_gone(listener)
    assert proxy.identify(port, []) == "nothing"


def _owner(port: int) -> int:
    """The process that was started to listen on a port."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and (folder / "cmdline").exists():
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
            if b"--listen-port" in arguments and arguments[arguments.index(b"--listen-port") + 1] == str(port).encode():
                return int(folder.name)
    raise AssertionError(f"no process was started with --listen-port {port}")


def _wait_until_gone(pid: int) -> None:
    """Wait for the end of a process that is not our child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    readable, _, _ = select.select([descriptor], [], [], 60)
    os.close(descriptor)
    assert readable, "the proxy outlives its exec"


def test_a_proxy_of_ours_that_runs_is_used_and_left_running(
    environment: dict[str, str], cli: Cli, confdir: Path
) -> None:
    with _started(environment, "sys.stdin.read()", "--port", str(proxy.free_port())) as first:
        port = _port(first)
        named = cli("exec", "--port", str(port), "--", "printenv", "HTTPS_PROXY", plain=True)
        nested = cli("exec", "--", "printenv", "HTTPS_PROXY", plain=True, HTTPS_PROXY=f"http://127.0.0.1:{port}")
        own = cli("exec", "--port", str(port), "--db", "own.db", "--", "printenv", "HTTPS_PROXY", plain=True)
        assert named.stdout == nested.stdout == f"http://127.0.0.1:{port}\n"
        assert own.stdout != named.stdout
        assert proxy.identify(port, ca_of(confdir)) == "ours"
        assert proxy.identify(port, []) == "mitmproxy"
        first.terminate()
        first.wait(60)


def test_a_port_that_something_else_has_is_not_taken_for_ours(cli: Cli, tls_server: str) -> None:
    taken = tls_server.rstrip("/").rpartition(":")[2]
    done = cli("exec", "--port", taken, "--", "printenv", "HTTPS_PROXY", plain=True)
    assert done.stdout.startswith("http://127.0.0.1:")
    assert not done.stdout.endswith(f":{taken}\n")
    assert f"port {taken} is taken (other)" in done.stderr


def test_a_listener_that_never_answers_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "PROBE_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert proxy.identify(silent.getsockname()[1], []) == "other"


def test_a_proxy_that_cannot_start_is_an_error_with_its_reason(cli: Cli) -> None:
    done = cli("exec", "--set", "listen_port=nonsense", "--", "true", plain=True)
    assert done.returncode == 1
    assert "mitmdump ended with code 1" in done.stderr
    assert "nonsense" in done.stderr


def test_a_configuration_is_checked_and_has_a_proxy_of_its_own(
    cli: Cli, environment: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "midstream.toml"
    file.write_text("[streams]\ngrase = 10\n")
    wrong = cli("exec", "--config", str(file), "--", "echo", "ran", plain=True)
    assert (wrong.returncode, wrong.stdout, "grase" in wrong.stderr) == (2, "", True)
    file.write_text("[streams]\ngrace = 10\n")
    with _started(environment, "sys.stdin.read()", "--config", str(file)) as process:
        arguments = Path(f"/proc/{_owner(_port(process))}/cmdline").read_text().split("\0")
        assert f"midstream_config={file}" in arguments
        process.terminate()


def test_the_end_of_a_log_begins_with_a_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("first line\nsecond line\nthird line\n")
    assert proxy.last_lines(log, 1000) == "first line\nsecond line\nthird line"
    assert proxy.last_lines(log, 15) == "third line"
    assert proxy.last_lines(log, 23) == "second line\nthird line"
    log.write_text("a line without end")
    assert proxy.last_lines(log, 3) == "end"
    assert proxy.last_lines(tmp_path / "none") == ""


def test_an_upstream_proxy_of_the_users_is_gone_through(
    cli: Cli, environment: dict[str, str], throwaway_ca: tuple[ThrowawayCA, Path], tls_server: str
) -> None:
    """The outer proxy stands for a company's; only it trusts the provider, and the inner trusts the outer by SSL_CERT_FILE."""
    trust = f"ssl_verify_upstream_trusted_ca={throwaway_ca[1]}"
    with _started(environment, "print(os.environ['SSL_CERT_FILE']); sys.stdin.read()", "--set", trust) as outer:
        port = _port(outer)
        assert outer.stdout is not None
        bundle = outer.stdout.readline().strip()
        program = (sys.executable, "-c", f"URL={tls_server!r}\n{ASK['httpx']}")
        preset = {"HTTPS_PROXY": f"http://127.0.0.1:{port}", "SSL_CERT_FILE": bundle}
        done = cli("exec", "--db", "inner.db", "--proxy-localhost", "--", *program, plain=True, **preset)
        outer.terminate()
        outer.wait(60)
    assert done.stdout.strip() == "418", done.stderr


@pytest.mark.parametrize(
    ("version", "hinted"), [("v20.20.2", True), ("v23.1.0", True), ("v22.21.0", False), ("v24.3.0", False)]
)
def test_a_node_that_ignores_the_proxy_is_pointed_out(cli: Cli, tmp_path: Path, version: str, hinted: bool) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "node").write_text(f"#!/bin/sh\necho {version}\n")
    (folder / "app").write_text("#!/usr/bin/env node\n")
    for file in folder.iterdir():
        file.chmod(0o755)
    done = cli("exec", "--", "app", plain=True, PATH=f"{folder}:/usr/bin:/bin")
    assert done.stdout == f"{version}\n"
    assert ("ignores HTTPS_PROXY" in done.stderr) is hinted


POST = """
import json, os, urllib.request
body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "Count."}]}
headers = {"Content-Type": "application/json", "User-Agent": "an-app/1.0"}
print(len(urllib.request.urlopen(urllib.request.Request(URL, json.dumps(body).encode(), headers)).read()))
"""


def test_a_programs_stream_is_a_row_when_exec_has_ended(cli: Cli) -> None:
    """With the real addons: the proxy is stopped after the program, and has written all it saw."""
    with probe.local_provider() as provider:
        for arrived in provider.arrived:
            arrived.set()
        url = f"http://localhost:{provider.server_port}/v1/chat/completions"
        done = cli("exec", "--proxy-localhost", "--", sys.executable, "-c", f"URL={url!r}\n{POST}")
    assert done.returncode == 0, done.stderr
    [row] = json.loads(cli("streams", "--json").stdout)
    assert (row["model_requested"], row["app"], row["outcome"], row["chunks"]) == ("gpt-4o", "an-app", "complete", 3)
    assert row["bytes"] == int(done.stdout)
    [line] = json.loads(cli("stats", "--by", "app", "--json").stdout)
    assert (line["app"], line["streams"], line["errors"]) == ("an-app", 1, 0)
