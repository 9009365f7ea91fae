"""Orders: each replica does its part, in their sequence, also after it was away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import pytest
from structlog.testing import capture_logs

from server.adapters.memory.control import MemoryControl
from server.adapters.memory.message_log import MemoryMessageLog
from server.adapters.memory.revocations import MemoryRevocations
from server.application.commands import Delete, Edit, ReadHistory, Send
from server.application.deadline import COMMAND_DEADLINE_S
from server.application.messages.history import History
from server.application.outside.entries import Entries
from server.application.outside.moving import GRACE_S, RECONNECT, Mover
from server.application.outside.obeying import RETRY_S, SWEEP_S, Obeying
from server.application.outside.recent import RECENT_MS, Recent
from server.application.outside.removing import REFRESH_MS, Removing
from server.application.outside.revoking import AHEAD_MS, Revoking
from server.application.sessions.session import Session
from server.application.sessions.sessions import Sessions
from server.domain.channels import ChannelName
from server.domain.control import Denial, Order, RefreshAsked, Resync, Revocation, UnknownOrder
from server.domain.drafts import Sender
from server.domain.errors import (
    BadRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    TokenExpired,
    TokenRevoked,
    Unauthenticated,
    Unavailable,
)
from server.domain.events import MessageCreated
from server.domain.identity import Identity, SessionId, UserId
from server.domain.messages import MessageId, Position
from server.domain.outcomes import DrainEnd
from server.domain.pushes import ChannelRemoved, SessionDraining, SessionExpiring
from server.ports.connections import ConnectionId, Connections
from server.ports.revocations import Held
from server.wire.words import timestamp
from tests.doubles.chaotic_broadcast import Broker
from tests.doubles.clock import Clock
from tests.doubles.faulty_log import FaultyLog, Gate
from tests.doubles.metrics import RecordingMetrics
from tests.doubles.replica import replica
from tests.doubles.samples import HOUR_MS, NOW_MS, ROOM, identity
from tests.doubles.tokens import KnownTokens
from tests.doubles.virtual_time import turns, virtually

NOW_S = NOW_MS // 1_000
LIFE_MS = 30 * 24 * HOUR_MS
HALL = ChannelName("hall")
ALICE, BOB = UserId("alice"), UserId("bob")


class Sockets(Connections):
    """The connections of sessions, which have their names. Those in `mute` have no session any more."""

    def __init__(self) -> None:
        self.told: list[tuple[str, SessionDraining]] = []
        self.ended: list[str] = []
        self.gone_already: set[str] = set()
        self.mute: set[str] = set()
        self.broken = False

    def shut(self) -> Sequence[ConnectionId]:
        raise AssertionError("this is no drain")

    def of(self, session: SessionId) -> ConnectionId | None:
        return None if session in self.gone_already else ConnectionId(session)

    def notify(self, connection: ConnectionId, notice: SessionDraining) -> bool:
        if self.broken:
            raise ValueError("a fault of the program")
        if connection in self.mute:
            return False
        self.told.append((connection, notice))
        return True

    async def end(self, connection: ConnectionId, answer_s: float, close_s: float) -> DrainEnd:
        self.ended.append(connection)
        return DrainEnd.CLOSED

    async def gone(self, within_s: float) -> bool:
        raise AssertionError("this is no drain")

    def abort(self) -> Sequence[ConnectionId]:
        raise AssertionError("this is no drain")


class Store(MemoryRevocations):
    """A store that can be away."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.away = self.silent = self.broken = self.full = False

    async def _reach(self) -> None:
        if self.silent:
            await asyncio.Event().wait()
        if self.broken:
            raise ValueError("a fault of the program")
        if self.away:
            raise Unavailable("the store is away")

    async def add(self, revocation: Revocation) -> None:
        await self._reach()
        if self.full:
            raise Overloaded("no room")
        await super().add(revocation)

    async def remove(self, id: str) -> bool:
        await self._reach()
        return await super().remove(id)

    async def deny(self, denial: Denial) -> None:
        await self._reach()
        await super().deny(denial)

    async def load(self) -> Held:
        await self._reach()
        return await super().load()


