"""New messages: a batch is a single call of `maru.append`, which decides by itself."""

import asyncio
from collections.abc import Sequence

import orjson
import structlog
from asyncpg import Connection, PostgresError, Record

from server.adapters.codec import DecodeError, encode_event, known
from server.adapters.postgres.channels import Channels, epoch_of
from server.adapters.postgres.database import Database
from server.adapters.postgres.intake import Outcome, copy_of
from server.adapters.postgres.placing import NOWHERE, placed
from server.adapters.postgres.terms import SPARE_TRIMS, Terms, limited
from server.domain.appending import Appended, created, id_taken, recreated
from server.domain.channels import ChannelName
from server.domain.drafts import NewMessage
from server.domain.errors import Conflict, MaruError, Unavailable
from server.domain.events import MessageCreated
from server.domain.identity import UserId
from server.domain.limits import KEY_LIFETIME_MS
from server.domain.messages import MessageId, Position

_APPEND = "SELECT * FROM maru.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"

_IDS = "event_messages"
"""The index of the ids of messages, which refuses an id that is taken."""

_log = structlog.get_logger("maru.log")


class Posts:
    """Appends new messages."""

    def __init__(self, database: Database, channels: Channels, terms: Terms) -> None:
        self._database, self._channels, self._terms = database, channels, terms

    async def write(self, drafts: Sequence[NewMessage], seconds: float) -> Sequence[Outcome]:
        """Append the messages, in their order. Raises `Unavailable` if none was written."""
        try:
            return await self._write(drafts, seconds)
        except Conflict:  # an id is taken: find out which
            if len(drafts) == 1:
                return [id_taken()]
        return await self._singly(drafts, asyncio.get_running_loop().time() + seconds)

    async def _singly(self, drafts: Sequence[NewMessage], deadline: float) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        failed: MaruError | None = None
        for draft in drafts:
            if failed is not None:
                outcomes.append(copy_of(failed))
                continue
            try:
                outcomes += await self.write([draft], deadline - asyncio.get_running_loop().time())
            except MaruError as error:
                failed = error
                outcomes.append(error)
        return outcomes

    async def _write(self, drafts: Sequence[NewMessage], seconds: float) -> Sequence[Outcome]:
        ids = await self._channels.ids({draft.channel for draft in drafts})
        columns = (
            [ids[draft.channel] for draft in drafts],
            [self._terms.kept(draft.channel) for draft in drafts],
            [draft.id for draft in drafts],
            [draft.author.id for draft in drafts],
            [None if draft.key is None else draft.key.encode() for draft in drafts],
            [draft.at for draft in drafts],
            [encode_event(created(draft, NOWHERE)) for draft in drafts],
            [draft.marks for draft in drafts],
            [orjson.dumps(draft.mentions).decode() if draft.mentions else None for draft in drafts],
        )
        terms = self._terms

        async def call(connection: Connection) -> tuple[bytes, list[Record]]:
            database = self._database
            assert database.identity is not None
            how = (database.life, terms.now_ms, KEY_LIFETIME_MS, terms.interval_ms, terms.room_ms, SPARE_TRIMS)
            try:
                return database.identity.key, await connection.fetch(_APPEND, *how, *columns)
            except PostgresError as error:
                if getattr(error, "constraint_name", None) == _IDS:
                    raise id_taken() from error
                raise

        key, rows = await self._database.run(call, seconds)
        return self._outcomes(drafts, key, {row["n"]: row for row in rows})

    def _outcomes(self, drafts: Sequence[NewMessage], key: bytes, rows: dict[int, Record]) -> Sequence[Outcome]:
        firsts: dict[tuple[ChannelName, UserId, str], MessageCreated] = {}
        outcomes: list[Outcome] = []
        for number, draft in enumerate(drafts, start=1):
            row = rows.get(number)
            if row is None:  # the id that is remembered is another database's
                self._channels.forget()
                outcomes.append(Unavailable("PostgreSQL does not know the channel any more"))
            elif row["wait_ms"]:
                outcomes.append(limited(row["wait_ms"]))
            else:
                place = Position(epoch_of(key, draft.channel, row["losses"]), row["place"])
                named = None if draft.key is None else (draft.channel, draft.author.id, draft.key)
                if row["duplicate"]:
                    earlier = firsts.get(named) if named is not None and row["first_id"] is None else None
                    outcomes.append(_first(draft, place, row) if earlier is None else Appended(earlier, duplicate=True))
                    continue
                event = created(draft, place)
                if named is not None:
                    firsts[named] = event
                outcomes.append(Appended(event, duplicate=False))
        return outcomes


def _first(draft: NewMessage, place: Position, row: Record) -> Appended:
    """Return the first message with the draft's key. The content of the repeat stands in for that of an event that the
    log has dropped, or that can't be read."""
    id, at, payload = MessageId(row["first_id"]), row["first_at"], row["first"]
    if payload is not None:
        try:
            return Appended(known(placed(payload, place.epoch, place.offset, at)), duplicate=True)
        except DecodeError as error:
            _log.error("message_log.unreadable", channel=draft.channel, error=str(error))
    return Appended(recreated(draft, id, at, place), duplicate=True)
