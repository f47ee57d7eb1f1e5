"""The I/O: what listens on a port or dials one. Everything that decides something is pure and lives above this folder.

replay.py serves recordings as a provider; catalogue.py says which recording answers a request; throwaway_ca.py makes the
certificates that a TLS provider on loopback needs. recorder.py writes recordings, in a thread of its own.
"""
