# Run the tests and the linters
default: test lint

# Run the tests; `just test -k sse` for some of them
test *options:
    uv run pytest {{options}}

# Format check, lint, types
lint:
    uv run ruff format --check .
    uv run ruff check .
    uv run mypy

# Mend what the linters can mend
fix:
    uv run ruff format .
    uv run ruff check --fix .

# Compare with no proxy, plain mitmdump and other gateways, side by side in one run: ten minutes, three with --quick
bench *options:
    uv run python tests/bench/bench.py {{options}}

# Install the gateways that `just bench` compares with, each in a folder of its own below the user's cache
bench-peers:
    uv run python tests/bench/peers.py install

# Break every dialect, delivery and on_break policy with every fault, and print what came of it
faults *options:
    uv run pytest -q -s -n 0 tests/end_to_end/test_fault_matrix.py {{options}}

# The sixteen ways to fail, with the time-outs that users have, through midstream and with the SDK alone
catalogue:
    uv run python tests/bench/catalogue.py

# Everything at once for minutes (--minutes 3) or hours (--hours 8), then: is all back where it began? --kill 5: killed and restarted
soak *options:
    PYTHONPATH=tests uv run python tests/bench/soak.py {{options}}

# Prove what a release promises: the wheel alone on each Python, uv tool, pipx, the Dockerfile's commands, the systemd unit
release-check *pythons:
    PYTHONPATH=tests uv run python -m release.check {{pythons}}

# From a break to the first new token; and what healing costs a healthy stream
heal *options:
    uv run python tests/bench/heal.py {{options}}
