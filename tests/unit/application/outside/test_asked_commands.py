"""Commands about which a backend is asked: joins, resumes, sends and edits, from the grants to the log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from server.adapters.memory.broadcast import MemoryBroadcast
from server.adapters.memory.message_log import MemoryMessageLog
from server.application.channels.resuming import Joined
from server.application.commands import Edit, Send
from server.application.limits.slow_mode import SlowMode
from server.application.messages.publisher import Publisher
from server.application.outside.asking import Asking
from server.application.outside.denials import Denials
from server.domain.channels import ChannelName
from server.domain.control import Denial
from server.domain.errors import (
    MaruError,
    Overloaded,
    PermissionDenied,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from server.domain.events import MessageCreated
from server.domain.hooks import Accept, AskOutcome, Hook, NoVerdict, Question, Reject, Replace, Verdict
from server.domain.identity import Identity, SessionId
from server.domain.messages import Position
from server.domain.pushes import ChannelRemoved, ChannelResumed
from server.domain.rules import Rule, Rules
from tests.doubles.hooks import FakeBackend
from tests.doubles.replica import Replica
from tests.doubles.replica import replica as running
from tests.doubles.samples import HOUR_MS, NOW_NS, identity, some_id

ROOM, FREE, SLOW = ChannelName("room:1"), ChannelName("free"), ChannelName("slow")
RULES = Rules({"room:*": Rule(hooks=frozenset(Hook)), "slow": Rule(60.0, frozenset({Hook.SEND}))})
HERS = SessionId("alice's")
BAD = NoVerdict(AskOutcome.TIMED_OUT, "no answer")


@dataclass
class Client:
    """A session."""

    id: SessionId = HERS
    identity: Identity = field(default_factory=identity)
    ended: bool = False


ALICE = Client()


@dataclass
class Stage:
    """A replica whose backend a test directs."""

    backend: FakeBackend
    denials: Denials
    on: Replica
    inbox: list[object]

    def says(self, verdict: Verdict | NoVerdict) -> None:
        """Let the backend answer the same from now on."""
        self.backend.answer = lambda _: verdict

    async def join(self, channel: ChannelName = ROOM, who: Identity = ALICE.identity) -> None:
        """Join, and see that it is answered."""
        answers: list[Joined] = []
        await self.on.subscriptions.join(HERS, who, channel, answers.append)
        assert len(answers) == 1

    def deny(self) -> None:
        """Remove Alice from the room."""
        self.denials.apply(Denial(ROOM, ALICE.identity.user, 1))


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """A replica with Alice's session."""
    backend, denials = FakeBackend(), Denials()
    asking = Asking(backend, RULES, asyncio.get_running_loop().time)
    log = MemoryMessageLog(max_events=100, max_age_ms=HOUR_MS)
    async with running(log, MemoryBroadcast(), denials=denials, asking=asking) as on:
        yield Stage(backend, denials, on, on.transport.connect(HERS))


async def test_joins() -> None:
    """Asked after the grants, never at once, and refused as the backend says."""
    async with stage() as on:
        with pytest.raises(PermissionDenied):
            await on.join(who=identity("alice", {}))
        assert on.backend.asked == []
        await on.join()
        await on.join(FREE)
        assert on.on.subscriptions.join_at_once(HERS, ALICE.identity, ROOM) is None
        assert on.on.subscriptions.join_at_once(HERS, ALICE.identity, FREE) is not None
        on.says(Reject("no"))
        on.on.subscriptions.leave(HERS, ROOM)
        with pytest.raises(PermissionDenied) as refused:
            await on.join()
        assert refused.value.details == {"reason": "no"}
        assert [question.channel for question in on.backend.asked] == [ROOM, ROOM]


async def test_a_user_who_is_removed_meanwhile_does_not_get_in() -> None:
    """The backend's verdict is older than the removal."""
    async with stage() as on:
        on.backend.on_ask = on.deny
        with pytest.raises(PermissionDenied):
            await on.join()
        with pytest.raises(PermissionDenied):
            await on.on.publisher.send(ALICE.identity, Send(channel=ROOM, text="x"), ALICE)


async def test_a_session_that_ends_meanwhile_does_not_get_in() -> None:
    """It is told so."""
    async with stage() as on:
        on.backend.on_ask = lambda: on.on.transport.disconnect(HERS)
        with pytest.raises(Unauthenticated):
            await on.join()


async def test_a_remembered_join_is_forgotten() -> None:
    """By a removal, and when removals may have been missed."""
    async with stage() as on:
        on.says(Accept(cache_s=60))
        await on.join()
        await on.join()
        assert len(on.backend.asked) == 1
        on.on.subscriptions.ask_again(ALICE.identity.user, ROOM)
        await on.join()
        on.on.subscriptions.ask_all_again()
        await on.join()
        assert len(on.backend.asked) == 3


