"""A SQLite log under faults at every step: senders that do not wait for their outcomes keep their orders."""

import asyncio
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from server.adapters.sqlite import connection, database, intake, writer
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.domain.appending import Appended
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Draft, NewMessage, Sender
from server.domain.errors import MaruError
from server.domain.events import MessageCreated
from tests.doubles.samples import NOW_MS, new_message, some_id
from tests.doubles.virtual_time import turns
from tests.unit.adapters.sqlite_cases import DEADLINE_S, log_at

ROOMS = [ChannelName(f"room:{number}") for number in range(2)]

CLIENTS = 3

LATE_S = 3.0
"""A jump of the clock after which every draft that waits is too late."""

ROOM_FOR = 12
"""Drafts that may wait for the writer."""

BATCH = 4
"""Drafts in a transaction."""

UNREADABLE = "can't be read"
BEHIND = "must not overtake"


class Faults:
    """What goes wrong in which transaction: an item of `script` for each, then nothing."""

    def __init__(self, script: Sequence[str]) -> None:
        self._script: Iterator[str] = iter(script)
        self._now = ""  # what is to go wrong in this transaction
        self.ahead = 0.0  # seconds by which the clock has jumped

    def monotonic(self) -> float:
        """Return the time of the clock that jumps."""
        return time.monotonic() + self.ahead

    def before(self, sql: str) -> None:
        """Raise if the statement is to fail."""
        if sql.startswith("BEGIN"):
            self._now = next(self._script, "")
            if self._now == "late":
                self.ahead += LATE_S
        if self._now and self._now != "in doubt" and sql.startswith(self._now):
            raise sqlite3.OperationalError("database or disk is full")

    def after(self, sql: str) -> None:
        """Raise if the statement has done its work, and seems to have failed."""
        if self._now == "in doubt" and sql.startswith("COMMIT"):
            raise sqlite3.OperationalError("disk I/O error")


class FaultyConnection:
    """A connection whose statements fail."""

    def __init__(self, db: sqlite3.Connection, faults: Faults) -> None:
        self._db = db
        self._faults = faults

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        """Execute the statement, or fail."""
        self._faults.before(sql)
        cursor = self._db.execute(sql, *arguments)
        self._faults.after(sql)
        return cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


@dataclass(eq=False)
class Try:
    """A draft on its way."""

    draft: Draft
    waiting: list["Try"]  # the client's drafts that were not told when it was submitted
    outcome: Appended | Exception | None = None

    @property
    def refused(self) -> bool:
        return isinstance(self.outcome, MaruError) and self.outcome.retryable

    @property
    def fails_sender(self) -> bool:
        return self.refused and UNREADABLE not in str(self.outcome) and BEHIND not in str(self.outcome)


@dataclass
class Client:
    """Submits drafts in their order, `pace` at once. After a refusal it waits for all outcomes, then tries again what
    was refused, before anything new."""

    number: int
    pace: int
    drafts: list[Draft]
    lives: list[tuple[Sender, list[Try], set[str]]] = field(default_factory=list)

    async def talk(self, log: SqliteMessageLog) -> None:
        """Submit everything until it is written."""
        pending = list(self.drafts)
        while pending:
            tries = await self._life(log, Sender(), pending)
            again = [one.draft for one in tries if one.refused and isinstance(one.draft, NewMessage)]
            pending = again + pending[len(tries) :]

    async def _life(self, log: SqliteMessageLog, sender: Sender, pending: Sequence[Draft]) -> list[Try]:
        tries: list[Try] = []
        told: list[Try] = []
        news = asyncio.Event()
        for start in range(0, len(pending), self.pace):
            if any(one.refused for one in told):
                break
            for draft in pending[start : start + self.pace]:
                tries.append(self._submit(log, sender, draft, tries, told, news))
            await turns(1)
        async with asyncio.timeout(DEADLINE_S):
            while len(told) < len(tries):
                news.clear()
                await news.wait()
        assert told == tries
        self.lives.append((sender, tries, await written(log)))
        return tries

    def _submit(
        self,
        log: SqliteMessageLog,
        sender: Sender,
        draft: Draft,
        tries: Sequence[Try],
        told: list[Try],
        news: asyncio.Event,
    ) -> Try:
        one = Try(draft, [earlier for earlier in tries if earlier not in told])

        def done(outcome: Appended | Exception) -> None:
            one.outcome = outcome
            told.append(one)
            news.set()

        log.submit(draft, sender, done)
        return one


