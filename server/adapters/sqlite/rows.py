"""Many rows in one statement.

Each statement gives the interpreter's lock away and has to win it back from the event loop, which on a busy server
takes longer than the statement itself. So a transaction of hundreds of drafts must be a handful of statements.
"""

import sqlite3
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

CHUNK_ROWS = 512
"""At most so many rows in one statement: with 7 columns far below SQLite's 32,766 parameters."""


def execute_rows(db: sqlite3.Connection, sql: str, rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Run `sql`, where `{rows}` stands for the list of a VALUES clause, over all rows. Returns what it selects.

    The numbers of rows are powers of two, so that few statements need to be kept prepared. An empty list runs nothing.
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
