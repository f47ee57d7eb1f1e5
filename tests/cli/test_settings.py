"""Which of our options a line of mitmdump options leaves room for."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.process import Cli
from midstream.cli.options import OURS, PREFIX
from midstream.cli.settings import added_arguments, read_settings, upstream_for
from midstream.cli.web_page import page_port

ROOTS = Path("/roots.pem")


def added(*arguments: str, db: str | None = None) -> list[str]:
    return added_arguments(
        read_settings(("--set", "confdir=/nowhere", *arguments)), addons=[Path("/a.py")], db=db, roots=ROOTS
    )


def test_defaults_are_loopback_lazy_and_the_machines_roots() -> None:
    line = added()
    assert line[:4] == ["-s", "/a.py", "--listen-host", "127.0.0.1"]
    assert {"connection_strategy=lazy", "ssl_verify_upstream_trusted_ca=/roots.pem", "stream_large_bodies=64m"} <= set(
        line
    )


@pytest.mark.parametrize(
    "given",
    [
        ("--listen-host", "0.0.0.0"),
        ("--listen-host=::",),
        ("--set", "listen_host=10.0.0.1"),
        ("-m", "transparent"),
        ("--mode=wireguard",),
    ],
)
def test_a_listen_host_of_the_users_or_a_mode_that_needs_all_stands(given: tuple[str, ...]) -> None:
    assert "--listen-host" not in added(*given)


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        (("--set", "connection_strategy=eager"), "connection_strategy=lazy"),
        (("-k",), "ssl_verify_upstream_trusted_ca=/roots.pem"),
        (("--set", "ssl_verify_upstream_trusted_ca=/mine.pem"), "ssl_verify_upstream_trusted_ca=/roots.pem"),
        (("--set", "stream_large_bodies=1m"), "stream_large_bodies=64m"),
    ],
)
def test_mitmproxy_refuses_an_option_twice_so_the_users_stands_alone(given: tuple[str, ...], ours: str) -> None:
    assert ours in added()
    assert ours not in added(*given)


def test_config_yaml_counts_as_said(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("# mine\nlisten_host: 0.0.0.0\nconnection_strategy: eager\n")
    line = added_arguments(read_settings(["--set", f"confdir={tmp_path}"]), addons=[], db=None, roots=ROOTS)
    assert "--listen-host" not in line
    assert "connection_strategy=lazy" not in line


def test_the_database_is_made_absolute() -> None:
    assert f"midstream_db={Path.cwd() / 'x.db'}" in added(db="x.db")


@pytest.mark.parametrize(
    ("given", "port"),
    [
        ((), None),
        (("-p", "8081"), 8081),
        (("-p8081",), 8081),
        (("--listen-port=8081",), 8081),
        (("--set", "listen_port=8081"), 8081),
        (("-m", "regular@8082"), 8082),
        (("-m", "reverse:https://api.openai.com@127.0.0.1:8083"), 8083),
        (("-m", "reverse:https://api.openai.com:443"), None),
        (("-p", "nonsense"), None),
        (("-p",), None),
    ],
)
def test_the_port_it_will_listen_on(given: tuple[str, ...], port: int | None) -> None:
    assert read_settings(given).port == port


@pytest.mark.parametrize("command", [("run",), ("exec",)])
@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("midstream_recording=./typo", "did you mean midstream_recordings?"),
        ("midstream_database=x", "midstream_db"),
    ],
)
def test_an_option_of_ours_that_is_none_is_refused(cli: Cli, command: tuple[str], option: str, told: str) -> None:
    done = cli(*command, "--set", option, *(("--", "echo", "ran") if command == ("exec",) else ()), plain=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in " ".join(done.stderr.split())


PRINT_OURS = """
from mitmproxy import ctx
def running():
    print(*sorted(name for name in ctx.options.keys() if name.startswith("midstream_")), flush=True)
    ctx.master.shutdown()
"""


def test_the_options_that_are_known_are_the_addons(cli: Cli, tmp_path: Path) -> None:
    """With a script of the user's own an unknown one is only told of: it may be the script's."""
    (tmp_path / "print_ours.py").write_text(PRINT_OURS)
    done = cli("run", "-q", "-n", "-s", "print_ours.py", "--set", "midstream_mine=1")
    assert done.stdout.split() == [PREFIX + name for name in OURS]
    assert "midstream: no addon of midstream's has an option midstream_mine" in done.stderr


def test_a_proxy_above_is_chained_unless_it_is_ours_or_a_mode_is_set() -> None:
    corporate = {"HTTPS_PROXY": "http://proxy.corp:3128"}
    plain, reverse = read_settings([]), read_settings(["--mode", "reverse:https://x"])
    chained = upstream_for(plain, corporate, 8080)
    assert chained is not None
    assert chained.mode == "upstream:http://proxy.corp:3128"
    assert upstream_for(reverse, corporate, 8080) is None
    assert upstream_for(plain, {"HTTPS_PROXY": "http://localhost:8080"}, 9000) is None
    assert upstream_for(plain, {"HTTPS_PROXY": "http://127.0.0.1:9000"}, 9000) is None


@pytest.mark.parametrize(
    ("given", "elsewhere"),
    [
        ((), False),
        (("--mode", "regular", "--mode", "reverse:http://midstream.internal@8081"), True),
        (("--mode", "regular@8090", "--mode", "reverse:http://x@127.0.0.1:8081"), True),
        (("-p", "8081"), True),
        (("-p", "8081", "--web-port", "8081"), False),
        (("-p", "8081", "--set", "web_port=9"), False),
    ],
)
def test_mitmwebs_page_makes_room_for_a_listener(given: tuple[str, ...], elsewhere: bool) -> None:
    port = page_port(read_settings(("--set", "confdir=/nowhere", *given)))
    assert (port is not None) is elsewhere
    assert port not in (8080, 8081)
