"""The outbox: messages that applications send within their own transactions (`maru.maru_send`), brought into the log.

One replica dispatches, by lease. A message is written under its own key, or one made of its row's id, before its row is
removed: whatever dies in between, it is written once. Rows are taken in the order of their ids as soon as they are
committed: a transaction that began after another had ended has higher ids, and nothing waits for one that goes on.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import structlog

from server.adapters.postgres.database import Database
from server.adapters.refusals import Refusals
from server.domain.appending import Appended
from server.domain.drafts import Sender
from server.domain.errors import MaruError, Unavailable

POLL_S = 0.05
"""How often the outbox is looked at. `NOTIFY` would tell sooner, but takes a lock on the whole database within the
application's own commit."""

BATCH = 200
"""Rows that are dispatched at once."""

LEASE_S = 5.0
RENEW_S = 1.0
"""The lease of the replica that dispatches; how often it renews it, and the others try to get it."""

RETRY_S = 0.5
"""After the store was away; and for a channel whose row was refused for now."""

WRITE_S = 5.0
"""In which every row of a batch is written or refused; a row without an answer is tried again."""

DEAD_DAYS = 30
"""Rows that no channel takes are kept for so long."""

BURIED = 20
"""Rows that a statement moves to those that no channel takes: they may be long."""

_SETTLE = "SELECT maru.outbox_settle($1, $2, $3)"

WAITING = """
SELECT id, left(channel, 200), left(author, 400), left(author_name, 400), left("text", 40000), left(key, 100),
left(data, 40000), left(reply_to, 400), mentions[:100]
FROM maru.outbox WHERE channel <> ALL ($1::text[]) ORDER BY id LIMIT $2
"""
"""More than each field may have, so that it is refused, and too little to fill the memory."""

_log = structlog.get_logger("maru.outbox")

Done = Callable[[Appended | Exception], None]


class Row(NamedTuple):
    """A message as the application has given it. Nothing of it has been checked."""

    id: int
    channel: str
    author: str
    author_name: str | None
    text: str
    key: str | None
    data: str | None
    reply_to: str | None
    mentions: list[str] | None


Submit = Callable[[Row, Sender, Done], None]
"""Writes a row behind those of the same sender. Raises `MaruError` if it can't be."""


class Outbox:
    """Dispatches if it gets the lease. `run` is started by its owner, and ends after `stop`."""

    def __init__(
        self, database: Database, holder: str, submit: Submit, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._database, self._holder, self._submit, self._monotonic = database, holder, submit, monotonic
        self._until = 0.0  # the lease is ours until then
        self._renew_at = 0.0  # the next time to ask for the lease
        self._later: dict[str, float] = {}  # channels that were refused for now, and when they are tried again
        self._dead = Refusals()
        self._waits = False  # a line has told that rows wait
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Dispatch until `stop`, whatever happens."""
        try:
            while not self._stopping.is_set():
                try:
                    pause = await self._turn()
                    self._tell(None)
                except Unavailable as error:
                    self._tell(error)
                    pause = RETRY_S
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._stopping.wait()
            with suppress(MaruError):
                await self._database.execute("DELETE FROM maru.outbox_lease WHERE holder = $1", self._holder)
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Take no more, and let another replica have the rest at once."""
        self._stopping.set()
        await self._ended.wait()

    async def _turn(self) -> float:
        """Dispatch a batch; return how long to wait before the next. Raises `Unavailable`."""
        now = self._monotonic()
        if now >= self._renew_at:
            if await self._database.fetchval("SELECT maru.outbox_take($1, $2)", self._holder, LEASE_S):
                self._until = now + LEASE_S
            self._renew_at = now + RENEW_S
        if now >= self._until:
            return RENEW_S
        self._later = {channel: until for channel, until in self._later.items() if until > now}
        rows = await self._database.fetch(WAITING, list(self._later), BATCH)
        if rows:
            await self._dispatch([Row(*row) for row in rows])
        return 0.0 if len(rows) == BATCH else POLL_S

    async def _dispatch(self, rows: list[Row]) -> None:
        senders: dict[str, Sender] = {}
        outcomes = [self._submitted(row, senders.setdefault(row.channel, Sender())) for row in rows]
        await asyncio.wait(outcomes, timeout=WRITE_S)
        written: list[int] = []
        dead: list[tuple[int, str]] = []
        for row, outcome in zip(rows, outcomes, strict=True):
            match outcome.result() if outcome.done() else Unavailable("no answer from the log"):
                case Appended():
                    written.append(row.id)
                case MaruError() as error if error.retryable:
                    self._later[row.channel] = self._monotonic() + RETRY_S
                    if isinstance(error, Unavailable):
                        self._tell(error)
                case MaruError() as error:
                    dead.append((row.id, error.message))
                case _:
                    dead.append((row.id, "a fault of the server"))
        if written:
            await self._database.fetch(_SETTLE, written, [], [])
        for part in (dead[first : first + BURIED] for first in range(0, len(dead), BURIED)):
            await self._database.fetch(_SETTLE, [], [id for id, _ in part], [reason for _, reason in part])
        if dead:
            await self._bury(dead)

    def _submitted(self, row: Row, sender: Sender) -> asyncio.Future[Appended | Exception]:
        outcome: asyncio.Future[Appended | Exception] = asyncio.get_running_loop().create_future()

        def done(result: Appended | Exception) -> None:
            if not outcome.done():
                outcome.set_result(result)

        try:
            self._submit(row, sender, done)
        except MaruError as error:
            done(error)
        except Exception as error:  # noqa: BLE001  # whatever it is, it costs this row alone
            _log.exception("outbox.row_failed", row=row.id)
            done(error)
        return outcome

    async def _bury(self, dead: list[tuple[int, str]]) -> None:
        for id, reason in dead:
            if self._dead.add():
                _log.warning("outbox.dead", row=id, reason=reason, dead=self._dead.count)
        await self._database.execute(
            "DELETE FROM maru.outbox_dead WHERE died_at < now() - make_interval(days => $1)", DEAD_DAYS
        )

    def _tell(self, error: MaruError | None) -> None:
        """Log that rows wait for the store, or do no more."""
        if error is not None and not self._waits:
            _log.warning("outbox.waits", problem=error.message)
        elif error is None and self._waits and not self._later:
            _log.info("outbox.goes_on")
        else:
            return
        self._waits = error is not None
