"""Statements about the table of events, where each event is in one of two indexes by channel and offset: that of
creations, or that of all others."""

import sqlite3
from collections.abc import Sequence

from server.adapters.sqlite.rows import execute_rows

STATE = """
CASE WHEN creation.state_offset = creation.offset THEN creation.payload ELSE (
    SELECT change.payload FROM events change WHERE change.channel_id = creation.channel_id
    AND change.offset = creation.state_offset AND change.message_id IS NULL
) END
"""
"""The payload of the event that changed a message last. `creation` is the event that created it."""

_DROP = """
WITH dropped (channel_id, floor) AS (VALUES {rows})
DELETE FROM events WHERE n IN (
    SELECT e.n FROM dropped d CROSS JOIN events e
    ON e.channel_id = d.channel_id AND e.offset <= d.floor AND e.message_id IS NOT NULL
    UNION ALL
    SELECT e.n FROM dropped d CROSS JOIN events e
    ON e.channel_id = d.channel_id AND e.offset <= d.floor AND e.message_id IS NULL
)
"""


def drop(db: sqlite3.Connection, floors: Sequence[tuple[int, int]]) -> None:
    """Drop the channels' events up to their floors (inclusive), and the messages that were created there."""
    execute_rows(db, _DROP, floors)
