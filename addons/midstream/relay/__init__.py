"""The I/O: what listens on a port or dials one. Everything that decides something is pure and lives above this folder.

intercept.py   points a flow at the relay, and gives it its own face again
server.py      the relay: only requests with a ticket of this very mitmdump (tickets.py); what each is about: job.py
direct.py      the same for a provider's own form, without a connection; inlet.py is the way back for what has one
ask.py         what a client asks; prepare.py puts it to one target, questions.py each attempt's way of asking
upstream.py    the provider's side, pooled; attempt.py reads one response, clock.py times its progress
healing.py     one answer over as many attempts as its route allows; passage.py brings one of them to a sink.py:
native_sink.py a client's own connection (native.py, client.py; reattach.py where it may come back), or
producer.py    a stream's log (log.py, spool.py, streams.py), which deliver_*.py read
gateway.py     what the proxy serves itself: access.py and cors.py say to whom, asked.py what is asked for
"""
