"""What people watch: the live page at the gateway's `/`.

tracks.py     one stream as the page shows it; pure
board.py      all streams in flight, and what changed of them since the last look; pure
history.py    charts of the last minutes, hours and days, out of SQLite
feed.py       looks at the ledger some times a second while somebody watches
live_page.py  serves the page, its files and its data
static/       the page's own files
"""