async def written(log: SqliteMessageLog) -> set[str]:
    """The keys of the messages that the log holds."""
    return {key for room in ROOMS for key in await keys(log, room)}


async def keys(log: SqliteMessageLog, room: ChannelName) -> list[str]:
    """The keys of a channel's messages, behind the damaged one."""
    events = (await log.read(room, 1, 10_000)).events
    return [event.message.key or "" for event in events if isinstance(event, MessageCreated)]


def draft_of(client: int, number: int, kind: str) -> Draft:
    """A draft of a kind. Its key is its client and number."""
    id = 1_000 * (client + 1) + number
    room = ROOMS[number % 3 % 2]
    match kind:
        case "unreadable":
            return Deletion(room, some_id(ROOMS.index(room)), NOW_MS)
        case "unknown":
            return Deletion(room, some_id(99), NOW_MS)
        case "poison":
            return new_message(id, room, text="\ud800")
        case _:
            return new_message(id, room, key=f"{client}.{number}", user=f"user-{client}")


def check_life(sender: Sender, tries: Sequence[Try], kept: set[str]) -> None:
    """Nothing that the file holds stands behind a refused draft that it does not hold."""
    assert sender.failed == any(one.fails_sender for one in tries)
    for at, one in enumerate(tries):
        draft = one.draft
        if isinstance(one.outcome, Appended):
            assert isinstance(draft, NewMessage)
            assert draft.key in kept
        if not isinstance(draft, NewMessage) or draft.key not in kept:
            continue
        for earlier in tries[:at]:
            missing = not (isinstance(earlier.draft, NewMessage) and earlier.draft.key in kept)
            same = earlier.draft.channel == draft.channel and earlier in one.waiting
            assert not (earlier.refused and missing and (earlier.fails_sender or same))


FAULTS = ["", "", "BEGIN", "INSERT INTO events", "COMMIT", "in doubt", "late"]
KINDS = ["send", "send", "send", "send", "send", "unreadable", "unknown", "poison"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    faults=st.lists(st.sampled_from(FAULTS), max_size=15),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=25),
    paces=st.tuples(*[st.integers(1, 8)] * CLIENTS),
)
@example(faults=["", "", "COMMIT"] * 5, kinds=["send"] * 25, paces=(8, 8, 8))
@example(faults=["", "", "late"] * 5, kinds=["send"] * 25, paces=(3, 3, 3))
@example(faults=["", "", "in doubt"] * 3, kinds=["send", "poison", "send"] * 8, paces=(8, 2, 3))
@example(faults=[], kinds=["send", "unreadable", "send", "send"] * 6, paces=(8, 8, 8))
async def test_senders_keep_their_orders(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    faults: list[str],
    kinds: list[str],
    paces: tuple[int, ...],
) -> None:
    """Whatever fails when: nothing is written behind a refusal, outcomes come in order, and once each refused draft
    has been tried again in its order, the file has every message once, in the order of its client."""
    path = tmp_path_factory.mktemp("order") / "maru.db"
    script = Faults(faults)
    async with log_at(path) as log:
        for number, room in enumerate(ROOMS):
            await log.append(new_message(number, room))
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE events SET payload = 'garbage'")
    with monkeypatch.context() as patch:
        patch.setattr(intake, "monotonic", script.monotonic)
        patch.setattr(intake, "WAITING_LIMIT", ROOM_FOR)
        patch.setattr(writer, "BATCH_LIMIT", BATCH)
        open_writer = database.open_writer
        patch.setattr(connection, "open_writer", lambda path: FaultyConnection(open_writer(path), script))
        drafts = [[draft_of(client, *step) for step in enumerate(kinds)] for client in range(CLIENTS)]
        clients = [Client(number, pace, drafts[number]) for number, pace in enumerate(paces)]
        async with log_at(path) as log:
            await asyncio.gather(*(client.talk(log) for client in clients))
            kept = {room: await keys(log, room) for room in ROOMS}
    for client in clients:
        for life in client.lives:
            check_life(*life)
        sent = [draft for draft in client.drafts if isinstance(draft, NewMessage) and draft.key]
        for room in ROOMS:
            expected = [draft.key for draft in sent if draft.channel == room]
            assert [key for key in kept[room] if key.startswith(f"{client.number}.")] == expected
