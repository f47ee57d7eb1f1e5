"""Recordings onto the disk, in a thread of their own: whoever hands them over never waits."""

from __future__ import annotations

import logging
import os
import queue
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from midstream.recording import (
    Chunk,
    Ending,
    Header,
    RecordedRequest,
    RecordedResponse,
    dump_chunk,
    dump_end,
    dump_header,
)
from midstream.redaction import Redactor, StreamRedactor
from midstream.wire.json_text import dump_json, parse_json

QUEUE_LIMIT = 64 * 1024 * 1024
"""Bytes that may wait for the disk; a recording that finds it full is given up, and its stream goes on."""

QUEUE_LENGTH = 100_000
"""Chunks that may wait for the disk: the same bound, for tiny ones."""

OPEN_LIMIT = 256
"""Recordings written at once: an open file each, and many systems allow 1024."""

CLOSE_WAIT = 10.0
"""Seconds that mitmdump's end waits for the disk."""

log = logging.getLogger(__name__)

type Step = Header | Chunk | tuple[Ending, float]


@dataclass(slots=True, eq=False)
class Take:
    """One recording in the making. `lost`: why it was given up; either thread may set it."""

    file: Path
    websocket: bool = False
    lost: str = ""


class Job(NamedTuple):
    """What the writer is to do next for one recording."""

    take: Take
    step: Step


class _File:
    """One recording, as the writer's thread sees it. Written beside its name and renamed when whole."""

    def __init__(self, take: Take, header: Header) -> None:
        self._take = take
        self._redactor = Redactor()
        self._stream: StreamRedactor[Chunk] = StreamRedactor(self._redactor)
        self._part = take.file.with_suffix(".part")
        self._part.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        self._io: IO[bytes] = os.fdopen(descriptor, "wb")
        self._write(dump_header(self._redacted(header)))

    def _redacted(self, header: Header) -> Header:
        redactor, asked = self._redactor, header.request
        headers = redactor.headers(asked.headers.items())
        url = redactor.url(asked.url)
        body = redactor.body(asked.body)
        answered = redactor.headers(header.response.headers.items())
        # a second time, now that all that is secret was seen
        return Header(
            source=header.source,
            dialect=header.dialect,
            provider=header.provider,
            request=RecordedRequest(
                method=asked.method, url=redactor.text(url), headers=redactor.again(headers), body=redactor.again(body)
            ),
            response=RecordedResponse(status=header.response.status, headers=redactor.again(answered)),
        )

    def chunk(self, chunk: Chunk) -> None:
        if self._take.websocket:
            data = self._message(chunk.data)
            self._write(dump_chunk(Chunk(chunk.pause_ms, data, chunk.sender, chunk.opcode), websocket=True))
        else:
            for label, data in self._stream.feed(chunk, chunk.data):
                self._write(dump_chunk(Chunk(label.pause_ms, data)))

    def end(self, how: Ending, pause_ms: float) -> None:
        for label, data in self._stream.close():
            self._write(dump_chunk(Chunk(label.pause_ms, data)))
        self._write(dump_end(how, pause_ms))
        self._io.close()
        self._part.rename(self._take.file)

    def give_up(self) -> None:
        try:
            self._io.close()
        finally:
            self._part.unlink(missing_ok=True)

    def _message(self, data: bytes) -> bytes:
        try:
            message = parse_json(data)
        except ValueError:
            return self._redactor.mask(data)
        redacted = self._redactor.body(message)
        return (
            self._redactor.mask(data) if redacted == message else dump_json(redacted).encode("utf-8", "surrogatepass")
        )

    def _write(self, line: str) -> None:
        self._io.write(line.encode())


class Writer:
    """The thread that redacts and writes. `put` never waits."""

    def __init__(self) -> None:
        self._jobs: queue.Queue[tuple[Job, int] | None] = queue.Queue(QUEUE_LENGTH)
        self._waiting = 0
        self._lock = threading.Lock()
        self._files: dict[Take, _File] = {}
        self._thread: threading.Thread | None = None

    def put(self, job: Job, size: int) -> None:
        """Hand over a job; a recording for which there is no room is given up."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="midstream-recordings", daemon=True)
            self._thread.start()
        with self._lock:
            full = self._waiting + size > QUEUE_LIMIT
            self._waiting += 0 if full else size
        try:
            if full:
                raise queue.Full
            self._jobs.put_nowait((job, size))
        except queue.Full:
            self._lose(job.take, "the disk is too slow")

    def stop(self) -> None:
        """Write what waits, at most CLOSE_WAIT seconds long, and end the thread."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(CLOSE_WAIT)
            self._thread = None

    def _run(self) -> None:
        while (entry := self._jobs.get()) is not None:
            job, size = entry
            with self._lock:
                self._waiting -= size
            try:
                self._do(job)
            except Exception as e:  # a full disk, a folder taken away: the next recording may fare better
                self._lose(job.take, str(e))
                self._drop(job.take)
        for take in list(self._files):
            self._drop(take)

    def _do(self, job: Job) -> None:
        take, step = job
        if take.lost:
            self._drop(take)
        elif isinstance(step, Header):
            if len(self._files) >= OPEN_LIMIT:
                self._lose(take, f"{OPEN_LIMIT} others are being written")
            else:
                self._files[take] = _File(take, step)
        elif (file := self._files.get(take)) is None:
            return
        elif isinstance(step, Chunk):
            file.chunk(step)
        else:
            file.end(*step)
            del self._files[take]

    def _drop(self, take: Take) -> None:
        file = self._files.pop(take, None)
        if file is not None:
            try:
                file.give_up()
            except OSError as e:
                log.debug("cannot remove a recording that was given up: %s", e)

    def _lose(self, take: Take, why: str) -> None:
        if not take.lost:
            take.lost = why
            log.warning("the recording %s is given up: %s", take.file.name, why)
