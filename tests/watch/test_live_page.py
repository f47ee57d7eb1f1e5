"""The page's own files: all there, nothing foreign in them, and what the gateway serves without a key tells nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from aiohttp import web

from midstream.config import Config
from midstream.healing.breakers import Limits
from midstream.relay import pages
from midstream.relay.access import Caller
from midstream.relay.exchange import Exchange
from midstream.watch.live_page import SECURITY, STATIC, TYPES, breakers

FILES = sorted(file for file in STATIC.iterdir() if file.is_file())


def test_every_file_has_a_type_that_is_served() -> None:
    assert {file.suffix for file in FILES} <= set(TYPES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_a_file_refers_to_ships_with_it(file: Path) -> None:
    text = file.read_text()
    named = re.findall(r"""(?:src|href)="/live/([^"]+)"|from '\./([^']+)'""", text)
    assert all((STATIC / (a or b)).is_file() for a, b in named)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_names_no_other_host_and_makes_no_markup(file: Path) -> None:
    text = file.read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(
        r"https?://|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_files_keep_to_their_size(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 300


def test_the_policy_allows_nothing_inline_or_foreign() -> None:
    policy = SECURITY["Content_Security_Policy"]
    sources = set(re.findall(r"'[^']+'|\*|\S+:\S*", policy))
    assert sources == {"'none'", "'self'", "'script'"}


async def _nothing(exchange: Exchange, caller: Caller) -> web.StreamResponse:
    raise AssertionError


def test_pages_are_served_for_the_time_of_the_block() -> None:
    with pages.serving({"/x": _nothing, "/x/": _nothing}, without_key=frozenset(("/x",))):
        assert pages.page_of("/x/y") is _nothing
        assert "/x" in pages.OPEN
        assert "/x/" not in pages.OPEN
    assert pages.page_of("/x/y") is None
    assert "/x" not in pages.OPEN


def test_without_a_relay_there_are_no_targets() -> None:
    assert list(breakers(Config.default())) == []
    assert Config.default().healing.limits == Limits()