class LimitedControl(MemoryControl):
    """A list that can be away."""

    away = False

    async def append(self, order: Order) -> None:
        if self.away:
            raise Unavailable("the list is away")
        await super().append(order)


@dataclass
class House:
    """A replica that obeys, and a backend that gives orders. The store keeps what it has if the replica begins anew."""

    clock: Clock = field(default_factory=Clock)
    tokens: KnownTokens = field(default_factory=KnownTokens)
    metrics: RecordingMetrics = field(default_factory=RecordingMetrics)
    sockets: Sockets = field(default_factory=Sockets)
    ids: int = 0

    def __post_init__(self) -> None:
        self.entries = Entries(self.clock)
        self.revoked, self.denials = self.entries.revoked, self.entries.denials
        self.log = FaultyLog(MemoryMessageLog(max_events=100, max_age_ms=HOUR_MS))
        self.history = History(self.log, denials=self.denials)
        self.store = Store(self.clock)
        self.control = LimitedControl(limit=10)
        self.revoking = Revoking(self.store, self.control, self.clock, self.new_id, LIFE_MS)
        self.removing = Removing(self.store, self.control, self.clock)

    def new_id(self) -> str:
        """The next one."""
        self.ids += 1
        return f"r{self.ids}"

    @asynccontextmanager
    async def living(self) -> AsyncIterator["House"]:
        """Obey until the end of the block."""
        broker = Broker()
        async with replica(self.log, broker.link(), denials=self.denials) as one, asyncio.TaskGroup() as tasks:
            self.transport, self.subscriptions, self.publisher = one.transport, one.subscriptions, one.publisher
            self.sessions = Sessions(
                self.tokens,
                one.transport,
                one.subscriptions.end,
                self.clock,
                0,
                revoked=self.revoked,
                metrics=self.metrics,
            )
            mover = Mover(self.sockets, tasks, self.metrics)
            self.obeying = Obeying(self.control, self.store, self.entries, self.sessions, one.subscriptions, mover)
            loops = [
                tasks.create_task(loop) for loop in (self.obeying.run(), self.obeying.give(), self.obeying.sweep())
            ]
            await self.obeyed()
            yield self
            for loop in loops:
                loop.cancel()

    def session(self, name: str, who: Identity) -> Session:
        """Admit a session."""
        self.inbox = self.transport.connect(SessionId(name))
        return self.sessions.open(SessionId(name), who)

    async def resynced(self, *, lost: bool = False) -> list[str]:
        """Load the store, and give it what it lacks; return the events that were logged."""
        with capture_logs() as lines:
            await self.obeying.obey(Resync(lost))
            await self.obeying.give_back()
        return [line["event"] for line in lines]

    async def obeyed(self) -> None:
        """Wait until all orders are obeyed."""
        await turns(50)

    def ended(self) -> dict[str, type]:
        """The sessions that were terminated, with their errors."""
        return {str(session): type(error) for session, error in self.transport.ended.items()}


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """An empty house that obeys."""
    async with House().living() as house:
        yield house


def revocation(user: str | None = None, token_id: str | None = None) -> Revocation:
    """A revocation that the store has got by other hands."""
    return Revocation("x", None if user is None else UserId(user), token_id, NOW_MS, NOW_MS + HOUR_MS)


# Loading


async def test_nobody_is_judged_before_the_store_was_read(house: House) -> None:
    """A client that comes too early waits, and is admitted then."""
    house.tokens.issue("good", identity("alice"))
    house.revoked.loaded.clear()
    assert house.sessions.admit_at_once("good") is None
    waiting = asyncio.create_task(house.sessions.admit("good"))
    await turns(10)
    assert not waiting.done()
    await house.revoked.replace([])
    assert (await waiting).user == ALICE
    assert house.sessions.admit_at_once("good") is not None


