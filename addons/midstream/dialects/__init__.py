"""Frames ⇄ events, one provider API a file; `registry.py` finds the one a request speaks, `answer.py` decodes a whole body."""
