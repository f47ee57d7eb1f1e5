"""All of midstream: measure, record, relay; `midstream run` loads this.

    mitmdump -s addons/all.py

The order matters: who measures names the stream, who records must see the request before the relay points it at itself.
"""

import connect_to
import measure_streams
import record_streams
import relay_streams

addons = [*measure_streams.addons, *record_streams.addons, *relay_streams.addons, *connect_to.addons]
