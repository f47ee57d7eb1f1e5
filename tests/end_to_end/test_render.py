"""What a real mitmweb shows of LLM streams, live, healed, cancelled and saved, and what its commands answer."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from aiohttp import web

from end_to_end.harness import ADDONS, DEADLINE, Authority, Gate, Provider, chunks, clean_environment, cut_after
from end_to_end.healing import WHOLE, answer
from end_to_end.mitmweb import VIEW, Mitmweb

ROUTE = """
[[routes]]
model = "gpt-4o*"
targets = ["openai", "backup/gpt-backup"]
attempts = 1
on_break = "continue"
"""


@pytest.fixture(scope="module")
def backup(authority: Authority) -> Iterator[Provider]:
    backup = Provider(authority)
    yield backup
    backup.stop()


@pytest.fixture(scope="module")
def mitmweb(
    authority: Authority, provider: Provider, backup: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mitmweb]:
    mitmweb = Mitmweb(tmp_path_factory.mktemp("mitmweb"), authority, provider, backup, ROUTE)
    try:
        yield mitmweb
    finally:
        mitmweb.proxy.stop()


def ask(mitmweb: Mitmweb, model: str = "gpt-4o") -> str:
    """The text of one answer, by the official SDK."""
    proxy = mitmweb.proxy
    http = httpx2.Client(proxy=proxy.url, verify=proxy.client_context(), timeout=DEADLINE)
    client = openai.OpenAI(api_key="sk-test", max_retries=0, http_client=http)
    stream: Any = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Count."}], stream=True
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


class Asking:
    """The same in a thread, for as long as the stream runs."""

    def __init__(self, mitmweb: Mitmweb, model: str) -> None:
        self.text, self.error = "", ""
        self._thread = threading.Thread(target=self._run, args=(mitmweb, model))
        self._thread.start()

    def _run(self, mitmweb: Mitmweb, model: str) -> None:
        try:
            self.text = ask(mitmweb, model)
        except openai.OpenAIError as error:
            self.error = str(error)

    def join(self) -> None:
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


def gated(gate: Gate, before: int = 20) -> Any:
    """An answer that stands still in its midst until the gate opens."""
    said = answer()

    async def handler(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"".join(said[:before]))
        await gate.wait()
        await response.write(b"".join(said[before:]))
        return response

    return handler


def done(flow: dict[str, Any]) -> bool:
    return bool((flow.get("response") or {}).get("timestamp_end") or flow.get("error"))


def test_a_stream_is_shown_while_it_runs_and_when_it_is_over(mitmweb: Mitmweb, provider: Provider) -> None:
    gate = Gate()
    provider.handler = gated(gate)
    asking = Asking(mitmweb, "gpt-live")
    try:
        flow = mitmweb.until(lambda flow: (flow.get("response") or {}).get("contentLength"))
        shown = mitmweb.shown(flow["id"])
        assert (shown["view_name"], shown["syntax_highlight"]) == ("LLM stream", "yaml")
        assert "outcome: running" in shown["text"]
        assert "w00 w01 w02" in shown["text"]
        assert "w30" not in shown["text"]
    finally:
        gate.open()
        asking.join()
    assert asking.text == WHOLE
    flow = mitmweb.until(done)
    text = mitmweb.shown(flow["id"])["text"]
    assert "outcome: complete\nfinish: stop" in text
    assert WHOLE.strip() in " ".join(text.split())  # its lines are broken
    assert "first content: " in text
    assert "output: 60" in text
    assert (flow["comment"], flow["marked"]) == ("", "")
    assert mitmweb.shown(flow["id"], "request")["view_name"] == "JSON"
    assert mitmweb.shown(flow["id"], view="raw")["text"].startswith("data: {")


def test_a_healed_stream_says_what_happened_and_is_marked(
    mitmweb: Mitmweb, provider: Provider, backup: Provider
) -> None:
    provider.handler = cut_after(*answer()[:21])
    backup.handler = chunks(*answer()[21:])
    assert ask(mitmweb) == WHOLE
    flow = mitmweb.until(lambda flow: done(flow) and flow["comment"])
    assert flow["comment"].startswith(
        "midstream: healed: went on at backup/gpt-backup; openai/gpt-4o broke off after 20"
    )
    assert flow["marked"] == "🩹"
    text = mitmweb.shown(flow["id"])["text"]
    assert "healed: went on at backup/gpt-backup" in text
    assert WHOLE.strip() in " ".join(text.split())  # its lines are broken


def test_a_broken_stream_says_how_far_it_came(mitmweb: Mitmweb, provider: Provider) -> None:
    provider.handler = cut_after(*answer()[:11])
    with pytest.raises((openai.OpenAIError, httpx2.HTTPError)):
        ask(mitmweb, "other-model")
    flow = mitmweb.until(lambda flow: done(flow) and flow["comment"])
    assert flow["comment"].startswith("midstream: truncated: openai/other-model after 10 pieces: ")
    assert flow["marked"] == "💔"
    text = mitmweb.shown(flow["id"])["text"]
    assert "outcome: complete" not in text
    assert "w09" in text


@pytest.mark.parametrize("by", ["stream", "flow", "filter"])
def test_a_stream_is_cancelled_by_command_and_its_client_is_told(mitmweb: Mitmweb, provider: Provider, by: str) -> None:
    gate = Gate()
    provider.handler = gated(gate)
    asking = Asking(mitmweb, f"gpt-cancelled-by-{by}")
    try:
        flow = mitmweb.until(
            lambda flow: not done(flow) and "w05" in (mitmweb.shown(flow["id"])["text"] if flow.get("response") else "")
        )
        id_ = next(row.partition(": ")[2] for row in mitmweb.shown(flow["id"])["text"].split("\n") if "stream: " in row)
        given = {"stream": id_[:-4], "flow": flow["id"], "filter": f"~b gpt-cancelled-by-{by}"}[by]
        assert mitmweb.command("midstream.cancel", given)["value"] == [["cancelled"], [id_]]
        asking.join()
    finally:
        gate.open()
        asking.join()
    assert "cancelled" in asking.error
    flow = mitmweb.until(lambda flow: done(flow) and flow["comment"])
    assert "cancelled" in flow["comment"]


def test_one_that_waits_for_its_provider_shows_whom_it_asked_what(mitmweb: Mitmweb, provider: Provider) -> None:
    gate = Gate()
    provider.handler = gated(gate, before=0)
    asking = Asking(mitmweb, "gpt-thinking")
    try:
        flow = mitmweb.until(lambda flow: not done(flow))
        request, server = flow["request"], flow["server_conn"]
        assert (request["scheme"], request["host"], request["port"]) == ("https", "api.openai.com", 443)
        assert (request["method"], request["path"]) == ("POST", "/v1/chat/completions")
        assert "gpt-thinking" in mitmweb.shown(flow["id"], "request")["text"]
        assert server is None or server["address"][:2] == ["api.openai.com", 443]
    finally:
        gate.open()
        asking.join()
    assert asking.text == WHOLE


def test_one_that_has_not_begun_is_cancelled_too(mitmweb: Mitmweb, provider: Provider) -> None:
    gate = Gate()

    async def silent(request: web.Request) -> web.StreamResponse:
        await request.read()
        await gate.wait()
        return web.Response(status=500)

    provider.handler = silent
    asking = Asking(mitmweb, "gpt-silent")
    try:
        flow = mitmweb.until(lambda flow: not done(flow))
        mitmweb.until(lambda _: "value" in mitmweb.command("midstream.cancel", flow["id"]))
        asking.join()
    finally:
        gate.open()
        asking.join()
    assert "499" in asking.error
    (row,) = mitmweb.proxy.rows(1, "model_requested = 'gpt-silent'")
    assert (row["outcome"], row["error_type"]) == ("failed", "cancelled")


def test_a_command_that_cannot_be_done_says_why(mitmweb: Mitmweb) -> None:
    assert mitmweb.command("midstream.cancel", "0000")["error"] == (
        "midstream.cancel: no stream whose id begins with '0000' runs now"
    )
    assert "'colour' is none of model, provider, app, hour" in mitmweb.command("midstream.stats", "colour")["error"]
    assert "0 hours: give 1 or more" in mitmweb.command("midstream.stats", "model", "0")["error"]


def test_stats_and_targets_are_tables(mitmweb: Mitmweb, provider: Provider, backup: Provider) -> None:
    provider.handler = backup.handler = chunks(*answer())
    ask(mitmweb, "gpt-counted")
    mitmweb.proxy.rows(1, "model_requested = 'gpt-counted'")
    head, *rows = mitmweb.command("midstream.stats", "model", "1")["value"]
    assert head[:3] == ["model", "streams", "errors"]
    counted = {row[0]: row for row in rows}["gpt-4o-2024"]
    assert int(counted[1]) >= 1
    assert counted[3].endswith(" ms")
    head, *rows = mitmweb.command("midstream.targets")["value"]
    assert head == ["provider", "model", "breaker", "failures in a row", "asked again"]
    assert ["openai", "gpt-counted", "closed", "0", "now"] in rows
    assert "backup" in {row[0] for row in rows}


def test_saved_flows_show_the_same_in_mitmweb_and_in_mitmdump(
    mitmweb: Mitmweb, provider: Provider, tmp_path: Path
) -> None:
    provider.handler = chunks(*answer())
    ask(mitmweb, "gpt-saved")
    flow = mitmweb.until(done)
    before, saved = mitmweb.shown(flow["id"], view=VIEW)["text"], mitmweb.dump()
    mitmweb.load(saved)
    again = mitmweb.until(done)
    assert again["id"] == flow["id"]
    assert mitmweb.shown(again["id"])["text"] == before
    file = tmp_path / "saved.flows"
    file.write_bytes(saved)
    command = [sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()"]
    command += ["-nr", str(file), "--flow-detail", "4", "-s", str(ADDONS / "render_streams.py")]
    command += ["--set", f"confdir={tmp_path}", "--set", f"midstream_db={tmp_path / 'none.db'}"]
    told = subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE, check=True, env=clean_environment(), cwd=tmp_path
    )
    printed = "\n".join(line.strip() for line in told.stdout.split("\n"))
    assert "\n".join(line.strip() for line in before.split("\n")).strip() in printed
    assert not (tmp_path / "none.db").exists()
