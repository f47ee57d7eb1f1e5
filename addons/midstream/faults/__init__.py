"""Breaks on purpose: which requests (`rules.py`), and what is left of their answers. Pure."""