def test_a_store_that_stays_away_at_the_start() -> None:
    """Fail closed: `unavailable`, while the replica tries again and again; then all is well."""

    async def scenario() -> None:
        house = House()
        house.tokens.issue("good", identity("alice"))
        house.store.away = True
        with capture_logs() as lines:
            async with house.living():
                with pytest.raises(Unavailable):
                    await house.sessions.admit("good")
                assert asyncio.get_running_loop().time() >= COMMAND_DEADLINE_S
                house.store.away = False
                await asyncio.sleep(RETRY_S)
                assert (await house.sessions.admit("good")).user == ALICE
        assert [(line["event"], line.get("admits")) for line in lines] == [
            ("control.not_loaded", False),
            ("control.loaded", None),
        ]

    virtually(scenario)


async def test_what_the_store_holds_is_in_force(house: House) -> None:
    """Once orders may have been missed: sessions that were admitted meanwhile end, and members leave."""
    thief = house.session("thief", identity("thief"))
    house.session("bob's", identity("bob"))
    for channel in (ROOM, HALL):
        house.transport.enter(SessionId("bob's"), channel)
    await house.store.add(revocation("thief"))
    await house.store.deny(Denial(ROOM, BOB, NOW_MS + HOUR_MS))
    await house.obeying.obey(Resync())
    assert house.ended() == {"thief": TokenRevoked}
    assert thief.ended
    assert house.inbox == [ChannelRemoved(ROOM, PermissionDenied)]
    assert house.transport.channels(SessionId("bob's")) == [HALL]
    await house.store.remove("x")
    await house.obeying.obey(Resync())
    assert not house.revoked.concern(identity("thief"))


def test_a_replica_that_is_cut_off_goes_on_with_what_it_has() -> None:
    """Fail open: the revocations in memory are heeded, and others admitted, while the store is away."""

    async def scenario() -> None:
        house = House()
        house.tokens.issue("good", identity("alice"))
        house.tokens.issue("bad", identity("thief"))
        await house.store.add(revocation("thief"))
        async with house.living():
            house.store.away = True
            for _ in range(20):
                await house.control.append(UnknownOrder())
            await asyncio.sleep(1)
            assert (await house.sessions.admit("good")).user == ALICE
            with pytest.raises(TokenRevoked):
                await house.sessions.admit("bad")

    virtually(scenario)


# Revocations


async def test_a_user_is_revoked(house: House) -> None:
    """In the store, and for the sessions of tokens that were issued before; metrics have the cause."""
    old, fresh = identity("alice", issued_at=NOW_S - 1), identity("alice", issued_at=NOW_S)
    for name, who in (("old 1", old), ("old 2", old), ("fresh", fresh), ("bob's", identity("bob"))):
        house.session(name, who)
    made = await house.revoking.revoke_user(ALICE)
    assert made == Revocation("r1", ALICE, None, NOW_MS, NOW_MS + LIFE_MS)
    await house.obeyed()
    assert house.ended() == {"old 1": TokenRevoked, "old 2": TokenRevoked}
    assert house.metrics.of("session_ended") == [("token_revoked",)] * 2
    assert (await house.store.load()).revocations == (made,)
    assert await house.revoking.revocations() == [made]


async def test_a_token_is_revoked(house: House) -> None:
    """The sessions that use it now; a session that has left it by a refresh stays, and one that took it goes."""
    stolen, own = identity("alice", token_id="stolen"), identity("alice", token_id="own")
    house.tokens.issue("stolen", stolen)
    house.tokens.issue("own", own)
    house.tokens.issue("nameless", identity("alice"))
    sessions = {name: house.session(name, stolen) for name in ("thief", "moved", "nameless")}
    sessions["taken"] = house.session("taken", own)
    await house.sessions.refresh(sessions["moved"], "own")
    await house.sessions.refresh(sessions["nameless"], "nameless")
    await house.sessions.refresh(sessions["taken"], "stolen")
    await house.revoking.revoke_token("stolen")
    await house.obeyed()
    assert house.ended() == {"thief": TokenRevoked, "taken": TokenRevoked}
    with pytest.raises(TokenRevoked):
        await house.sessions.refresh(sessions["moved"], "stolen")
    assert sessions["moved"].identity is own


