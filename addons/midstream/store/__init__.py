"""SQLite: `database.py` alone opens it; `schema.py` is the history of its tables, `queries.py` what is asked of them."""
