"""Where the files are by which programs trust the proxy: in no folder of the user's own, and no two proxies' the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.process import Cli
from midstream.cli.ca import ca_of, read_certificates
from midstream.cli.trust import Trust

PRINT = ("printenv", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")


def test_a_database_elsewhere_has_nothing_put_beside_it(cli: Cli, home: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    done = cli("exec", "--db", "project/run1.db", "--", *PRINT)
    assert done.stdout.split() == [str(home / ".midstream" / name) for name in ("ca-bundle.pem", "extra-ca.pem")]
    assert {file.name for file in project.iterdir()} <= {"run1.db", "run1.db-wal", "run1.db-shm"}
    cli("run", "--db", "project/run1.db", "--options", plain=True)
    assert {file.name for file in project.iterdir()} <= {"run1.db", "run1.db-wal", "run1.db-shm"}
    assert {file.name for file in (home / ".midstream").iterdir()} == {
        "ca-bundle.pem",
        "extra-ca.pem",
        "upstream-roots.pem",
        "exec-proxy.log",
    }


@pytest.fixture
def in_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(home))
    return home


def test_another_ca_or_other_roots_have_other_files(in_home: Path, tmp_path: Path, confdir: Path) -> None:
    ca, usual = ca_of(confdir), in_home / ".mitmproxy"
    plain = Trust(usual, {}).bundle(ca)
    other = Trust(tmp_path / "other", {}).bundle([])
    company = Trust(usual, {"SSL_CERT_FILE": str(plain)}).bundle(ca)
    again = Trust(usual, {"SSL_CERT_FILE": str(plain), "PATH": "/bin"}).bundle(ca)
    assert plain == in_home / ".midstream" / "ca-bundle.pem"
    assert other == tmp_path / "other" / "ca-bundle.pem"
    assert company == again
    assert company.parent.parent == plain.parent
    assert set(ca) <= set(read_certificates(plain))
    assert not set(ca) & set(read_certificates(other))


def test_without_a_home_to_write_to_they_are_beside_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "a file"))
    trust = Trust(tmp_path / "a file" / ".mitmproxy", {}, str(tmp_path / "data" / "x.db"))
    assert trust.upstream() == tmp_path / "data" / "upstream-roots.pem"
    with pytest.raises(OSError, match="a file"):
        Trust(tmp_path / "a file" / ".mitmproxy", {}).upstream()
