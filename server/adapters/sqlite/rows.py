"""Many rows in a single statement.

Each statement gives the interpreter's lock away and must get it back from the event loop. On a busy server that takes
longer than the statement itself, so a transaction of hundreds of drafts must be a handful of statements.
"""

import sqlite3
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

CHUNK_ROWS = 512
"""Rows in a statement, at most: with 7 columns far below SQLite's 32,766 parameters."""


def execute_rows(db: sqlite3.Connection, sql: str, rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Run `sql` over all rows, in place of `{rows}` in a VALUES clause. Returns the rows that it selects.

    Each statement has a power of two of rows, so that few statements are kept prepared. No rows, no statement.
    """
    found: list[tuple[Any, ...]] = []
    start = 0
    while left := len(rows) - start:
        size = min(CHUNK_ROWS, 1 << (left.bit_length() - 1))
        values = list(chain.from_iterable(rows[start : start + size]))
        found += db.execute(_statement(sql, len(rows[0]), size), values).fetchall()
        start += size
    return found


@cache
def _statement(sql: str, columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return sql.format(rows=", ".join([row] * rows))
