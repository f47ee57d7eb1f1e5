"""Cohere's chat, v2 and v1."""
