"""Hooks called for those that have them: mitmproxy's own addon manager, with and without, must do the same."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from mitmproxy import addonmanager, exceptions
from mitmproxy import hooks as mitmproxy_hooks
from mitmproxy.proxy.layers.http import _hooks
from mitmproxy.test import taddons, tflow

from midstream import hooks

EVENT = _hooks.HttpRequestHook(tflow.tflow())


class Heard:
    """An addon that says that it was called; then raises, perhaps."""

    def __init__(self, name: str, log: list[str], error: Exception | None = None) -> None:
        self.name = name
        self._log = log
        self._error = error

    def request(self, flow: Any) -> None:
        self._log.append(self.name)
        if self._error is not None:
            raise self._error


class HeardLater(Heard):
    async def request(self, flow: Any) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().request(flow)


class Deaf:
    def __init__(self, name: str, *addons: Any) -> None:
        self.name = name
        if addons:
            self.addons = list(addons)


class Dynamic:
    """Answers to any name."""

    name = "dynamic"

    def __init__(self, log: list[str]) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        if name != "request":
            raise AttributeError(name)
        return lambda flow: self._log.append(self.name)


@pytest.fixture
def context() -> Iterator[Any]:
    with taddons.context(loadcore=False) as made:
        yield made


def together(log: list[str]) -> list[Any]:
    nested = Deaf("outer", Heard("inner", log), Deaf("middle", HeardLater("innermost", log)))
    module = Deaf("module")
    module.request = types.ModuleType("request")  # type: ignore[attr-defined]
    return [Deaf("deaf"), Heard("first", log), nested, Dynamic(log), module, HeardLater("later", log)]


def fails(log: list[str]) -> list[Any]:
    return [Heard("raises", log, ValueError("no")), Heard("after", log)]


def halts(log: list[str]) -> list[Any]:
    return [Heard("before", log), Heard("halts", log, exceptions.AddonHalt()), Heard("never", log)]


@pytest.mark.parametrize(
    ("made", "called"),
    [
        (together, ["first", "inner", "innermost", "dynamic", "later"]),
        (fails, ["raises", "after"]),
        (halts, ["before", "halts"]),
    ],
)
@pytest.mark.parametrize("streamlined", [False, True])
def test_called_in_order_through_errors_until_halted(
    context: Any,
    caplog: pytest.LogCaptureFixture,
    made: Callable[[list[str]], list[Any]],
    called: list[str],
    *,
    streamlined: bool,
) -> None:
    log: list[str] = []
    manager = context.master.addons
    if streamlined:
        hooks.streamline(manager)
    manager.add(*made(log))
    asyncio.run(manager.handle_lifecycle(EVENT))
    assert log == called
    assert ("Addon error: no" in caplog.text) == (made is fails)


@pytest.mark.parametrize("streamlined", [False, True])
def test_hooks_that_do_not_wait(context: Any, *, streamlined: bool) -> None:
    log: list[str] = []
    manager = context.master.addons
    if streamlined:
        hooks.streamline(manager)
    manager.add(Deaf("deaf"), Heard("first", log), Deaf("outer", Heard("inner", log)))
    manager.trigger(EVENT)
    assert log == ["first", "inner"]


def test_what_is_no_hook_is_complained_of_as_before(context: Any, caplog: pytest.LogCaptureFixture) -> None:
    hooks.streamline(context.master.addons)
    wrong = Deaf("wrong")
    wrong.request = 17  # type: ignore[attr-defined]
    context.master.addons.add(wrong)
    asyncio.run(context.master.addons.trigger_event(EVENT))
    assert "Addon handler request" in caplog.text
    assert "not callable" in caplog.text


class Faulty:
    """An addon that, once it is loaded, cannot even be asked what it has."""

    name, loaded = "faulty", False

    @property
    def request(self) -> Any:
        if self.loaded:
            raise ValueError("not even that")
        return None


@pytest.mark.parametrize("streamlined", [False, True])
def test_an_addon_that_cannot_be_asked_is_complained_of_and_passed_over(
    context: Any, caplog: pytest.LogCaptureFixture, *, streamlined: bool
) -> None:
    log: list[str] = []
    if streamlined:
        hooks.streamline(context.master.addons)
    faulty = Faulty()
    context.master.addons.add(faulty, Heard("after", log))
    faulty.loaded = True
    asyncio.run(context.master.addons.trigger_event(EVENT))
    assert log == ["after"]
    assert "Addon error: not even that" in caplog.text


def test_addons_and_hooks_that_come_and_go(context: Any) -> None:
    log: list[str] = []
    manager, late, deaf = context.master.addons, Heard("late", log), Deaf("deaf")
    hooks.streamline(manager)
    manager.add(deaf)
    asyncio.run(manager.trigger_event(EVENT))
    manager.add(late)
    deaf.request = lambda flow: log.append("no longer deaf")  # type: ignore[attr-defined]
    asyncio.run(manager.trigger_event(EVENT))
    manager.remove(late)
    asyncio.run(manager.trigger_event(EVENT))
    assert log == ["no longer deaf", "late", "no longer deaf"]


def test_those_without_the_hook_are_not_asked(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    known = addonmanager.AddonManager.invoke_addon

    async def invoke_addon(self: Any, addon: Any, event: mitmproxy_hooks.Hook) -> None:
        asked.append(addon)
        await known(self, addon, event)

    monkeypatch.setattr(addonmanager.AddonManager, "invoke_addon", invoke_addon)
    hearer = Heard("hearer", [])
    hooks.streamline(context.master.addons)
    context.master.addons.add(*(Deaf(f"deaf{n}") for n in range(40)), hearer)
    asyncio.run(context.master.addons.trigger_event(EVENT))
    assert asked == [hearer]


def test_done_once_and_never_over_anothers(context: Any) -> None:
    manager = context.master.addons
    hooks.streamline(manager)
    ours = manager.trigger_event
    hooks.streamline(manager)
    assert manager.trigger_event is ours
    del manager.trigger
    manager.trigger_event = others = object()
    hooks.streamline(manager)
    assert manager.trigger_event is others
    assert "trigger" not in vars(manager)
