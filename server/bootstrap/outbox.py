"""Messages from PostgreSQL's outbox: written as a backend's are."""

from functools import partial
from typing import Any

import orjson

from server.adapters.postgres.message_log import PostgresMessageLog
from server.adapters.postgres.outbox import Done, Outbox, Row
from server.api.backends.fields import Channel
from server.api.backends.messages import NewMessage, as_send
from server.application.fields import Key
from server.application.messages.publisher import Publisher
from server.bootstrap.ids import new_replica_id
from server.domain.backends import on_behalf_of
from server.domain.drafts import Sender
from server.domain.errors import BadRequest
from server.ports.message_log import MessageLog


class _Message(NewMessage):
    """What a row says."""

    channel: Channel
    key: Key | None = None


def open_outbox(log: MessageLog, publisher: Publisher) -> Outbox:
    """Return the outbox in the database of the log, which is in PostgreSQL."""
    assert isinstance(log, PostgresMessageLog)
    return Outbox(log.database, new_replica_id(), partial(submit, publisher))


def submit(publisher: Publisher, row: Row, sender: Sender, done: Done) -> None:
    """Write the message of a row. A second time, it is the message of the first. Raises `MaruError`."""
    parsed = _Message.parse(_payload(row))
    command = as_send(parsed, parsed.channel, parsed.key or f"outbox:{row.id}")
    publisher.submit(on_behalf_of(parsed.author.author), command, sender, done)


def _payload(row: Row) -> dict[str, Any]:
    author = {"id": row.author} if row.author_name is None else {"id": row.author, "name": row.author_name}
    payload: dict[str, Any] = {"channel": row.channel, "author": author, "text": row.text}
    more = {"key": row.key, "reply_to": row.reply_to, "mentions": row.mentions}
    payload |= {name: value for name, value in more.items() if value is not None}
    if row.data is not None:
        try:
            payload["data"] = orjson.loads(row.data)
        except ValueError:  # a number that JSON of others can't carry, or a lone surrogate
            raise BadRequest("data: holds what JSON can't carry") from None
    return payload
