"""OpenAI's APIs, and their imitators': chat completions, legacy completions, Responses, Realtime."""
