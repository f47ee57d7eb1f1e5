"""Started in a process of its own by `midstream run` and `exec`: mitmdump or mitmweb, with what a command line should not show.

MIDSTREAM_GUARD: stop when standard input ends, so that the proxy of an `exec` that was killed does not outlive it.
MIDSTREAM_UPSTREAM_AUTH: user:password of the proxy above; on a command line everybody on the machine could read it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def _stop_at_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _launch(tool: str, arguments: list[str]) -> None:
    from mitmproxy.tools import main  # noqa: TID251 - a process of its own; the library does not import this file

    auth = os.environ.pop("MIDSTREAM_UPSTREAM_AUTH", "")
    if auth:
        arguments = ["--set", f"upstream_auth={auth}", *arguments]
    if os.environ.pop("MIDSTREAM_GUARD", ""):
        threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    sys.argv = [tool, *arguments]
    {"mitmdump": main.mitmdump, "mitmweb": main.mitmweb}[tool]()


if __name__ == "__main__":
    _launch(sys.argv[1], sys.argv[2:])