async def test_a_ban_is_lifted(house: House) -> None:
    """A ban lives as long as the setting says, whatever tokens do; then the user comes back."""
    later = identity("alice", issued_at=NOW_S + 3_600)
    house.tokens.issue("later", later)
    house.revoking = Revoking(house.store, house.control, house.clock, house.new_id, LIFE_MS, HOUR_MS)
    ban = await house.revoking.revoke_user(ALICE, ban=True)
    assert (ban.ban, ban.expires_at) == (True, NOW_MS + LIFE_MS)
    await house.obeyed()
    with pytest.raises(TokenRevoked):
        house.sessions.admit_at_once("later")
    await house.revoking.lift(ban.id)
    await house.obeyed()
    assert house.sessions.admit_at_once("later") is later
    with pytest.raises(NotFound):
        await house.revoking.lift(ban.id)


async def test_how_long_a_revocation_lives(house: House) -> None:
    """As tokens do, if they have a bound, but no longer than the setting says."""
    short = Revoking(house.store, house.control, house.clock, house.new_id, LIFE_MS, HOUR_MS)
    long = Revoking(house.store, house.control, house.clock, house.new_id, LIFE_MS, 2 * LIFE_MS)
    assert (await short.revoke_token("t")).expires_at == NOW_MS + HOUR_MS + AHEAD_MS
    assert (await short.revoke_user(ALICE)).expires_at == NOW_MS + HOUR_MS + AHEAD_MS
    assert (await long.revoke_token("t")).expires_at == NOW_MS + LIFE_MS
    assert [each.id for each in await short.revocations()] == ["r1", "r2", "r3"]


async def test_issued_before_a_time(house: House) -> None:
    """Not later than clocks may differ."""
    made = await house.revoking.revoke_user(ALICE, NOW_MS + AHEAD_MS)
    assert made.issued_before == NOW_MS + AHEAD_MS
    with pytest.raises(BadRequest):
        await house.revoking.revoke_user(ALICE, NOW_MS + AHEAD_MS + 1)
    assert (await house.store.load()).revocations == (made,)


async def test_a_refresh_does_not_win_against_a_revocation(house: House) -> None:
    """Whichever way its token is verified: the order comes while the verifier is waited for."""
    stolen = identity("alice", token_id="stolen")
    house.tokens.issue("stolen", stolen)
    session, gate = house.session("alice's", identity("alice", token_id="own")), Gate()
    house.tokens.before = gate
    refreshing = asyncio.create_task(house.sessions.refresh(session, "stolen"))
    await gate.reached.wait()
    await house.revoking.revoke_token("stolen")
    await house.obeyed()
    gate.open()
    with pytest.raises(TokenRevoked):
        await refreshing
    assert (session.identity.token_id, house.ended()) == ("own", {})


async def test_a_revocation_ends_a_session_whose_refresh_is_under_way(house: House) -> None:
    """The refresh changes nothing any more, and nobody finds the session by its token."""
    house.tokens.issue("new", identity("alice", token_id="new"))
    session, gate = house.session("alice's", identity("alice", token_id="old")), Gate()
    house.tokens.before = gate
    refreshing = asyncio.create_task(house.sessions.refresh(session, "new"))
    await gate.reached.wait()
    await house.revoking.revoke_token("old")
    await house.obeyed()
    gate.open()
    await refreshing
    assert house.ended() == {"alice's": TokenRevoked}
    assert (house.sessions.by_token("new"), house.sessions.of(ALICE), len(house.sessions)) == ((), (), 0)


