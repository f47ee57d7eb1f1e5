"""A real request through the proxy: a provider on this machine streams three chunks, each only once the one before arrived."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from midstream.cli.paths import LOOPBACK

NAME = "midstream-doctor"
"""The model that is asked for, and the app that asks: always the same, or the labels of /metrics would grow with each visit."""

WORDS = ("one", " two", " three")
PATIENCE = 10.0
"""Seconds the provider waits for the client to confirm a chunk before it concludes that somebody holds it back."""

CLIENT_PATIENCE = 4 * PATIENCE
"""Seconds the client waits for a byte: longer than the provider, which gives up on all words at the first."""


@dataclass(slots=True)
class Probe:
    """What came of it. streamed: each chunk arrived before the next was sent; text: of the whole answer."""

    status: int = 0
    streamed: bool = False
    text: str = ""
    error: str = ""

    @property
    def good(self) -> bool:
        return self.status == 200 and self.streamed and self.text == "".join(WORDS)


def _chunk(model: str, delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {
        "id": "chatcmpl-doctor",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": model,
        "choices": [choice],
    }
    return b"data: " + json.dumps(body).encode() + b"\n\n"


class Provider(ThreadingHTTPServer):
    """Answers any POST with a chat of three words. arrived: set by the client, word by word."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.arrived = [threading.Event() for _ in WORDS]
        self.held_back = False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Provider

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for word, arrived in zip(WORDS, self.server.arrived, strict=True):
            self._send(_chunk(body["model"], {"content": word}))
            self.server.held_back |= not arrived.wait(0 if self.server.held_back else PATIENCE)
        self._send(_chunk(body["model"], {}, "stop") + b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the check says what there is to say."""


@contextmanager
def local_provider() -> Iterator[Provider]:
    """The provider, serving for the time of the block."""
    server = Provider()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def probe(port: int) -> Probe:
    """Ask the local provider through the proxy on this port. Never raises: what went wrong is in `error`."""
    result = Probe()
    with local_provider() as provider:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=CLIENT_PATIENCE)
        try:
            response = _request(connection, provider.server_port)
            result.status = response.status
            if response.status == 200:
                result.text = _read(response, provider)
                result.streamed = not provider.held_back
            else:
                result.error = response.read(300).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException, ValueError) as error:
            result.error = f"{type(error).__name__}: {error}"
        finally:
            connection.close()
    return result


def _request(connection: http.client.HTTPConnection, port: int) -> http.client.HTTPResponse:
    body = {"model": NAME, "stream": True, "messages": [{"role": "user", "content": "Count to three."}]}
    headers = {"Content-Type": "application/json", "User-Agent": NAME}
    url = f"http://{LOOPBACK}:{port}/v1/chat/completions"
    connection.request("POST", url, json.dumps(body), headers)
    return connection.getresponse()


def _read(response: http.client.HTTPResponse, provider: Provider) -> str:
    """Read the answer line by line, confirming each word as it arrives."""
    words: list[str] = []
    while line := response.readline(65536):
        if not line.startswith(b"data: {"):
            continue
        for choice in json.loads(line[6:])["choices"]:
            word = choice["delta"].get("content")
            if word and len(words) < len(WORDS):
                provider.arrived[len(words)].set()
                words.append(word)
    return "".join(words)
