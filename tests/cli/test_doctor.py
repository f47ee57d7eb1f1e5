"""`midstream doctor`: a real request through real proxies, and each thing that can be wrong."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cli.process import TIMEOUT, Cli, command
from midstream.cli import checks, checks_proxy, checks_shell, probe, proxy
from midstream.cli.ca import ca_of, write_bundle
from midstream.cli.checks import Check
from midstream.store import database
from midstream.store.database import open_reader, open_writer

STREAMS = "def responseheaders(flow): flow.response.stream = True\n"


@pytest.fixture
def port(request: pytest.FixtureRequest, tmp_path: Path, confdir: Path) -> Iterator[int]:
    """A mitmdump with the addon that the test names ("": none)."""
    (tmp_path / "an_addon.py").write_text(request.param)
    number = proxy.free_port()
    arguments = ["-q", "--listen-host", "127.0.0.1", "--set", f"confdir={confdir}", "-s", str(tmp_path / "an_addon.py")]
    with proxy.running(arguments, number, ca_of(confdir), tmp_path / "log"):
        yield number


@pytest.mark.parametrize("port", [STREAMS], indirect=True)
def test_a_proxy_that_streams_is_told_by_the_order_of_the_chunks(port: int) -> None:
    found = probe.probe(port)
    assert (found.status, found.streamed, found.text, found.good) == (200, True, "one two three", True), found.error


@pytest.mark.parametrize("port", [""], indirect=True)
def test_a_proxy_that_buffers_is_told_by_the_chunk_that_does_not_come(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "PATIENCE", 0.2)
    monkeypatch.setattr(probe, "CLIENT_PATIENCE", 30.0)
    found = probe.probe(port)
    assert (found.status, found.streamed, found.text, found.good) == (200, False, "one two three", False), found.error


def test_no_proxy_at_all_is_an_error_and_no_exception() -> None:
    found = probe.probe(proxy.free_port())
    assert (found.status, found.good) == (0, False)
    assert found.error.startswith("ConnectionRefusedError")


def state(found: Iterator[Check], name: str) -> Check:
    return next(check for check in found if check.name == name)


def test_a_shell_that_names_us_and_a_bundle_without_our_ca_fails(confdir: Path, tmp_path: Path) -> None:
    ca = ca_of(confdir)
    shell = {"HTTPS_PROXY": "http://127.0.0.1:8080", "SSL_CERT_FILE": str(write_bundle(tmp_path / "without.pem", []))}
    trust = state(checks_shell.shell(shell, 8080, ca), "trust")
    assert (trust.state, "SSL_CERT_FILE" in trust.found, "midstream exec" in trust.mend) == ("fail", True, True)
    shell["SSL_CERT_FILE"] = str(write_bundle(tmp_path / "with.pem", ca))
    assert state(checks_shell.shell(shell, 8080, ca), "trust").state == "ok"
    del shell["SSL_CERT_FILE"]
    assert state(checks_shell.shell(shell, 8080, ca), "trust").state == "fail"
    assert state(checks_shell.shell({}, 8080, ca), "trust").state == "ok"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("localhost,127.0.0.1", "ok"),
        ("*", "warn"),
        ("a,.openai.com", "warn"),
        ("amazonaws.com", "warn"),
        ("example.com", "ok"),
    ],
)
def test_entries_of_no_proxy_that_hide_providers(entries: str, expected: str) -> None:
    assert state(checks_shell.shell({"NO_PROXY": entries}, 8080, []), "NO_PROXY").state == expected


def test_another_proxy_in_the_shell_is_a_warning() -> None:
    found = state(checks_shell.shell({"https_proxy": "http://u:secret@proxy.corp:3128"}, 8080, []), "HTTPS_PROXY")
    assert (found.state, found.found) == ("warn", "http://proxy.corp:3128")


def test_a_ca_that_is_missing_damaged_or_readable_by_all(tmp_path: Path, confdir: Path) -> None:
    assert [check.state for check in checks_proxy.authority(tmp_path, [])] == ["warn"]
    file = tmp_path / "mitmproxy-ca.pem"
    file.write_text("nonsense")
    assert [check.state for check in checks_proxy.authority(tmp_path, [])] == ["fail"]
    file.write_bytes((confdir / "mitmproxy-ca.pem").read_bytes())
    file.chmod(0o644)
    found = list(checks_proxy.authority(tmp_path, ca_of(tmp_path)))
    assert (found[0].name, found[0].state) == ("CA", "ok")
    assert state(iter(found), "CA key").mend.startswith("chmod 600")


def test_tokenizers_count_what_they_ought_to() -> None:
    assert checks.tokenizers().state == "ok"


def test_a_damaged_tokenizer_is_a_failure_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    from midstream import tokens

    def damaged(model: str, text: str) -> int:
        raise ValueError("not the file that tiktoken pins")

    monkeypatch.setattr(tokens, "count_text", damaged)
    found = checks.tokenizers()
    assert (found.state, "pip install" in found.mend) == ("fail", True)


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert checks.disk(tmp_path / "deep" / "er" / "x.db").found.endswith(str(tmp_path))
    monkeypatch.setattr(checks, "NO_DISK", 2**70)
    monkeypatch.setattr(checks, "LOW_DISK", 2**70)
    assert checks.disk(tmp_path / "x.db").state == "fail"


def test_a_file_that_is_no_database_is_to_be_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"not a database, but long enough to have a header" * 20)
    found = checks.database(path)
    assert (found.state, f"mv {path} {path}.damaged" in found.mend) == ("fail", True)
    assert checks.database(tmp_path / "new.db").state == "ok"


def test_a_database_on_a_full_disk_is_not_to_be_moved_away(environment: dict[str, str], tmp_path: Path) -> None:
    """A process that may write no byte to a file stands for it: SQLite cannot make the -shm file by which it reads."""
    path = tmp_path / "x.db"
    open_writer(path).conn.close()
    script = f"""