# Removals


async def test_a_member_is_removed(house: House) -> None:
    """All of the user's sessions leave that channel, and are told; others stay. It may come back at once."""
    hers = house.session("alice's", identity("alice"))
    inbox = house.inbox
    house.session("alice's other", identity("alice"))
    others = house.inbox
    for session, channel in (("alice's", ROOM), ("alice's", HALL), ("alice's other", HALL)):
        house.transport.enter(SessionId(session), channel)
    await house.removing.remove(ROOM, ALICE)
    await house.obeyed()
    assert (inbox, others) == ([ChannelRemoved(ROOM, PermissionDenied)], [])
    assert house.transport.channels(hers.id) == [HALL]
    assert not house.denials.until
    await house.subscriptions.join(hers.id, hers.identity, ROOM, lambda _: None)


async def refusals(house: House, alice: Session, id: MessageId) -> list[object]:
    """Try everything in the room; return until when it is refused."""
    who, reasons = alice.identity, list[object]()
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: house.subscriptions.join(alice.id, who, ROOM, lambda _: None),
        lambda: house.publisher.send(who, Send(channel=ROOM, text="more")),
        lambda: house.publisher.edit(who, Edit(channel=ROOM, id=id, text="other")),
        lambda: house.publisher.delete(who, Delete(channel=ROOM, id=id)),
        lambda: house.history.read(who, ReadHistory(channel=ROOM)),
    ]
    for call in calls:
        try:
            await call()
        except PermissionDenied as error:
            reasons.append((error.details or {})["denied_until"])
    with suppress(PermissionDenied):
        house.publisher.submit(who, Send(channel=ROOM, text="fast"), Sender(), lambda _: None)
        reasons.append("submitted")
    if house.subscriptions.join_at_once(alice.id, who, ROOM) is not None:
        reasons.append("joined")
    return reasons


async def test_a_member_is_denied(house: House) -> None:
    """As if nothing were granted, by whichever use case; until a time of 0 ends it. A plain removal does not."""
    alice = house.session("alice's", identity("alice"))
    event = (await house.publisher.send(alice.identity, Send(channel=ROOM, text="hi"))).event
    assert isinstance(event, MessageCreated)
    await house.removing.remove(ROOM, ALICE, 60)
    await house.removing.remove(ROOM, ALICE)
    await house.obeyed()
    assert (await house.store.load()).denials == (Denial(ROOM, ALICE, NOW_MS + 60_000),)
    assert await refusals(house, alice, event.message.id) == [timestamp(NOW_MS + 60_000)] * 5
    await house.subscriptions.resume(alice.id, alice.identity, {ROOM: Position(event.epoch, 0)})
    assert house.inbox == [ChannelRemoved(ROOM, PermissionDenied)]
    await house.removing.remove(ROOM, ALICE, 0)
    await house.obeyed()
    assert await refusals(house, alice, event.message.id) == ["submitted", "joined"]


async def test_a_join_does_not_win_against_a_denial(house: House) -> None:
    """The order comes while the log is waited for."""
    alice, gate = house.session("alice's", identity("alice")), Gate()
    house.log.before = gate
    joining = asyncio.create_task(house.subscriptions.join(alice.id, alice.identity, HALL, house.inbox.append))
    await gate.reached.wait()
    await house.removing.remove(HALL, ALICE, 60)
    await house.obeyed()
    gate.open()
    with pytest.raises(PermissionDenied):
        await joining
    assert (house.inbox, house.transport.channels(alice.id)) == ([], [])


# Ends


async def test_sessions_are_ended(house: House) -> None:
    """All of the user's, and no others."""
    for name, user in (("alice's", "alice"), ("alice's other", "alice"), ("bob's", "bob")):
        house.session(name, identity(user))
    await house.removing.end(ALICE)
    await house.obeyed()
    assert house.ended() == {"alice's": Unauthenticated, "alice's other": Unauthenticated}
    assert house.sockets.told == []


