"""The live page in a real Chromium: it shows the streams that flow, heals itself, and lets nothing foreign in."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from end_to_end import gateway_chats as chats
from end_to_end.chromium import Chromium
from end_to_end.devtools import Tab, tab
from end_to_end.gateway_chats import TEXT, WHOLE, Steps, answering, chunk
from end_to_end.harness import ADDONS, DEADLINE, Authority, Provider, Proxy, cut_after, running
from end_to_end.web_clients import KEYS, TOKEN, need

OPENAI = '[providers.openai]\napi_key = "sk-the-providers-own"\n'
HEALING = '[[routes]]\nmodel = "gpt-4o*"\ntargets = ["openai"]\non_break = "continue"\nbackoff = { base = 0.01, max = 0.01 }\n'
OTHER = "mst_a-token-of-somebody-else"
OTHER_KEY = f'[keys.other]\nsha256 = "{hashlib.sha256(OTHER.encode()).hexdigest()}"\n'
HOSTILE = "<img/src=x/onerror=alert(1)>"
ROW = "#live-rows .stream"
ENDED = "#ended-rows .stream"
SHOTS = os.environ.get("MIDSTREAM_SCREENSHOTS", "")
"""A folder: then the tests leave there what they saw."""


def watching(
    folder: Path, authority: Authority, provider: Provider, confdir: Path, config: str, *options: str
) -> Proxy:
    watch = ("-s", str(ADDONS / "watch_streams.py"))
    return chats.gateway_proxy(folder, authority, provider, confdir, config, *watch, *options)


@pytest.fixture(scope="module")
def proxy(
    authority: Authority, provider: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    need("chromium")
    folder = tmp_path_factory.mktemp("watched")
    with running(watching(folder, authority, provider, confdir, OPENAI + HEALING)) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def locked(
    authority: Authority, provider: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """With keys, and what streams say is shown."""
    need("chromium")
    config, content = KEYS + OTHER_KEY, ("--set", "midstream_content=true")
    with running(watching(tmp_path_factory.mktemp("locked"), authority, provider, confdir, config, *content)) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def chromium(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    chromium = Chromium(tmp_path_factory.mktemp("chromium"), proxy.ca)
    yield chromium
    chromium.stop()


@pytest.fixture
def page(chromium: Chromium, proxy: Proxy) -> Iterator[Tab]:
    """The page, connected; a test that makes it complain fails."""
    with tab(chromium, chats.url_of(proxy) + "/") as page:
        page.size(1400, 1000)
        page.until("document.querySelector('#connection')?.dataset.state === 'live'")
        yield page
        page.js("1")
        assert page.problems == []


@pytest.fixture
def steps(provider: Provider) -> Steps:
    steps = Steps()
    provider.handler = steps.handler
    return steps


class Chat:
    """A chat that an app has with the gateway, in a thread of its own."""

    def __init__(self, proxy: Proxy, app: str = "an-app/1.0", model: str = "gpt-4o-mini", token: str = "") -> None:
        body = {"model": model, "messages": [{"role": "user", "content": "secret words"}], "stream": True}
        headers = {"user-agent": app, "content-type": "application/json"}
        headers |= {"authorization": f"Bearer {token}"} if token else {}
        self._request = urllib.request.Request(
            f"{chats.url_of(proxy)}/v1/chat/stream", json.dumps(body).encode(), headers
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(self._request, timeout=DEADLINE) as response:
                self.body = response.read()
        except urllib.error.HTTPError as error:
            self.body = error.read()

    def end(self) -> None:
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


def get(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(urllib.request.Request(url, headers=headers), timeout=DEADLINE) as response:
            return response.status, {k.lower(): v for k, v in response.headers.items()}, response.read()
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


def has(selector: str, text: str) -> str:
    """An expression: some element of this kind holds this text."""
    wanted, kind = json.dumps(text), json.dumps(selector)
    return f"[...document.querySelectorAll({kind})].some((node) => node.innerText.includes({wanted}))"


def shoot(page: Tab, name: str) -> None:
    if SHOTS:
        page.screenshot(Path(SHOTS) / f"{name}.png")


def test_a_running_stream_appears_flows_and_ends(page: Tab, proxy: Proxy, steps: Steps) -> None:
    chat = Chat(proxy, app="flowing-app/1.0")
    page.until(has(ROW, "flowing-app"))
    row = page.text(ROW)
    assert "gpt-4o-mini" in row
    assert "waiting" in row
    steps.go(3)
    page.until(f"document.querySelector('{ROW}')?.dataset.state === 'streaming'")
    before = int(page.text(f"{ROW} .c-tokens"))
    assert "–" not in page.text(f"{ROW} .c-ttft")
    steps.go(3)
    page.until(f"Number(document.querySelector('{ROW} .c-tokens')?.innerText) > {before}")
    steps.go_on()
    chat.end()
    page.until(has(ENDED, "flowing-app"))
    page.until(f"document.querySelectorAll('{ROW}').length === 0")
    assert page.js(f"document.querySelector('{ENDED}').dataset.state") == "complete"
    assert page.text(f"{ENDED} .c-tokens") == "7"  # the provider's count


def test_no_prompt_and_no_answer_reaches_the_page(page: Tab, proxy: Proxy, provider: Provider) -> None:
    provider.handler = answering(chunk(role="assistant", content=""), chunk(content="secret answer"), *WHOLE[1:])
    Chat(proxy, app="private-app/1").end()
    page.until(has(ENDED, "private-app"))
    seen = page.js("document.documentElement.outerHTML")
    page.click(f"{ENDED} a")
    page.until("document.querySelector('#one .timeline svg') !== null")
    seen += page.js("document.documentElement.outerHTML")
    assert "Prompts and answers are not shown" in seen
    assert page.js("document.querySelector('#content').hidden")
    assert "secret words" not in seen
    assert "secret answer" not in seen


def test_hostile_names_are_text(page: Tab, proxy: Proxy, provider: Provider) -> None:
    provider.handler = answering(*(piece.replace(b"gpt-4o-mini-2024", HOSTILE.encode()) for piece in WHOLE))
    Chat(proxy, app="<img/src=x>").end()
    page.until(has(ENDED, HOSTILE))
    assert "<img/src=x" in page.text(ENDED)
    proxy.rows(1, "model_served like '<img%'")
    page.key("2")
    page.until(has("#models td", HOSTILE))
    page.click(f"{ENDED} a")
    page.until(has("#one h1", HOSTILE))
    assert page.js("document.querySelectorAll('img:not(.brand img)').length") == 0


def test_a_healed_stream_has_a_page_with_its_break_and_its_seam(page: Tab, proxy: Proxy, provider: Provider) -> None:
    first, rest = cut_after(*WHOLE[:4]), answering(WHOLE[0], *WHOLE[4:])
    asked: list[int] = []

    async def handler(request: Any) -> Any:
        asked.append(1)
        return await (first if len(asked) == 1 else rest)(request)

    provider.handler = handler
    Chat(proxy, app="broken-app/1").end()
    page.until(has(ENDED, "broken-app"))
    assert "1 break" in page.text(f"{ENDED} .c-notes")
    page.click(f"{ENDED} a")
    page.until("document.querySelector('#one .timeline [data-mark=seam]') !== null")
    for mark in ("wait", "flow", "first", "break"):
        assert page.js(f"document.querySelector('#one .timeline svg [data-mark={mark}]') !== null"), mark
    assert page.js("document.querySelectorAll('#one tbody tr').length") == 2
    assert "connection_error" in page.text("#one tbody")
    shoot(page, "stream")
    page.key("Escape")
    page.until("document.querySelector('#one').hidden && !document.querySelector('#all').hidden")


def test_charts_draw_and_can_be_read_by_keyboard(page: Tab, proxy: Proxy, provider: Provider) -> None:
    provider.handler = answering(*WHOLE)
    Chat(proxy).end()
    proxy.rows(1, "outcome = 'complete' and ttft_ms is not null")
    page.js("document.querySelector('[data-span=\"15m\"]').click()")
    page.until("document.querySelector('#charts').dataset.shown === '15m'")
    assert page.js("document.querySelectorAll('#charts svg').length") == 6
    page.until("document.querySelectorAll('#charts rect').length > 0")
    page.until("document.querySelectorAll('#charts .line[d]:not([d=\"M0 0\"]), #charts circle').length > 0")
    page.js("document.querySelector('.plot').focus()")
    page.key("End")
    page.until("!document.querySelector('.tip').hidden && document.querySelector('.tip').innerText.includes('p50')")
    page.key("6")
    page.until("document.querySelector('#charts').dataset.shown === '30d'")
    assert page.text("#tile-streams") != "–"


def test_the_keyboard_walks_the_streams(page: Tab, proxy: Proxy, provider: Provider) -> None:
    provider.handler = answering(*WHOLE)
    Chat(proxy, app="walked-app/1").end()
    page.until(has(ENDED, "walked-app"))
    page.key("j")
    assert page.js("document.activeElement.hash").startswith("#stream=")
    page.key("Enter")
    page.until("!document.querySelector('#one').hidden")
    page.key("Escape")
    page.until("document.querySelector('#one').hidden")
    page.key("?")
    page.until("document.querySelector('#help').open")
    page.js("document.querySelector('#help').close()")
    page.key("/")
    assert page.js("document.activeElement.id") == "filter"
    for key in "walked":
        page.key(key)
    page.until(f"[...document.querySelectorAll('{ENDED}:not([hidden])')].every((n) => n.innerText.includes('walked'))")


def test_the_demo_streams_over_three_and_resumes_after_a_cut(page: Tab, steps: Steps) -> None:
    page.js("document.querySelector('#ask-model').value = 'gpt-4o-mini'")
    page.click("#ask button[type=submit]")
    steps.go(4)
    begun = "".join(chats.WORDS[:3])
    answers = "[...document.querySelectorAll('.pane .answer')]"
    page.until(f"{answers}.every((node) => node.textContent === {json.dumps(begun)})")
    page.click("#cut-all")
    page.until("[...document.querySelectorAll('.pane')].every((node) => node.dataset.state === 'cut')")
    shoot(page, "cut")
    steps.go(2)  # while nobody reads
    page.until("[...document.querySelectorAll('.pane')].every((node) => node.dataset.state === 'live')")
    steps.go_on()
    page.until("[...document.querySelectorAll('.pane')].every((node) => node.dataset.state === 'done')")
    said = page.js(f"{answers}.map((node) => node.textContent.replace('✂', ''))")
    assert said == [TEXT] * 3
    assert page.js("[...document.querySelectorAll('.pane .resumed')].map((node) => node.innerText)") == ["1"] * 3
    for part in ("first", "total"):
        assert "–" not in page.js(f"[...document.querySelectorAll('.pane .{part}')].map((n) => n.innerText).join(' ')")
    assert len(steps.bodies) == 1  # one chat, three readers, one request to the provider
    shoot(page, "demo")


def test_one_pane_can_be_cut_alone(page: Tab, steps: Steps) -> None:
    page.click("#ask button[type=submit]")
    steps.go(3)
    page.until("[...document.querySelectorAll('.pane .answer')].every((node) => node.textContent.length > 3)")
    page.click(".pane[data-client=WebSocket] .cut")
    steps.go_on()
    page.until("[...document.querySelectorAll('.pane')].every((node) => node.dataset.state === 'done')")
    assert page.js("[...document.querySelectorAll('.pane .resumed')].map((n) => n.innerText)") == ["0", "1", "0"]


def test_the_events_come_back_by_themselves_with_what_was_missed(page: Tab, proxy: Proxy, provider: Provider) -> None:
    provider.handler = answering(*WHOLE)
    page.do("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    url = f"{chats.url_of(proxy)}/live/events"
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=DEADLINE) as events:
        assert _next_event(events)[0] == "whole"
        Chat(proxy, app="missed-app/1").end()
        seen = [_next_event(events)]
        while "missed-app" not in seen[-1][2]:
            seen.append(_next_event(events))
    request = urllib.request.Request(url, headers={"last-event-id": seen[0][1]})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=DEADLINE) as events:
        if len(seen) > 1:
            assert _next_event(events) == seen[1]  # exactly what is missing, not all anew
    page.do("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    page.until(has(ENDED, "missed-app"))
    page.problems.clear()  # Chromium's console says that it was offline


def _next_event(events: Any) -> tuple[str, str, str]:
    fields: dict[str, str] = {}
    while "data" not in fields:
        line = events.readline().decode().rstrip("\n")
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
    return fields.get("event", ""), fields.get("id", ""), fields["data"]


def test_with_keys_the_page_asks_for_one_and_its_data_is_refused_without(
    locked: Proxy, chromium: Chromium, provider: Provider
) -> None:
    provider.handler = answering(*WHOLE)
    url = chats.url_of(locked)
    for path in ("/live/events", "/live/history", "/live/stream/x"):
        assert get(url + path)[0] == 401, path
        assert get(url + path, authorization="Bearer mst_wrong")[0] == 401, path
    with tab(chromium, url + "/") as page:
        page.until("!document.querySelector('#locked').hidden")
        assert page.js("document.querySelector('#all').hidden")
        shoot(page, "locked")
        page.js("document.querySelector('#token').value = 'mst_wrong'")
        page.click("#unlock button")
        page.until("document.querySelector('#unlock-error').innerText.length > 5")
        page.js(f"document.querySelector('#token').value = {TOKEN!r}")
        page.click("#unlock button")
        page.until("document.querySelector('#connection').dataset.state === 'live'")
        Chat(locked, app="keyed-app/1", token=TOKEN).end()
        page.until(has(ENDED, "keyed-app"))
        page.click("#ask button[type=submit]")
        page.until("[...document.querySelectorAll('.pane')].every((node) => node.dataset.state === 'done')")
        assert page.js("Object.keys(localStorage).join()") in ("midstream.theme", "")
        assert [p for p in page.problems if "401" not in p] == []


def test_content_that_was_turned_on_is_shown_to_whom_it_belongs(
    locked: Proxy, chromium: Chromium, provider: Provider
) -> None:
    evil = HOSTILE + " answer"
    provider.handler = answering(chunk(role="assistant", content=""), chunk(content=evil), *WHOLE[-3:])
    Chat(locked, app="own-app/1", token=TOKEN).end()
    Chat(locked, app="others-app/1", token=OTHER).end()
    with tab(chromium, f"{chats.url_of(locked)}/?access_token={TOKEN}") as page:
        page.until("!document.querySelector('#content').hidden")  # it says so at the top
        page.until(f"{has(ENDED, 'own-app')} && {has(ENDED, 'others-app')}")
        for app, shown in (("own-app", True), ("others-app", False)):
            rows = f"[...document.querySelectorAll('{ENDED}')]"
            page.js(f"{rows}.find((row) => row.textContent.includes('{app}')).querySelector('a').click()")
            page.until(f"{has('#one .note', app)} && document.querySelector('#one .words').innerText.length > 5")
            words = page.text("#one .words")
            assert (evil in words, "secret words" in words) == (shown, shown)
            page.key("Escape")
            page.until("document.querySelector('#one').hidden")
        assert page.js("document.querySelectorAll('img:not(.brand img)').length") == 0
        assert page.problems == []


def test_a_token_in_the_address_opens_the_page_and_leaves_the_address(locked: Proxy, chromium: Chromium) -> None:
    with tab(chromium, f"{chats.url_of(locked)}/?access_token={TOKEN}") as page:
        page.until("document.querySelector('#connection')?.dataset.state === 'live'")
        assert TOKEN not in page.js("location.href")
        assert page.js("document.querySelector('#locked').hidden")
        assert page.problems == []


def test_nothing_foreign_and_nothing_inline(proxy: Proxy) -> None:
    status, headers, body = get(chats.url_of(proxy) + "/")
    policy = headers["content-security-policy"]
    assert status == 200
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    html = body.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|<style|https?://", html)
    for path in re.findall(r'(?:src|href)="(/live/[^"]+)"', html):
        status, headers, _ = get(chats.url_of(proxy) + path)
        assert (status, headers["x-content-type-options"]) == (200, "nosniff")
        assert get(chats.url_of(proxy) + path, **{"If-None-Match": headers["etag"]})[0] == 304


def test_through_the_proxy_it_is_at_midstreams_own_name(proxy: Proxy) -> None:
    way = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy.url}))
    with way.open("http://midstream.internal/", timeout=DEADLINE) as response:
        assert b"<title>midstream</title>" in response.read()
    with way.open("http://midstream.internal/live/events", timeout=DEADLINE) as events:
        assert _next_event(events)[0] == "whole"
    with way.open("http://midstream.internal/metrics", timeout=DEADLINE) as response:
        assert b"target_info" in response.read()


def test_what_the_policy_forbids_does_not_happen(page: Tab) -> None:
    assert page.js(
        "new Promise((done) => { addEventListener('securitypolicyviolation', (e) => done(e.violatedDirective));"
        "const s = document.createElement('img'); s.src = 'https://other.example/x.png'; document.body.append(s); })"
    ) == ("img-src")
    assert (
        page.js("try { document.body.innerHTML = '<p>x</p>'; 'written' } catch (error) { error.name }") == "TypeError"
    )
    page.problems.clear()


def test_methods_and_spans_that_do_not_exist(proxy: Proxy) -> None:
    assert get(chats.url_of(proxy) + "/live/history?span=1y")[0] == 400
    assert get(chats.url_of(proxy) + "/live/stream/nobodys")[0] == 404
    assert get(chats.url_of(proxy) + "/live/..%2f..%2fconfig.py")[0] == 404


@pytest.mark.parametrize(
    ("name", "width", "height"), [("desktop", 1400, 1000), ("tablet", 820, 1100), ("phone", 390, 844)]
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(
    page: Tab, proxy: Proxy, provider: Provider, name: str, width: int, height: int, scheme: str
) -> None:
    provider.handler = answering(*WHOLE)
    page.size(width, height, mobile=width < 800)
    page.prefers(scheme)
    Chat(proxy, app=f"{name}-{scheme}/1").end()
    page.until(has(ENDED, f"{name}-{scheme}"))
    assert page.js("document.documentElement.scrollWidth <= innerWidth")
    dark = page.js("getComputedStyle(document.body).backgroundColor") == "rgb(12, 16, 23)"
    assert dark == (scheme == "dark")
    shoot(page, f"{name}-{scheme}")
    page.click(f"{ENDED} a")
    page.until("document.querySelector('#one .timeline svg') !== null")
    assert page.js("document.documentElement.scrollWidth <= innerWidth")
