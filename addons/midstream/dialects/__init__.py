"""Frames ⇄ events, a folder a maker, a file or a few an API.

`registry.py` finds the one a request speaks, `answer.py` decodes a whole body.
"""