def test_sessions_begin_anew() -> None:
    """Their clients are told to come back at once, and closed a moment later; those that are gone are left alone."""

    async def scenario() -> None:
        house = House()
        async with house.living():
            for name in ("one", "two", "gone", "mute"):
                house.session(name, identity("alice"))
            house.sockets.gone_already.add("gone")
            house.sockets.mute.add("mute")
            await house.removing.end(ALICE, reconnect=True)
            await turns(20)
            notice = SessionDraining(0, round(GRACE_S * 1_000))
            assert dict(house.sockets.told) == {"one": notice, "two": notice}
            assert house.sockets.ended == []
            await asyncio.sleep(GRACE_S)
            await turns(5)
            assert sorted(house.sockets.ended) == ["one", "two"]
            assert (house.ended(), house.metrics.of("session_ended")) == ({}, [(RECONNECT,)] * 2)

    virtually(scenario)


# Refreshes


async def test_sessions_are_asked_to_refresh(house: House) -> None:
    """A session that does not take a newer token ends at the time that it was told; the others go on."""
    old = identity("alice", issued_at=NOW_S - 100, expires_at=NOW_MS + 10 * HOUR_MS)
    told = [SessionExpiring(NOW_MS + REFRESH_MS, reason="refresh")]
    sessions = {name: house.session(name, old) for name in ("idle", "stubborn", "nameless", "quick", "behind")}
    assert await house.removing.ask(ALICE) == NOW_MS + REFRESH_MS
    await house.obeyed()
    assert house.inbox == told
    for name, issued_at in (
        ("stubborn", NOW_S - 100),  # the same again
        ("nameless", None),
        ("quick", NOW_S),
        ("behind", NOW_S - 3),  # by an issuer whose clock is behind
    ):
        house.tokens.issue(name, identity("alice", issued_at=issued_at, expires_at=NOW_MS + 10 * HOUR_MS))
        await house.sessions.refresh(sessions[name], name)
    house.clock.now = NOW_MS + REFRESH_MS - 1
    house.sessions.expire()
    assert house.ended() == {}
    house.clock.now = NOW_MS + REFRESH_MS
    house.sessions.expire()
    assert house.ended() == dict.fromkeys(("idle", "stubborn", "nameless"), TokenExpired)


async def test_a_token_that_ends_before_the_refresh_is_due(house: House) -> None:
    """The session is told the time of its token, and ends as it would have."""
    expires_at = NOW_MS + REFRESH_MS // 2
    session = house.session("alice's", identity("alice", expires_at=expires_at))
    house.sessions.expire()
    await house.removing.ask(ALICE)
    await house.obeyed()
    assert house.inbox == [SessionExpiring(expires_at), SessionExpiring(expires_at, reason="refresh")]
    house.clock.now = expires_at
    house.sessions.expire()
    assert (session.ended, house.ended()) == (True, {"alice's": TokenExpired})
    house.sessions.ask(session, RefreshAsked(ALICE, NOW_MS, NOW_MS))
    assert len(house.inbox) == 2


async def test_an_order_that_comes_late(house: House) -> None:
    """To a replica that was cut off: clients that have signed in since would have no time left. In time, all are asked,
    since an issuer's clock may be ahead."""
    until = NOW_MS + HOUR_MS
    for name, issued_at in (("before", NOW_S), ("since", NOW_S + 1), ("nameless", None)):
        session = house.session(name, identity("alice", issued_at=issued_at, expires_at=until))
        house.clock.now = NOW_MS + REFRESH_MS
        house.sessions.ask(session, RefreshAsked(ALICE, NOW_MS, NOW_MS + REFRESH_MS))
    house.sessions.expire()
    assert house.ended() == dict.fromkeys(("before", "nameless"), TokenExpired)
    ahead = house.session("ahead", identity("alice", issued_at=NOW_S + 3_000, expires_at=until))
    await house.removing.ask(ALICE)
    await house.obeyed()
    assert ahead.asked is not None


