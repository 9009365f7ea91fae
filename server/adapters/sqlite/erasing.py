"""Taking the text of deleted messages out of the file: their creations and edits become erased events."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

from server.adapters.codec import encode_event
from server.adapters.sqlite.rows import execute_rows
from server.domain.events import MessageErased

# The bytes of an erased event come from the codec; only the offset and the time, which differ from row to row, are set
# here. A row that can't be read is erased like the others, with the time of its writing.
_ERASE = """
WITH gone (channel_id, created, payload) AS (VALUES {{rows}})
UPDATE events SET payload = CAST(json_set(
    gone.payload, '$.o', events.offset, '$.a', CASE WHEN json_valid(CAST(events.payload AS TEXT))
    THEN json_extract(CAST(events.payload AS TEXT), '$.a') ELSE events.written_at END
) AS BLOB) FROM gone WHERE events.channel_id = gone.channel_id AND events.{column} = gone.created
"""
_ERASE_CREATION = _ERASE.format(column="offset")
_ERASE_EDITS = _ERASE.format(column="edit_of")


@dataclass(frozen=True, slots=True)
class Erased:
    """A message to erase, and an erased event of it as a pattern."""

    channel_id: int
    event: MessageErased


def erase(db: sqlite3.Connection, messages: Sequence[Erased]) -> None:
    """Replace the payloads of the messages' creations and edits. `secure_delete` overwrites the text in the pages."""
    for sql, edited in ((_ERASE_CREATION, False), (_ERASE_EDITS, True)):
        rows = [
            (
                message.channel_id,
                message.event.created_offset,
                encode_event(replace(message.event, edited=edited)).decode(),
            )
            for message in messages
        ]
        execute_rows(db, sql, rows)
