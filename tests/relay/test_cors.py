"""Which pages may call the gateway."""

from __future__ import annotations

import pytest

from midstream.config import Gateway
from midstream.relay import cors

OWN = "proxy.example.com:8443"


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        ("", True),
        ("http://localhost:5173", True),
        ("http://127.0.0.1:8000", True),
        ("https://proxy.example.com:8443", True),
        ("http://proxy.example.com:8443", True),
        ("https://proxy.example.com", False),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://localhost:5173.evil.example", False),
        ("null", False),
    ],
)
def test_by_default_same_origin_and_localhost(origin: str, may: bool) -> None:
    assert cors.allowed(Gateway(), origin, OWN) is may


def test_configured_origins_replace_the_default() -> None:
    gateway = Gateway(allowed_origins=("https://*.example.org",))
    assert cors.allowed(gateway, "https://app.example.org", OWN)
    assert not cors.allowed(gateway, "http://localhost:5173", OWN)
    assert cors.allowed(Gateway(allowed_origins=("*",)), "null", OWN)


def test_an_image_of_another_sites_page_is_no_visitor() -> None:
    """It sends no Origin, but a browser says where it comes from: https://w3c.github.io/webappsec-fetch-metadata/"""
    assert not cors.allowed(Gateway(), "", OWN, site="cross-site")
    assert cors.allowed(Gateway(), "", OWN, site="same-origin")
    assert cors.allowed(Gateway(), "", OWN, site="none")


def test_headers_name_the_origin_and_vary_by_it() -> None:
    assert cors.headers("http://localhost:1")["Access-Control-Allow-Origin"] == "http://localhost:1"
    assert cors.headers("") == {"Vary": "Origin"}


def test_a_preflight_gets_the_headers_it_asks_for_and_no_nonsense() -> None:
    ask = {"access-control-request-headers": "authorization, x-stainless-os"}
    assert cors.preflight("http://o", ask)["Access-Control-Allow-Headers"] == "authorization, x-stainless-os"
    for bad in ("a\r\nSet-Cookie: x", "x" * 3000, "é", ""):
        answer = cors.preflight("http://o", {"access-control-request-headers": bad})
        assert answer["Access-Control-Allow-Headers"] == cors.HEADERS


def test_a_preflight_for_this_machine() -> None:
    """https://wicg.github.io/private-network-access/"""
    answer = cors.preflight("http://o", {"access-control-request-private-network": "true"})
    assert answer["Access-Control-Allow-Private-Network"] == "true"
    assert "Access-Control-Allow-Private-Network" not in cors.preflight("http://o", {})