# Faults


async def test_the_store_or_the_list_is_away(house: House) -> None:
    """Every use case says so: never a silent yes. Without the store nothing is ordered."""
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: house.revoking.revoke_user(ALICE),
        lambda: house.revoking.revoke_token("t"),
        lambda: house.revoking.lift("r1"),
        lambda: house.removing.remove(ROOM, ALICE, 60),
    ]
    await house.store.add(replace(revocation("bob"), id="r1"))
    house.store.away = True
    for call in (*calls, house.revoking.revocations):
        with pytest.raises(Unavailable):
            await call()
    await house.obeyed()
    assert (len(house.revoked), house.denials.until) == (0, {})
    house.store.away, house.control.away = False, True
    more: list[Callable[[], Awaitable[object]]] = [
        lambda: house.removing.remove(ROOM, ALICE),
        lambda: house.removing.end(ALICE),
        lambda: house.removing.ask(ALICE),
    ]
    for call in (*calls, *more):
        with pytest.raises(Unavailable):
            await call()


def test_a_store_that_says_nothing() -> None:
    """A backend waits no longer than a client."""

    async def scenario() -> None:
        house = House()
        house.store.silent = True
        for call in (house.revoking.revoke_user(ALICE), house.removing.remove(ROOM, ALICE, 1)):
            with pytest.raises(Unavailable):
                await call
        assert asyncio.get_running_loop().time() == pytest.approx(2 * COMMAND_DEADLINE_S)

    virtually(scenario)


async def test_an_order_that_fails_holds_up_nobody(house: House) -> None:
    """It is logged, without names; so is, once, an order of a newer version. The next one is obeyed."""
    house.session("alice's", identity("alice"))
    house.sockets.broken = True
    with capture_logs() as lines:
        await house.removing.end(ALICE, reconnect=True)
        await house.control.append(UnknownOrder())
        await house.control.append(UnknownOrder())
        await house.removing.end(ALICE)
        await house.obeyed()
    assert [(line["event"], line.get("order")) for line in lines] == [
        ("control.order_failed", "SessionsEnded"),
        ("control.order_unknown", None),
    ]
    assert house.ended() == {"alice's": Unauthenticated}


def test_a_fault_of_loading_ends_the_process() -> None:
    """Nobody would be admitted otherwise, for ever."""

    async def scenario() -> None:
        house = House()
        house.store.broken = True
        with pytest.raises(ExceptionGroup, match="unhandled") as failed:
            async with house.living():
                await asyncio.sleep(1)
        assert isinstance(failed.value.exceptions[0], ValueError)

    virtually(scenario)


def test_expired_entries_are_forgotten() -> None:
    """Within a minute, so that memory is bounded by what is in force."""

    async def scenario() -> None:
        house = House()
        await house.store.add(revocation("thief"))
        await house.store.deny(Denial(ROOM, BOB, NOW_MS + HOUR_MS))
        async with house.living():
            assert (len(house.revoked), len(house.denials.until)) == (1, 1)
            house.clock.now += HOUR_MS
            await asyncio.sleep(SWEEP_S)
            assert (len(house.revoked), len(house.denials.until)) == (0, 0)

    virtually(scenario)


async def test_sessions_end_by_what_their_tokens_are(house: House) -> None:
    """Those of a key that was withdrawn, however many: others get their turns in between."""
    for number in range(100):
        house.session(f"old {number}", identity(f"u{number}", key_id="old"))
    kept = house.session("kept", identity("alice", key_id="new"))
    error = TokenRevoked("the key has been withdrawn")
    assert await house.sessions.end_where(lambda token: token.key_id == "old", error) == 100
    assert set(house.transport.ended.values()) == {error}
    assert not kept.ended
    assert await house.sessions.end_all([kept, kept], error) == 1


# A store that comes back older


