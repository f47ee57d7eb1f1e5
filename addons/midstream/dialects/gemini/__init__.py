"""Gemini: `generateContent`, interactions, Live."""
