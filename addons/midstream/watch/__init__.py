"""What people and their tools watch: the live page at the gateway's `/`, Prometheus, OpenTelemetry, and streams inside mitmproxy.

tracks.py     one stream as the page shows it; pure
board.py      all streams in flight, and what changed of them since the last look; pure
content.py    what streams say, where the user asked for it; pure
history.py    charts of the last minutes, hours and days, out of SQLite
feed.py       looks at the ledger some times a second while somebody watches
live_page.py  serves the page, its files and its data
static/       the page's own files

names.py       what is measured, under which name; tallies.py: its counts and histograms; accounting.py: what a stream adds
metrics.py     serves `/metrics`, written by exposition.py
otel.py        starts the push by OTLP: otlp.py, set up by otel_settings.py; spans.py: a stream as spans

transcript.py  what one answer said, out of its events; wording.py: the same as text; sessions.py: of a WebSocket, by message
readings.py    the same of a mitmproxy flow; kept_body.py: the first bytes of a body that passes
remarks.py     a line about a stream that broke or was healed
tables.py      what mitmproxy's commands answer
"""
