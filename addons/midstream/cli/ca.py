"""Certificates: mitmproxy's CA, the roots this machine trusts, and bundles of both."""

from __future__ import annotations

import binascii
import contextlib
import os
import re
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

BASENAME = "mitmproxy"

SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Gentoo
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # RHEL
    "/etc/ssl/cert.pem",  # Alpine, macOS, BSD
)

USER_BUNDLES = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "AWS_CA_BUNDLE",
    "NIX_SSL_CERT_FILE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
)
"""Variables by which a user (or a company's image) adds roots of trust; what they name goes into the bundle."""

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")

BUNDLE_LIMIT = 16 * 1024 * 1024
"""Bytes read of one file of certificates; the largest in use have a quarter of a megabyte."""

FOLDER_LIMIT = 4096
"""Files looked at in one folder of certificates."""

_CREATE = (
    "import pathlib, sys; from mitmproxy.certs import CertStore; "
    f"CertStore.create_store(pathlib.Path(sys.argv[1]), {BASENAME!r}, 2048)"
)


class CAError(Exception):
    """The CA can be neither read nor made; the message says why."""


def certificates(text: str) -> list[str]:
    """The certificates in a PEM text, normalised, so that equal ones are equal; anything else in it is left out."""
    found = []
    for block in _CERTIFICATE.findall(text):
        with contextlib.suppress(binascii.Error, ValueError):
            der = binascii.a2b_base64("".join(block.split()), strict_mode=True)
            if der[:1] == b"\x30":  # an ASN.1 sequence; OpenSSL reads a bundle only up to the first that is none
                found.append(ssl.DER_cert_to_PEM_cert(der))
    return found


def read_certificates(path: Path) -> list[str]:
    """The certificates in a file, or in the files of a folder (SSL_CERT_DIR); none if it cannot be read."""
    try:
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.is_file())[:FOLDER_LIMIT]
            return [found for file in files for found in read_certificates(file)]
        with path.open("rb") as file:
            return certificates(file.read(BUNDLE_LIMIT).decode("ascii", "replace"))
    except OSError:
        return []


def roots(environment: Mapping[str, str]) -> list[str]:
    """Whom programs in this environment trust: what its variables name, the system's roots, certifi's (Python's usual)."""
    named = [Path(part) for name in USER_BUNDLES for part in environment.get(name, "").split(os.pathsep) if part]
    openssl = ssl.get_default_verify_paths()
    system = [*map(Path, SYSTEM_BUNDLES), Path(openssl.openssl_cafile)]
    found = [found for path in (*named, *dict.fromkeys(system)) for found in read_certificates(path)]
    return list(dict.fromkeys([*found, *_windows_roots(), *_certifi_roots()]))


def _certifi_roots() -> list[str]:
    import certifi

    return read_certificates(Path(certifi.where()))


def _windows_roots() -> list[str]:
    if sys.platform != "win32":
        return []
    stores = [entry for name in ("ROOT", "CA") for entry in ssl.enum_certificates(name)]
    return [ssl.DER_cert_to_PEM_cert(der) for der, encoding, _ in stores if encoding == "x509_asn"]


def ca_of(confdir: Path) -> list[str]:
    """The CA that mitmproxy signs with (and its chain, where a company gave it one); [] before mitmproxy ever ran."""
    return read_certificates(confdir / f"{BASENAME}-ca.pem")


def ensure_ca(confdir: Path) -> list[str]:
    """The CA, made on first use, exactly as mitmproxy would. Raises CAError."""
    if not (confdir / f"{BASENAME}-ca.pem").exists():
        _create(confdir)
    found = ca_of(confdir)
    if not found:
        raise CAError(f"{confdir / f'{BASENAME}-ca.pem'} has no certificate that can be read")
    return found


def _create(confdir: Path) -> None:
    """Make it aside, then link it into place: of several first runs at once, the first one's key and certificate hold."""
    try:
        confdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=confdir, prefix=".new-ca-") as folder:
            command = [sys.executable, "-P", "-c", _CREATE, folder]
            made = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own interpreter
            if made.returncode:
                raise CAError(f"mitmproxy could not make its CA: {made.stderr.strip()[-500:]}")
            with contextlib.suppress(FileExistsError):
                os.link(Path(folder, f"{BASENAME}-ca.pem"), confdir / f"{BASENAME}-ca.pem")
                for file in Path(folder).iterdir():
                    file.replace(confdir / file.name)
    except OSError as error:
        raise CAError(f"cannot make mitmproxy's CA in {confdir}: {error}") from error


def write_bundle(path: Path, pems: Iterable[str]) -> Path:
    """Write certificates, each once, atomically: a program starting meanwhile reads the old bundle or the new one."""
    write_atomically(path, "".join(dict.fromkeys(pems)).encode("ascii"))
    return path


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content at once; leaves it alone where it is the same. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_bytes() == data:
        return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def java_trust_store(pems: Iterable[str], password: str) -> bytes:
    """A PKCS12 file that Java takes as trustStore: its entries carry Oracle's trusted-key-usage attribute.

    Raises ImportError where `cryptography` is older than 45.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

    entries = []
    for number, pem in enumerate(dict.fromkeys(pems)):
        with contextlib.suppress(ValueError):  # a root with an encoding that cryptography refuses
            entries.append(pkcs12.PKCS12Certificate(x509.load_pem_x509_certificate(pem.encode()), b"root%d" % number))
    return pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(password.encode()))
