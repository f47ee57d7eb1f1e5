"""Started in a process of its own by `midstream run` and `exec`: mitmdump or mitmweb, with what a command line should not show.

MIDSTREAM_GUARD: stop when standard input ends, so that the proxy of an `exec` that was killed does not outlive it.
MIDSTREAM_UPSTREAM_AUTH: user:password of the proxy above; on a command line everybody on the machine could read it.
MIDSTREAM_ANNOUNCE: what to say on standard error once the proxy is up, and only then.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading


def _stop_at_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _announce_when_up(text: str) -> None:
    """What went wrong while it started, a taken port say, mitmproxy tells in its log; its last look at that is ErrorCheck's."""
    from mitmproxy.addons import errorcheck  # noqa: TID251

    finish = errorcheck.ErrorCheck.finish

    def announce(self: errorcheck.ErrorCheck) -> None:
        finish(self)  # type: ignore[no-untyped-call]
        print(text, file=sys.stderr, flush=True)

    errorcheck.ErrorCheck.finish = announce  # type: ignore[method-assign]


def _launch(tool: str, arguments: list[str]) -> None:
    from mitmproxy.tools import main  # noqa: TID251 - a process of its own; the library does not import this file

    auth = os.environ.pop("MIDSTREAM_UPSTREAM_AUTH", "")
    if auth:
        arguments = ["--set", f"upstream_auth={auth}", *arguments]
    announcement = os.environ.pop("MIDSTREAM_ANNOUNCE", "")
    if announcement:
        _announce_when_up(announcement)
    if os.environ.pop("MIDSTREAM_GUARD", ""):
        threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    sys.argv = [tool, *arguments]
    if tool == "mitmdump":
        main.mitmdump()
        return
    try:
        main.mitmweb()
    except OSError as error:  # its page's port is taken, of which mitmweb makes a traceback
        if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
            raise
        sys.exit(f"Error: {'. '.join(str(error.strerror).splitlines())}")


if __name__ == "__main__":
    _launch(sys.argv[1], sys.argv[2:])
