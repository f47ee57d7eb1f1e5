"""Pictures of the live page under traffic, to be looked at: `python tests/end_to_end/pictures.py FOLDER [NAME]...`

Everything is real: providers over TLS, mitmdump with all addons, apps through it, and a headless Chromium that looks.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent / "addons"))

from end_to_end import scene
from end_to_end.chromium import Chromium
from end_to_end.devtools import Tab, tab
from end_to_end.gateway_chats import free_port
from end_to_end.harness import Authority, Provider, Proxy, running
from end_to_end.web_clients import KEYS

DESKTOP, PHONE = (1400, 1000), (390, 844)
WARM = 14.0
"""Seconds of traffic before the first picture."""


@dataclass
class Stage:
    """proxy and gateway: URLs. folder: where the pictures go."""

    chromium: Chromium
    gateway: str
    locked: str
    folder: Path
    stop_proxy: Callable[[], object]

    @contextlib.contextmanager
    def page(
        self, size: tuple[int, int] = DESKTOP, scheme: str = "light", url: str = "", scale: float = 1
    ) -> Iterator[Tab]:
        with tab(self.chromium) as page:
            page.do(
                "Emulation.setDeviceMetricsOverride",
                width=size[0], height=size[1], deviceScaleFactor=scale, mobile=size[0] < 500,
            )  # fmt: skip
            page.prefers(scheme)
            page.go((url or self.gateway) + "/")
            page.until("document.querySelector('#connection') !== null")
            yield page
            for problem in page.problems:
                print("the page complains:", problem)

    def shoot(self, page: Tab, name: str, *, whole: bool = False) -> None:
        page.screenshot(self.folder / f"{name}.png", whole=whole)
        print(self.folder / f"{name}.png")


LIVE = "document.querySelector('#connection').dataset.state === 'live'"


def overview(stage: Stage) -> None:
    for name, size, scheme in (
        ("light", DESKTOP, "light"), ("dark", DESKTOP, "dark"), ("phone", PHONE, "light"), ("phone-dark", PHONE, "dark"),
    ):  # fmt: skip
        with stage.page(size, scheme) as page:
            page.until(LIVE)
            page.until("document.querySelector('#charts').dataset.shown")
            time.sleep(4)  # for the sparklines
            stage.shoot(page, f"overview-{name}")
            if size == PHONE:
                stage.shoot(page, f"overview-{name}-whole", whole=True)


def readme(stage: Stage) -> None:
    """The picture in the README: docs/live-page.png."""
    with stage.page((1240, 920), scale=1.25) as page:
        page.until(LIVE)
        page.js("document.documentElement.style.scrollbarWidth = 'none'; 1")
        time.sleep(35)  # for the line in the tile
        stage.shoot(page, "live-page")


def charts(stage: Stage) -> None:
    for scheme in ("light", "dark"):
        with stage.page(scheme=scheme) as page:
            page.until(LIVE)
            for n, span in enumerate(("15m", "1h", "6h", "24h", "7d", "30d"), 1):
                page.key(str(n))
                page.until(f"document.querySelector('#charts').dataset.shown === '{span}'")
                page.js("document.querySelector('#history').scrollIntoView({behavior: 'instant'}); 1")
                if span in ("1h", "24h", "30d") or scheme == "light":
                    time.sleep(0.3)
                    stage.shoot(page, f"charts-{span}-{scheme}")
    with stage.page(PHONE) as page:
        page.until("document.querySelector('#charts').dataset.shown")
        page.js("document.querySelector('#history').scrollIntoView({behavior: 'instant'}); 1")
        stage.shoot(page, "charts-phone")
        page.js("document.querySelector('.plot').focus(); 1")
        page.key("End")
        stage.shoot(page, "charts-phone-tip")


def stream(stage: Stage) -> None:
    healed = (
        "[...document.querySelectorAll('#ended-rows .stream')]"
        ".find((n) => /break|rerouted/.test(n.innerText) && /complete|attempts/.test(n.innerText))"
    )
    for name, size, scheme in (("light", DESKTOP, "light"), ("dark", DESKTOP, "dark"), ("phone", PHONE, "light")):
        with stage.page(size, scheme) as page:
            page.until(LIVE)
            page.until(healed + " !== undefined", 90)
            page.js(healed + ".querySelector('a').click()")
            page.until("document.querySelector('#one .timeline svg') !== null")
            stage.shoot(page, f"stream-{name}", whole=size == PHONE)
            page.js("location.hash = ''")
            page.until("document.querySelector('#live-rows .stream a') !== null")
            page.js("document.querySelector('#live-rows .stream:last-child a').click()")
            page.until("document.querySelector('#one .timeline svg') !== null")
            time.sleep(1.5)
            stage.shoot(page, f"stream-live-{name}")


def demo(stage: Stage) -> None:
    for name, size, scheme in (("light", DESKTOP, "light"), ("dark", DESKTOP, "dark"), ("phone", PHONE, "light")):
        with stage.page(size, scheme) as page:
            page.until(LIVE)
            page.js("document.querySelector('#try').scrollIntoView({behavior: 'instant'}); 1")
            stage.shoot(page, f"demo-{name}-before")
            page.click("#ask button[type=submit]")
            page.until("[...document.querySelectorAll('.pane .answer')].every((n) => n.textContent.length > 200)", 60)
            page.click(".pane[data-client=WebSocket] .cut")
            time.sleep(0.2)
            stage.shoot(page, f"demo-{name}-cut")
            page.until(
                "[...document.querySelectorAll('.pane')].every((n) => /done|failed/.test(n.dataset.state))",
                90,
            )
            stage.shoot(page, f"demo-{name}-done")


def states(stage: Stage) -> None:
    for name, size, scheme in (("light", DESKTOP, "light"), ("dark", DESKTOP, "dark"), ("phone", PHONE, "light")):
        with stage.page(size, scheme, stage.locked) as page:
            page.until("!document.querySelector('#locked').hidden")
            stage.shoot(page, f"locked-{name}")
            page.problems.clear()
    with stage.page() as page:
        page.until(LIVE)
        page.key("?")
        page.until("document.querySelector('#help').open")
        stage.shoot(page, "help")
    with stage.page() as page:
        page.until(LIVE)
        for n in range(4):
            page.key("Tab")
            if n == 0:
                time.sleep(0.3)
                stage.shoot(page, "skip")
        page.key("j")
        time.sleep(0.3)
        stage.shoot(page, "focus")


def empty_and_lost(stage: Stage) -> None:
    """Last: it takes the proxy away."""
    with stage.page() as page, stage.page(PHONE) as phone:
        page.until(LIVE)
        phone.until(LIVE)
        stage.stop_proxy()
        page.until("document.querySelector('#connection').dataset.state === 'lost'")
        time.sleep(2.5)
        stage.shoot(page, "lost")
        phone.until("document.querySelector('#connection').dataset.state === 'lost'")
        stage.shoot(phone, "lost-phone")
        page.problems.clear()
        phone.problems.clear()


def empty(stage: Stage) -> None:
    """A gateway at which nothing has happened yet."""
    for name, size in (("light", DESKTOP), ("phone", PHONE)):
        with stage.page(size) as page:
            page.until(LIVE)
            time.sleep(1)
            stage.shoot(page, f"empty-{name}", whole=True)


PICTURES = {one.__name__: one for one in (readme, overview, charts, stream, demo, states, empty_and_lost)}


def start(folder: Path, authority: Authority, provider: Provider, config: str, *more: str) -> tuple[Proxy, str]:
    folder.mkdir(exist_ok=True)
    (folder / "midstream.toml").write_text(config)
    port = free_port()
    modes = ("--mode", "regular", "--mode", f"reverse:http://midstream.internal@{port}")
    options = ("--set", f"midstream_config={folder / 'midstream.toml'}", *more)
    proxy = Proxy(
        folder, *modes, *options, scripts=("all.py",), trust=authority.file,
        upstream=f"::127.0.0.1:{provider.port}", listening=2,
    )  # fmt: skip
    proxy.port = next(p for p in proxy.ports if p != port)
    proxy.url = f"http://127.0.0.1:{proxy.port}"
    return proxy, f"http://127.0.0.1:{port}"


def traffic(proxy: Proxy, gateway: str, streams: int) -> Callable[[], object]:
    """Begin it in a thread; returns what ends it."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(scene.Traffic(proxy.url, gateway, proxy.client_context(), streams=streams).run())

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def stop() -> None:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)

    return stop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("pictures", nargs="*", metavar="NAME", help=f"of {', '.join(PICTURES)}; by default all")
    parser.add_argument("--streams", type=int, default=36)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        authority = Authority(folder)
        provider = Provider(authority, hosts=scene.HOSTS)
        provider.handler = scene.answer
        stack.callback(provider.stop)
        (folder / "busy").mkdir()
        scene.seed(folder / "busy" / "streams.db")
        rules = [word for rule in scene.BREAKS for word in ("--set", f"midstream_break={rule}")]
        proxy, gateway = start(folder / "busy", authority, provider, scene.CONFIG, *rules)
        stack.callback(proxy.stop)
        quiet, locked = start(folder / "locked", authority, provider, KEYS)
        stack.callback(quiet.stop)
        chromium = Chromium(folder, proxy.ca)
        stack.callback(chromium.stop)
        stop = traffic(proxy, gateway, options.streams)
        stack.callback(stop)
        time.sleep(WARM)
        stage = Stage(chromium, gateway, locked, options.folder, proxy.stop)
        for picture in options.pictures or PICTURES:
            if picture in PICTURES:
                PICTURES[picture](stage)
        if not options.pictures or "empty" in options.pictures:
            bare, url = start(folder / "bare", authority, provider, "")
            with running(bare):
                empty(Stage(chromium, url, "", options.folder, bare.stop))


if __name__ == "__main__":
    main()
