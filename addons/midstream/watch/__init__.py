"""What people watch: the live page at the gateway's `/`, and streams inside mitmproxy.

tracks.py     one stream as the page shows it; pure
board.py      all streams in flight, and what changed of them since the last look; pure
history.py    charts of the last minutes, hours and days, out of SQLite
feed.py       looks at the ledger some times a second while somebody watches
live_page.py  serves the page, its files and its data
static/       the page's own files

transcript.py  what one answer said, out of its events; wording.py: the same as text; sessions.py: of a WebSocket, by message
readings.py    the same of a mitmproxy flow; kept_body.py: the first bytes of a body that passes
remarks.py     a line about a stream that broke or was healed
tables.py      what mitmproxy's commands answer
"""