async def test_without_hooks_there_is_nothing_to_forget() -> None:
    """Removals ask nobody."""
    log = MemoryMessageLog(max_events=100, max_age_ms=HOUR_MS)
    async with running(log, MemoryBroadcast()) as on:
        on.subscriptions.ask_again(ALICE.identity.user, ROOM)
        on.subscriptions.ask_all_again()


async def resumed(on: Stage, *channels: str, who: Identity = ALICE.identity) -> dict[str, str]:
    """Resume channels; return what became of each, in the order in which it was told."""
    on.inbox.clear()
    positions = {ChannelName(channel): Position("x", 0) for channel in channels}
    await on.on.subscriptions.resume(HERS, who, positions)
    told = {}
    for push in on.inbox:
        assert isinstance(push, ChannelResumed | ChannelRemoved)
        told[str(push.channel)] = "in" if isinstance(push, ChannelResumed) else push.error.code
    return told


async def test_resumes() -> None:
    """Channels without the hook come first; what is refused stays out; without a grant nobody is asked."""

    def answer(question: Question) -> Verdict:
        if question.channel.endswith("bad"):
            raise BAD
        return Reject() if question.channel.endswith("no") else Accept()

    async with stage() as on:
        on.backend.answer = answer
        told = await resumed(on, "room:no", "room:yes", "room:bad", "free")
        assert told == {
            "free": "in",
            "room:no": "permission_denied",
            "room:bad": "unavailable",
            "room:yes": "in",
        }
        assert (next(iter(told)), [*told][-1]) == ("free", "room:yes")
        asked = len(on.backend.asked)
        assert await resumed(on, "room:yes", who=identity("alice", {})) == {"room:yes": "permission_denied"}
        assert len(on.backend.asked) == asked
        assert await resumed(on, "room:no") == {"room:no": "permission_denied"}
        assert await resumed(on) == {}
        on.on.subscriptions.gone(HERS)


async def test_sends() -> None:
    """Written as they are, refused, or with other words; a backend's own message is not asked about."""
    async with stage() as on:
        send = Send(channel=ROOM, text="hi", key="k")
        assert (await on.on.publisher.send(ALICE.identity, send, ALICE)).event.offset == 1
        on.says(Replace({"text": "ho"}))
        written = (await on.on.publisher.send(ALICE.identity, replace_key(send, "l"), ALICE)).event
        assert "ho" in str(written)
        on.says(Reject())
        with pytest.raises(PermissionDenied):
            await on.on.publisher.send(ALICE.identity, send, ALICE)
        assert (await on.on.publisher.send(ALICE.identity, replace_key(send, "m"))).event.offset == 3
        assert on.on.publisher.asks is not None
        assert (on.on.publisher.asks(ROOM), on.on.publisher.asks(FREE)) == (True, False)


def replace_key(command: Send, key: str) -> Send:
    """The same message under another key."""
    return command.model_copy(update={"key": key})


async def test_edits() -> None:
    """The backend is asked once the message is found and may be edited; grants are looked at again after it."""
    async with stage() as on:
        await on.on.publisher.send(ALICE.identity, Send(channel=FREE, text="hi"))
        sent = (await on.on.publisher.send(ALICE.identity, Send(channel=ROOM, text="hi"))).event
        assert isinstance(sent, MessageCreated)
        edit = Edit(channel=ROOM, id=sent.message.id, text="ho")
        await on.on.publisher.edit(ALICE.identity, edit, ALICE)
        with pytest.raises(MaruError):
            await on.on.publisher.edit(ALICE.identity, Edit(channel=ROOM, id=some_id(1), text="x"), ALICE)
        assert [question.hook for question in on.backend.asked] == [Hook.EDIT]
        client = replace(ALICE)
        on.backend.on_ask = lambda: setattr(client, "identity", identity("alice", {"room:*": ["join"]}))
        with pytest.raises(PermissionDenied):
            await on.on.publisher.edit(client.identity, edit, client)
        on.backend.on_ask = on.deny
        with pytest.raises(PermissionDenied):
            await on.on.publisher.edit(ALICE.identity, edit, ALICE)


@pytest.mark.parametrize(
    ("verdict", "refusal", "again"),
    [
        (BAD, Unavailable, Unavailable),
        (Overloaded("x"), Overloaded, Overloaded),
        (Reject(), PermissionDenied, RateLimited),
    ],
)
async def test_slow_mode(verdict: Verdict | NoVerdict, refusal: type[MaruError], again: type[MaruError]) -> None:
    """A message without a verdict is not counted; a rejected one is."""
    backend = FakeBackend(lambda _: verdict)
    publisher = Publisher(
        MemoryMessageLog(max_events=100, max_age_ms=HOUR_MS),
        MemoryBroadcast(),
        lambda: NOW_NS,
        some_id,
        slow_mode=SlowMode(RULES, lambda: 100.0),
        asking=Asking(backend, RULES, lambda: 100.0),
    )
    client = replace(ALICE, identity=identity("alice", {"slow": ["send"]}))
    for expected in (refusal, again):
        with pytest.raises(expected):
            await publisher.send(client.identity, Send(channel=SLOW, text="x"), client)
