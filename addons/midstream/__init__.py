"""midstream's library: pure but for `replay/`, `relay/`, `watch/`, `cli/`, `store/` and the reading of midstream.toml; never
imports mitmproxy. What may import what is held by tests/test_layout.py; docs/architecture.md has the picture.

In reading order, each importing only what stands above it:

wire/            bytes ⇄ frames: SSE, NDJSON, a growing JSON array, AWS event-stream, content encodings
events.py        the vocabulary: what frames mean; conversation.py: what a request asks
providers.py     which host is whose; redaction.py: what is written down nowhere
dialects/        frames ⇄ events, requests ⇄ conversations, a folder a maker; registry.py recognises, answer.py reads one answer
recording.py     a stream with its chunk edges and pauses, as a file
healing/         what follows a failure: plan.py; how two answers join: splice.py, joint.py
observation.py   events and a clock → one stream's record, of one or more attempts.py, with its gaps.py; records.py: the rows
tokens.py        tiktoken, offline; prices.py: what it cost
config/          midstream.toml; keys.py: who may use the gateway
faults/          breaks on purpose
store/           SQLite
ledger.py        the streams that run, and who is told of them
flows.py         what the addons take from mitmproxy's objects; held.py, clients.py: what mitmproxy holds, and of whom
arrivals.py      new clients come in one by one while the event loop is busy
replay/          I/O: recordings served as a provider
relay/           I/O: the provider's side of each stream, and the gateway
watch/           I/O: the live page, Prometheus, OpenTelemetry; what mitmweb shows
cli/             the `midstream` command

connect.py (curl's --connect-to), loading.py, locate.py, processes.py and taps.py stand alone, and who needs them imports them.
"""
