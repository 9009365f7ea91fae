"""Rows about messages that retention has dropped: from that moment no count has them, and here they are removed."""

import sqlite3

# A row goes if it is about an event at or below the floor of its channel.
_STALE = {
    "posts": "(channel_id, offset) IN (SELECT x.channel_id, x.offset {from} AND x.offset <= c.floor LIMIT ?3)",
    "gone": "(channel_id, offset) IN (SELECT x.channel_id, x.offset {from} AND x.offset <= c.floor LIMIT ?3)",
    "records": "(channel_id, offset) IN (SELECT x.channel_id, x.offset {from} AND x.offset <= c.floor LIMIT ?3)",
    "mentions": "(channel_id, user, offset) IN ("
    "SELECT x.channel_id, x.user, x.offset {from} AND x.offset <= c.floor LIMIT ?3)",
    "reactions": "n IN (SELECT x.n {from} AND x.created <= c.floor LIMIT ?3)",
    "reacted": "(channel_id, created) IN (SELECT x.channel_id, x.created {from} AND x.created <= c.floor LIMIT ?3)",
    # Of a channel without events all is read: a mark there counts as the floor, and so does none.
    "reads": "(channel_id, user) IN (SELECT x.channel_id, x.user {from} AND c.head = c.floor LIMIT ?3)",
}
_CHANNELS = "FROM channels c CROSS JOIN {table} x ON x.channel_id = c.id AND c.id > ?1 AND c.id <= ?2"

STATEMENTS = [
    f"DELETE FROM {table} WHERE {which.format(**{'from': _CHANNELS.format(table=table)})}"  # noqa: S608  # ours
    for table, which in _STALE.items()
]


def remove_leftovers(db: sqlite3.Connection, above: int, up_to: int, limit: int) -> bool:
    """Remove rows of the channels with these ids, `limit` of each table at most. Returns whether more may be left."""
    removed = [db.execute(sql, (above, up_to, limit)).rowcount for sql in STATEMENTS]
    return max(removed) == limit
