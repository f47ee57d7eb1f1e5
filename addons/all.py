"""All of midstream: measure, record, relay, watch; `midstream run` loads this.

    mitmdump -s addons/all.py

The order matters: who measures names the stream, who records must see the request before the relay points it at itself.
Without a rule in `midstream_break` nothing is broken, and nothing is spent on it.
"""

import break_streams
import connect_to
import limit_clients
import measure_streams
import record_streams
import relay_streams
import render_streams
import watch_streams

addons = [
    *limit_clients.addons,
    *measure_streams.addons,
    *record_streams.addons,
    *relay_streams.addons,
    *break_streams.addons,
    *connect_to.addons,
    *watch_streams.addons,
    *render_streams.addons,
]
