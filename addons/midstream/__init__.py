"""midstream's library: pure but for `relay/`, `store.py` and `cli/`; never imports mitmproxy.

In reading order, each importing only what stands above it:

wire/           bytes ⇄ frames: SSE, NDJSON, a growing JSON array, AWS event-stream, content encodings
events.py       the vocabulary: what frames mean
providers.py    which host is whose
dialects/       frames ⇄ events: one provider API a file; answer.py joins wire and dialect for one answer
observation.py  events and a clock → one stream's record, of one or more attempts.py; records.py: the rows
tokens.py       tiktoken, offline; prices.py: what it cost
recording.py    a stream with its chunk edges and pauses, as a file
faults.py       which requests are broken on purpose; faulty_answer.py: what is left of their answers
store.py        the only file that opens SQLite
held.py         what mitmproxy holds of a flow; clients.py: what a client's connection is in the midst of
relay/          I/O: the provider that replays recordings
cli/            the `midstream` command
"""
