"""Recordings served as a provider: `midstream replay`, the demo, the tests; `recorder.py` writes them, in a thread of its own."""
