"""Bundles of certificates: complete, each once, whole at any moment."""

from __future__ import annotations

import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import certifi
import pytest
from mitmproxy.certs import CertStore

from midstream.cli import ca

ROOTS = ca.read_certificates(Path(certifi.where()))


def test_only_whole_certificates_are_taken() -> None:
    text = (
        "# comment\r\n"
        + ROOTS[0].replace("\n", "\r\n")
        + "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n"
    )
    text += "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + ROOTS[1] + ROOTS[2][:200]
    assert ca.certificates(text) == ROOTS[:2]


def test_what_the_variables_name_comes_first_and_once(tmp_path: Path) -> None:
    (tmp_path / "one.pem").write_text(ROOTS[5] + ROOTS[6])
    folder = tmp_path / "dir"
    folder.mkdir()
    (folder / "abcd.0").write_text(ROOTS[7])
    found = ca.roots({"SSL_CERT_FILE": str(tmp_path / "one.pem"), "SSL_CERT_DIR": f"{folder}:/missing"})
    assert found[:3] == [ROOTS[5], ROOTS[6], ROOTS[7]]
    assert len(found) == len(set(found))
    assert set(ROOTS) <= set(found)


def test_a_bundle_loads_into_openssl_whole(tmp_path: Path) -> None:
    path = ca.write_bundle(tmp_path / "new" / "bundle.pem", [*ROOTS, ROOTS[0]])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)
    assert len(context.get_ca_certs()) == len(set(ROOTS))
    assert [file.name for file in path.parent.iterdir()] == ["bundle.pem"]


def test_first_runs_at_once_agree_on_one_ca(tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(ca.ensure_ca, [tmp_path / "conf"] * 3))
    assert len(made[0]) == 1
    assert made[0] == made[1] == made[2] == ca.ca_of(tmp_path / "conf")
    assert (tmp_path / "conf" / "mitmproxy-ca.pem").stat().st_mode & 0o077 == 0
    assert ca.read_certificates(tmp_path / "conf" / "mitmproxy-ca-cert.pem") == made[0]
    CertStore.from_store(tmp_path / "conf", "mitmproxy", 2048)  # key and certificate belong together


def test_a_confdir_that_cannot_be_made_is_an_error_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ca.CAError, match="file/conf"):
        ca.ensure_ca(tmp_path / "file" / "conf")