async def test_a_store_that_has_lost_entries_is_given_them_again(house: House) -> None:
    """Those of the last hour: what was revoked stays revoked, also for replicas that start later. What was lifted or
    ended since does not come back."""
    older = await house.revoking.revoke_user(BOB)
    await house.obeyed()
    house.clock.now += RECENT_MS
    kept = await house.revoking.revoke_user(ALICE)
    lifted = await house.revoking.revoke_token("lifted")
    await house.revoking.lift(lifted.id)
    await house.removing.remove(ROOM, ALICE, 60)
    await house.removing.remove(HALL, ALICE, 60)
    await house.removing.remove(HALL, ALICE, 0)
    await house.obeyed()
    for id in (older.id, kept.id):
        await house.store.remove(id)
    until = house.clock.now + 60_000
    await house.store.deny(Denial(ROOM, ALICE, 0))
    await house.store.deny(Denial(HALL, ALICE, until))
    assert await house.resynced() == ["control.loaded", "control.given_back"]
    assert await house.store.load() == Held((kept,), (Denial(ROOM, ALICE, until),))
    assert house.denials.until == {(ALICE, ROOM): until}
    assert (house.revoked.concern(identity("alice")), house.revoked.concern(identity("bob"))) == (True, False)
    assert await house.resynced() == ["control.loaded"]


async def test_a_store_that_can_not_be_given_entries(house: House) -> None:
    """They stay in force here, and the next load tries again."""
    made = await house.revoking.revoke_user(ALICE)
    await house.obeyed()
    await house.store.remove(made.id)
    house.store.full = True
    assert await house.resynced() == ["control.loaded", "control.not_given_back"]
    assert house.revoked.concern(identity("alice"))
    house.store.full = False
    await house.obeying.obey(Resync())
    await house.obeying.give_back()
    assert (await house.store.load()).revocations == (made,)


async def test_a_store_that_was_emptied_is_given_all(house: House) -> None:
    """Also entries that are old, or that were read from it; not those that were lifted before they could be given, or
    that the store has. If it can't be given them at once, the next load tries again."""
    old = await house.revoking.revoke_user(BOB)
    lifted = await house.revoking.revoke_token("lifted")
    kept = await house.revoking.revoke_token("kept")
    for channel in (ROOM, HALL):
        await house.removing.remove(channel, ALICE, 2 * HOUR_MS // 1000)
    await house.obeyed()
    until = house.clock.now + 2 * HOUR_MS
    house.clock.now += RECENT_MS
    for id in (old.id, lifted.id):
        await house.store.remove(id)
    for channel in (ROOM, HALL):
        await house.store.deny(Denial(channel, ALICE, 0))
    house.store.full = True
    assert await house.resynced(lost=True) == ["control.loaded", "control.not_given_back"]
    house.store.full = False
    await house.obeying.obey(Resync())
    house.entries.lift(lifted.id)
    house.entries.deny(Denial(HALL, ALICE, 0))
    await house.obeying.give_back()
    held = await house.store.load()
    assert ({*held.revocations}, {*held.denials}) == ({old, kept}, {Denial(ROOM, ALICE, until)})
    assert house.revoked.concern(identity("bob"))
    await house.store.remove(old.id)
    await house.obeying.obey(Resync())
    assert not house.revoked.concern(identity("bob"))


def test_recent_entries_are_bounded() -> None:
    """A backend may end denials, or revoke for a minute, again and again: the oldest are forgotten."""
    recent = Recent(lambda: NOW_MS, limit=2)
    for number in (1, 2, 1, 3):
        recent.denied(Denial(ROOM, UserId(f"u{number}"), NOW_MS + 1))
        recent.revoked(replace(revocation("thief"), id=f"r{number}"))
    missing = recent.missing(Held((), ()))
    assert [denial.user for denial in missing.denials] == ["u1", "u3"]
    assert [revocation.id for revocation in missing.revocations] == ["r1", "r3"]
