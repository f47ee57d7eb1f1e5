"""Headers that know the last answer of `get` say what mitmproxy's say, whatever happens to them."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.test import tflow

from midstream.flows import remembering

Remembering = remembering(http.Headers)
NAMES = st.sampled_from(["a", "A", "b", "transfer-encoding", b"Transfer-Encoding"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["get", "get with another", "set", "delete", "add", "copy"]), NAMES, st.text("xyz"))
)


@given(STEPS)
def test_whatever_happens_to_them(steps: list[tuple[str, str, str]]) -> None:
    ours, theirs = Remembering([(b"a", b"1"), (b"A", b"2")]), http.Headers([(b"a", b"1"), (b"A", b"2")])
    for what, name, value in steps:
        if what == "get":
            assert ours.get(name) == theirs.get(name)
        elif what == "get with another":
            assert ours.get(name, value) == theirs.get(name, value)
        elif what == "copy":
            ours, theirs = copy.copy(ours), theirs.copy()
        else:
            for headers in (ours, theirs):
                if what == "set":
                    headers[name] = value
                elif what == "add":
                    headers.add(name, value)
                else:
                    headers.pop(name, None)
    assert ours == theirs
    assert ours.fields == theirs.fields


def test_a_flow_with_them_can_be_saved_and_read_again() -> None:
    flow: Any = tflow.tflow(resp=True)
    flow.response.headers = Remembering([(b"transfer-encoding", b"chunked")])
    assert flow.response.headers.get("transfer-encoding") == "chunked"
    again: Any = http.HTTPFlow.from_state(flow.get_state())
    assert again.response.headers["transfer-encoding"] == "chunked"
    assert flow.copy().response.headers == flow.response.headers
