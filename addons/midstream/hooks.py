"""mitmproxy's hooks, called for those addons alone that have them. Knows mitmproxy's objects by their shape only (as of 12.3), so
that the library needs no mitmproxy.

mitmproxy enters a context manager, a coroutine and two generators for each of its some forty addons at each of the some ten hooks
of a request, and nine addons of ten have no such hook: that is more than half of the Python calls that a request costs plain
mitmdump (3,100 of 5,700, as `sys.monitoring` counts them), and a burst of requests waits for all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


class _Hearers:
    """What `AddonManager.trigger_event` and `trigger` look at of their manager: whom to call, and how one is called."""

    def __init__(self, manager: Any, chain: Sequence[Any]) -> None:
        self.chain = chain
        self.invoke_addon = manager.invoke_addon
        self.invoke_addon_sync = manager.invoke_addon_sync


class _Chain:
    """The manager's addons, and by a hook's name those that may have it: mitmproxy's own never come to have one later."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager
        self._seen, self._length = manager.chain, 0
        self._may_hear = dict[str, list[Any]]()

    def hearers(self, event: Any) -> _Hearers:
        """Those with anything by the name of the hook, or with such an addon below them: looked for at each event, as it does."""
        chain, name = self._manager.chain, event.name
        if chain is not self._seen or len(chain) != self._length:
            self._seen, self._length = chain, len(chain)
            self._may_hear.clear()
        if name not in self._may_hear:
            self._may_hear[name] = [addon for addon in chain if _hears(addon, name) or not _is_settled(addon)]
        return _Hearers(self._manager, [addon for addon in self._may_hear[name] if _hears(addon, name)])


def _hears(addon: Any, name: str) -> bool:
    try:
        below: Iterable[Any] = getattr(addon, "addons", ())
        return bool(getattr(addon, name, None)) or any(_hears(one, name) for one in below)
    except Exception:  # whatever it is, mitmproxy meets it, too, and says whose fault it is
        return True


def _is_settled(addon: Any) -> bool:
    return type(addon).__module__.startswith("mitmproxy.") and not hasattr(addon, "addons")


def streamline(manager: Any) -> None:
    """Have mitmproxy call a hook for those that have it. Order, errors and AddonHalt stay: its own methods do the calling.

    manager: mitmproxy's `master.addons`. Nothing happens where this was done already, or others have put methods of theirs there.
    """
    calling, calling_sync = type(manager).trigger_event, type(manager).trigger
    if {"trigger_event", "trigger"} & vars(manager).keys():
        return
    chain = _Chain(manager)

    async def trigger_event(event: Any) -> None:
        await calling(chain.hearers(event), event)

    def trigger(event: Any) -> None:
        calling_sync(chain.hearers(event), event)

    manager.trigger_event, manager.trigger = trigger_event, trigger