import resource
from pathlib import Path
from midstream.cli.checks import database
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
found = database(Path({str(path)!r}))
print(found.state, found.found, found.mend, sep="\\n")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    state, found, mend = done.stdout.splitlines()
    assert (state, found) == ("fail", f"{path}: disk I/O error"), done.stderr
    assert mend == "The disk is full or fails: make room on it, or choose another file with --db PATH."


def test_a_database_that_is_locked_a_folder_or_still_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.0)
    path = tmp_path / "x.db"
    open_writer(path).conn.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as lock:
        lock.execute("PRAGMA locking_mode = EXCLUSIVE")
        lock.execute("BEGIN EXCLUSIVE")
        found = checks.database(path)
    assert (found.state, found.mend) == ("fail", "Another program holds it locked: end that.")
    found = checks.database(tmp_path)
    assert (found.state, "is a folder" in found.found) == ("fail", True)
    (tmp_path / "empty.db").touch()
    assert checks.database(tmp_path / "empty.db").state == "ok"


def test_a_fresh_machine_has_no_failure_and_its_request_gets_a_row(cli: Cli) -> None:
    """Everything at once, with the real addons: no proxy runs, so the doctor starts one."""
    done = cli("doctor", "--json", "--port", str(proxy.free_port()))
    found = {check["name"]: check for check in json.loads(done.stdout)}
    failed = [check for check in found.values() if check["state"] == "fail"]
    assert (failed, done.returncode) == ([], 0)
    assert found["proxy"]["state"] == "warn"
    assert found["request"]["state"] == found["row"]["state"] == "ok"


@pytest.mark.parametrize("port", [STREAMS], indirect=True)
def test_a_proxy_that_does_not_measure_is_found_out(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_proxy, "ROW_SECONDS", 0.2)
    found = list(checks_proxy.request_through(port, tmp_path / "streams.db"))
    assert [(check.name, check.state) for check in found] == [("request", "ok"), ("row", "fail")]


@contextmanager
def proxied(environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The URL of a proxy with the real addons, which records into x.db."""
    program = [sys.executable, "-u", "-c", "import os, sys; print(os.environ['HTTPS_PROXY']); sys.stdin.read()"]
    line = [*command(), "exec", "--db", "x.db", "--", *program]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, env=environment, cwd=tmp_path, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


def test_a_running_proxy_is_asked_and_a_failure_is_exit_code_1(
    cli: Cli, environment: dict[str, str], tmp_path: Path, home: Path
) -> None:
    with proxied(environment, tmp_path) as url:
        shell = {"HTTPS_PROXY": url}
        options = ("--json", "--db", "x.db", "--port", url.rpartition(":")[2])
        done = cli("doctor", *options, **shell)
        ca = cli("doctor", *options, **shell, SSL_CERT_FILE=str(home / ".midstream" / "ca-bundle.pem"))
    untrusting, found = ({check["name"]: check["state"] for check in json.loads(run.stdout)} for run in (done, ca))
    assert (found["proxy"], found["request"], found["row"], found["trust"], ca.returncode) == (
        "ok",
        "ok",
        "ok",
        "ok",
        0,
    )
    assert (untrusting["row"], untrusting["trust"], done.returncode) == ("ok", "fail", 1)
    with open_reader(tmp_path / "x.db") as reader:
        assert reader.streams() == reader.ask("SELECT * FROM attempts") == []


def test_a_row_that_cannot_be_deleted_stays_under_one_name(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are labels of /metrics: a new one each time would make it grow."""

    def refuse(path: Path, id_: str) -> None:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr(database, "delete", refuse)
    with proxied(environment, tmp_path) as url:
        port = int(url.rpartition(":")[2])
        found = [check for _ in range(2) for check in checks_proxy.request_through(port, tmp_path / "x.db")]
    assert [(check.name, check.state) for check in found] == [("request", "ok"), ("row", "ok")] * 2
    assert "it stays" in found[1].found
    with open_reader(tmp_path / "x.db") as reader:
        names = [(row["model_requested"], row["model_served"], row["app"]) for row in reader.streams()]
    assert names == [("midstream-doctor",) * 3] * 2


def test_a_configuration_is_checked_too(tmp_path: Path) -> None:
    from midstream.cli.checks import configuration

    file = tmp_path / "midstream.toml"
    file.write_text("[streams]\ngrace = 10\n")
    assert [check.state for check in configuration(str(file))] == ["ok"]
    file.write_text("[streams]\ngrase = 10\n")
    (check,) = configuration(str(file))
    assert check.state == "fail"
    assert "grase" in check.found
    assert "line 2" in check.found or ":2" in check.found
    assert "docs/configuration.md" in check.mend


def test_a_key_that_is_not_set_in_this_shell_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "midstream.toml"
    file.write_text('[providers.openai]\napi_key = "env:OUR_KEY"\n')
    monkeypatch.delenv("OUR_KEY", raising=False)
    (unset,) = checks.configuration(str(file))
    assert (unset.state, unset.mend) == ("fail", "OUR_KEY is not set in this shell: set it where midstream runs")
    monkeypatch.setenv("OUR_KEY", "two words")
    (unusable,) = checks.configuration(str(file))
    assert unusable.mend == "set OUR_KEY to the key alone, where midstream runs"
