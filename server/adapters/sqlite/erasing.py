"""Taking the text of deleted messages out of the file: their creations and edits become erased events.

A message may have very many edits. They are erased in bounded steps; until then `erasing` names the message, and reads
show erased events in place of its edits.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

from server.adapters.codec import encode_event
from server.adapters.sqlite.rows import execute_rows
from server.domain.events import MessageErased

STEP_EDITS = 500
"""Edits that a transaction erases, at most: some 5 ms."""

# The bytes of an erased event come from the codec; only the offset and the time, which differ from row to row, are set
# here. A row that can't be read is erased like the others, with the time of its writing.
_ERASED = """
CAST(json_set(
    {pattern}, '$.o', {event}.offset, '$.a', CASE WHEN json_valid(CAST({event}.payload AS TEXT))
    THEN json_extract(CAST({event}.payload AS TEXT), '$.a') ELSE {event}.written_at END
) AS BLOB)
"""

# {erased} is the expression above, for the table and the pattern at hand.
_CREATIONS = """
WITH gone (channel_id, created, payload) AS (VALUES {rows})
UPDATE events SET payload = {erased}
FROM gone WHERE events.channel_id = gone.channel_id AND events.offset = gone.created AND events.message_id IS NOT NULL
"""
_EDITS = """
UPDATE events SET edit_of = NULL, payload = {erased}
FROM erasing x WHERE x.channel_id = events.channel_id AND x.created = events.edit_of AND events.n IN (
    SELECT e.n FROM erasing y CROSS JOIN events e ON e.channel_id = y.channel_id AND e.edit_of = y.created LIMIT ?
)
"""
_SHOWN = """
CASE WHEN e.edit_of IS NULL THEN e.payload ELSE coalesce((
    SELECT {erased} FROM erasing x WHERE x.channel_id = e.channel_id AND x.created = e.edit_of
), e.payload) END
"""
_ERASE_CREATIONS = _CREATIONS.replace("{erased}", _ERASED.format(pattern="gone.payload", event="events"))
_ERASE_EDITS = _EDITS.replace("{erased}", _ERASED.format(pattern="x.payload", event="events"))

SHOWN = _SHOWN.replace("{erased}", _ERASED.format(pattern="x.payload", event="e"))
"""The payload of the event `e` that may be shown."""


@dataclass(frozen=True, slots=True)
class Erased:
    """A message to erase, and the erased event of its creation."""

    channel_id: int
    event: MessageErased


def erase(db: sqlite3.Connection, messages: Sequence[Erased]) -> None:
    """Replace the payloads of the messages' creations, and let `erase_edits` find their edits. `secure_delete`
    overwrites the text in the pages."""
    for sql, edited in (
        (_ERASE_CREATIONS, False),
        ("INSERT OR IGNORE INTO erasing (channel_id, created, payload) VALUES {rows}", True),
    ):
        rows = [
            (
                message.channel_id,
                message.event.created_offset,
                encode_event(replace(message.event, edited=edited)).decode(),
            )
            for message in messages
        ]
        execute_rows(db, sql, rows)


def erase_edits(db: sqlite3.Connection) -> int:
    """Erase the next edits, `STEP_EDITS` at most. Returns how many: if fewer, none is left."""
    erased = db.execute(_ERASE_EDITS, (STEP_EDITS,)).rowcount
    if erased < STEP_EDITS:
        db.execute("DELETE FROM erasing WHERE true")  # without WHERE, SQLite writes a page of an empty table, too
    return erased
