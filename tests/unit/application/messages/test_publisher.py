"""Sending, editing, deleting: who may, what is written, and that it is hinted at."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from server.adapters.memory.broadcast import MemoryBroadcast
from server.adapters.memory.message_log import MemoryMessageLog
from server.application.commands import Delete, Edit, Send
from server.application.deadline import COMMAND_DEADLINE_S
from server.application.limits.fresh_channels import FreshChannels
from server.application.limits.slow_mode import SlowMode
from server.application.messages.publisher import Publisher
from server.domain.appending import Appended, already_deleted, not_found
from server.domain.channels import ChannelName
from server.domain.drafts import Sender
from server.domain.errors import Conflict, MaruError, NotFound, Overloaded, PermissionDenied, RateLimited, Unavailable
from server.domain.events import Event, MessageCreated, MessageDeleted, MessageEdited
from server.domain.gcra import Rate
from server.domain.identity import Author, Identity, UserId
from server.domain.messages import Message, MessageId, Tombstone
from server.domain.rates import Bucket
from server.domain.rules import Rule, Rules
from tests.doubles.chaotic_broadcast import Broker, BrokerLink
from tests.doubles.faulty_log import FaultyLog, Gate
from tests.doubles.metrics import RecordingMetrics
from tests.doubles.samples import HOUR_MS, NOW_MS, NOW_NS, ROOM, event, identity, new_message, some_id
from tests.doubles.virtual_time import turns, virtually

ALICE = identity("alice")
BOB = identity("bob", grants={"room:*": ["join", "send"]})
MODERATOR = identity("mo", grants={"room:*": ["join", "moderate"]})
EDITOR = identity("ed", grants={"room:*": ["join", "edit_others"]})
READER = identity("reader", grants={"room:*": ["join"]})


@dataclass
class Press:
    """A publisher over a log and a broker that can fail, and a replica that hosts the room."""

    log: FaultyLog = field(default_factory=lambda: FaultyLog(MemoryMessageLog(max_events=100, max_age_ms=HOUR_MS)))
    broker: Broker = field(default_factory=Broker)
    now: int = NOW_MS
    ids: int = 0
    slow_mode: SlowMode | None = None
    fresh: FreshChannels | None = None

    def __post_init__(self) -> None:
        self.link: BrokerLink = self.broker.link()
        self.publisher = Publisher(
            self.log,
            self.link,
            lambda: self.now * 1_000_000,
            self.new_id,
            slow_mode=self.slow_mode,
            fresh=self.fresh,
        )

    def new_id(self, unix_ms: int) -> MessageId:
        """The next one."""
        self.ids += 1
        return some_id(self.ids)

    async def send(self, text: str = "hi", key: str | None = None) -> Appended:
        """Alice writes into the room."""
        return await self.publisher.send(ALICE, Send(channel=ROOM, text=text, key=key))

    async def hints(self, count: int) -> list[object]:
        """What the replica hears next."""
        heard = self.link.listen()
        return [await anext(heard) for _ in range(count)]

    async def current(self, id: MessageId) -> Message | Tombstone | None:
        """The message's present state."""
        return await self.log.inner.message(ROOM, id)


@pytest.fixture
async def press() -> Press:
    """The room is hosted, and empty."""
    press = Press()
    await press.link.subscribe(ROOM)
    return press


async def test_a_sent_message_is_in_the_log_and_hinted_at(press: Press) -> None:
    """What the sender said, with the server's id and time, at the log's first offset."""
    command = Send(channel=ROOM, text="hi", data={"a": 1}, reply_to=some_id(9), key="k")
    appended = await press.publisher.send(ALICE, command)
    event = appended.event
    assert isinstance(event, MessageCreated)
    assert event.message == Message(
        id=some_id(1),
        channel=ROOM,
        author=Author(UserId("alice"), "Alice"),
        text="hi",
        data={"a": 1},
        reply_to=some_id(9),
        key="k",
        created_at=NOW_MS,
        edited_at=None,
        version=1,
        offset=1,
    )
    assert (event.offset, event.at, appended.duplicate) == (1, NOW_MS, False)
    assert await press.hints(1) == [event]
    assert press.log.written == [event]


async def test_a_repeat_by_key_is_the_first_message_and_is_hinted_at_again(press: Press) -> None:
    """The first try may have died between the log and the broker: a duplicate is published too."""
    first, second = await press.send("hi", key="k"), await press.send("hi", key="k")
    assert (second.event, second.duplicate) == (first.event, True)
    assert await press.hints(2) == [first.event, first.event]
    assert len(press.log.written) == 1


async def test_an_edit_changes_the_text_and_keeps_the_data_unless_told(press: Press) -> None:
    """Version 2 at its old place, hinted at; `data` absent keeps, null removes."""
    sent = await press.publisher.send(ALICE, Send(channel=ROOM, text="hi", data={"a": 1}))
    assert isinstance(sent.event, MessageCreated)
    id = sent.event.message.id
    press.now += 5
    kept = await press.publisher.edit(ALICE, Edit.parse({"channel": ROOM, "id": id, "text": "ho"}))
    assert isinstance(kept.event, MessageEdited)
    message = kept.event.message
    assert (message.text, message.data, message.version, message.edited_at, message.offset) == (
        "ho",
        {"a": 1},
        2,
        NOW_MS + 5,
        1,
    )
    removed = await press.publisher.edit(ALICE, Edit.parse({"channel": ROOM, "id": id, "text": "ho", "data": None}))
    assert isinstance(removed.event, MessageEdited)
    assert removed.event.message.data is None
    assert await press.hints(3) == [sent.event, kept.event, removed.event]


async def test_a_deletion_leaves_a_tombstone_and_repeats_as_itself(press: Press) -> None:
    """Deleting is an event; deleting again, by the author or a moderator, returns and hints at the first deletion."""
    await press.send()
    id = some_id(1)
    first = await press.publisher.delete(ALICE, Delete(channel=ROOM, id=id))
    assert isinstance(first.event, MessageDeleted)
    assert await press.current(id) == Tombstone(id, ROOM, 1)
    for who in (ALICE, MODERATOR):
        again = await press.publisher.delete(who, Delete(channel=ROOM, id=id))
        assert (again.event, again.duplicate) == (first.event, True)
    assert (await press.hints(4))[1:] == [first.event, first.event, first.event]


def edit(press: Press) -> Awaitable[Appended]:
    """Bob's attempt."""
    return press.publisher.edit(BOB, Edit(channel=ROOM, id=some_id(1), text="mine now"))


def delete(press: Press) -> Awaitable[Appended]:
    """Bob's attempt."""
    return press.publisher.delete(BOB, Delete(channel=ROOM, id=some_id(1)))


@pytest.mark.parametrize("change", [edit, delete])
async def test_only_the_author_changes_a_message(press: Press, change: Callable[[Press], Awaitable[Appended]]) -> None:
    """Another member may send and not touch what others have sent: nothing is written."""
    await press.send()
    with pytest.raises(PermissionDenied):
        await change(press)
    assert len(press.log.written) == 1


async def test_a_moderator_deletes_any_message(press: Press) -> None:
    """`moderate` allows deletions of everybody's messages, which carry the moderator; it does not allow edits."""
    await press.send()
    with pytest.raises(PermissionDenied):
        await press.publisher.edit(MODERATOR, Edit(channel=ROOM, id=some_id(1), text="[removed]"))
    deleted = await press.publisher.delete(MODERATOR, Delete(channel=ROOM, id=some_id(1)))
    assert isinstance(deleted.event, MessageDeleted)
    assert deleted.event.by == MODERATOR.author
    tombstone = await press.current(some_id(1))
    assert isinstance(tombstone, Tombstone)
    assert tombstone.deleted_by == MODERATOR.author


async def test_an_editor_edits_any_message(press: Press) -> None:
    """`edit_others` allows edits of everybody's messages, which carry the editor until the author edits; it does not
    allow deletions."""
    await press.send()
    edited = await press.publisher.edit(EDITOR, Edit(channel=ROOM, id=some_id(1), text="[removed]"))
    assert isinstance(edited.event, MessageEdited)
    assert edited.event.message.author.id == "alice"
    assert edited.event.message.edited_by == EDITOR.author
    with pytest.raises(PermissionDenied):
        await press.publisher.delete(EDITOR, Delete(channel=ROOM, id=some_id(1)))
    again = await press.publisher.edit(ALICE, Edit(channel=ROOM, id=some_id(1), text="mine"))
    assert isinstance(again.event, MessageEdited)
    assert again.event.message.edited_by is None


@pytest.mark.parametrize("deleter", [ALICE, MODERATOR])
@pytest.mark.parametrize("change", [edit, delete])
async def test_unknown_and_deleted_messages_are_refused_as_those_of_others(
    press: Press, change: Callable[[Press], Awaitable[Appended]], deleter: Identity
) -> None:
    """Nobody finds out which messages exist, or did: the three refusals are equal, and nothing is hinted at."""
    with pytest.raises(PermissionDenied) as unknown:
        await change(press)
    await press.send()
    with pytest.raises(PermissionDenied) as of_another:
        await change(press)
    await press.publisher.delete(deleter, Delete(channel=ROOM, id=some_id(1)))
    with pytest.raises(PermissionDenied) as deleted:
        await change(press)
    errors = [(each.value.message, each.value.details) for each in (unknown, of_another, deleted)]
    assert errors[0] == errors[1] == errors[2]
    assert len(press.log.written) == 2


async def test_a_deletion_whose_author_is_not_kept_is_a_moderators(press: Press) -> None:
    """An earlier version kept no author: then nobody but a moderator is told of the deletion."""
    await press.publisher.send(BOB, Send(channel=ROOM, text="hi"))
    await press.publisher.delete(BOB, Delete(channel=ROOM, id=some_id(1)))

    async def without_author(channel: ChannelName, id: MessageId) -> Tombstone:
        return Tombstone(id, channel, 1)

    setattr(press.log, "message", without_author)  # noqa: B010  # as an older store tells it
    with pytest.raises(PermissionDenied):
        await press.publisher.delete(BOB, Delete(channel=ROOM, id=some_id(1)))
    assert (await press.publisher.delete(MODERATOR, Delete(channel=ROOM, id=some_id(1)))).duplicate


async def test_who_may_only_send_changes_their_own_messages(press: Press) -> None:
    """A bot that never joins can mend what it has sent."""
    bot = identity("bot", grants={"room:*": ["send"]})
    sent = await press.publisher.send(bot, Send(channel=ROOM, text="hi"))
    assert isinstance(sent.event, MessageCreated)
    id = sent.event.message.id
    edited = await press.publisher.edit(bot, Edit(channel=ROOM, id=id, text="ho"))
    assert isinstance(edited.event, MessageEdited)
    await press.publisher.delete(bot, Delete(channel=ROOM, id=id))
    assert isinstance(await press.current(id), Tombstone)
    assert (await press.publisher.delete(bot, Delete(channel=ROOM, id=id))).duplicate
    with pytest.raises(Conflict):
        await press.publisher.edit(bot, Edit(channel=ROOM, id=id, text="ho"))


async def test_nothing_is_written_or_looked_up_without_a_grant(press: Press) -> None:
    """Sending needs `send`; editing and deleting need `join` before the log is asked, so that ids can't be probed."""
    stranger = identity("stranger", grants={})
    press.log.error = AssertionError("the log must not be asked")
    with pytest.raises(PermissionDenied):
        await press.publisher.send(READER, Send(channel=ROOM, text="hi"))
    with pytest.raises(PermissionDenied):
        await press.publisher.edit(stranger, Edit(channel=ROOM, id=some_id(1), text="ho"))
    with pytest.raises(PermissionDenied):
        await press.publisher.delete(stranger, Delete(channel=ROOM, id=some_id(1)))


async def test_an_unknown_message_is_not_found(press: Press) -> None:
    """A message that never was, or is beyond retention, is told to moderators and editors."""
    with pytest.raises(NotFound, match=not_found().message):
        await press.publisher.edit(EDITOR, Edit(channel=ROOM, id=some_id(1), text="ho"))
    with pytest.raises(NotFound, match=not_found().message):
        await press.publisher.delete(MODERATOR, Delete(channel=ROOM, id=some_id(1)))


async def test_a_deleted_message_is_not_edited(press: Press) -> None:
    """Editing what is deleted is a conflict, whoever asks."""
    await press.send()
    await press.publisher.delete(ALICE, Delete(channel=ROOM, id=some_id(1)))
    with pytest.raises(Conflict, match=already_deleted().message):
        await press.publisher.edit(ALICE, Edit(channel=ROOM, id=some_id(1), text="ho"))


async def test_a_deletion_between_look_and_write_is_a_conflict(press: Press) -> None:
    """Where the message is deleted after the rights were checked, the log has the last word."""
    await press.send()
    gate = press.log.after = Gate()
    editing = asyncio.create_task(press.publisher.edit(ALICE, Edit(channel=ROOM, id=some_id(1), text="ho")))
    await gate.reached.wait()
    await Publisher(press.log.inner, press.link, lambda: NOW_NS, lambda _: some_id(5)).delete(
        ALICE, Delete(channel=ROOM, id=some_id(1))
    )
    gate.open()
    with pytest.raises(Conflict, match=already_deleted().message):
        await editing


async def test_a_log_that_is_away_is_unavailable_and_hints_at_nothing(press: Press) -> None:
    """No event, no hint: the error is the log's."""
    press.log.error = Unavailable("the disk is full")
    with pytest.raises(Unavailable, match="the disk is full"):
        await press.send()
    press.log.error = None
    sent = await press.send()
    assert await press.hints(1) == [sent.event]


async def test_a_broker_that_is_away_is_unavailable_and_a_retry_by_key_mends_it(press: Press) -> None:
    """The event may be in the log all the same: the same key finds it there, and this time it is hinted at."""
    press.broker.away = True
    with pytest.raises(Unavailable):
        await press.send(key="k")
    press.broker.away = False
    again = await press.send(key="k")
    assert again.duplicate
    assert await press.hints(1) == [again.event]


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_log_that_hangs_is_unavailable_in_time(press: Press, moment: str) -> None:
    """A sender waits 1.8 s at most; what is written late is hinted at all the same, and found again by its key."""
    gate = Gate()
    setattr(press.log, moment, gate)
    began = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable):
        await press.send(key="k")
    assert asyncio.get_running_loop().time() - began < 2.0
    gate.open()
    hinted = await press.hints(1)
    again = await press.send(key="k")
    assert (again.duplicate, [again.event]) == (True, hinted)


async def test_what_is_written_as_its_sender_gives_up_is_hinted_at(press: Press) -> None:
    """Answer and end of the wait in one step of the loop: the sender hears of neither, the others hear of the event."""
    loop = asyncio.get_running_loop()
    written: asyncio.Future[Appended] = loop.create_future()
    setattr(press.log, "append", lambda _draft: written)  # noqa: B010  # answered by hand
    sending = asyncio.create_task(press.send())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    written.set_result(Appended(event(1), duplicate=False))
    loop.call_soon(sending.cancel)
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert await press.hints(1) == [event(1)]


async def test_what_fails_late_is_not_hinted_at(press: Press) -> None:
    """There is nothing to tell: the next hint is the next message's."""
    gate = Gate()
    press.log.before = gate
    with pytest.raises(Unavailable):
        await press.send()
    press.log.error = Unavailable("the disk is full")
    gate.open()
    with pytest.raises(Unavailable, match="the disk is full"):
        await press.send()
    press.log.error = None
    sent = await press.send()
    assert await press.hints(1) == [sent.event]


class HangingLink(BrokerLink):
    """A broker that takes a hint and never answers."""

    async def publish(self, event: Event) -> None:
        await asyncio.Event().wait()


async def test_a_broker_that_hangs_is_unavailable_in_time(press: Press) -> None:
    """The log's and the broker's time together are bounded."""
    publisher = Publisher(press.log, HangingLink(Broker()), lambda: NOW_NS, lambda _: some_id(1))
    began = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable):
        await publisher.send(ALICE, Send(channel=ROOM, text="hi"))
    assert asyncio.get_running_loop().time() - began < 2.0


async def test_a_log_that_is_given_up_gives_up_its_senders(press: Press) -> None:
    """At the end of the process: who waits for the log is cancelled with it, and is not told that it is away."""

    async def given_up() -> None:
        raise asyncio.CancelledError

    press.log.before = given_up
    sending = asyncio.create_task(press.send())
    await asyncio.wait([sending])
    assert sending.cancelled()


async def test_the_log_is_timed_whoever_waits(press: Press) -> None:
    """One time for each draft that it took, also where it took too long; none for what it refused."""
    metrics = RecordingMetrics()
    publisher = Publisher(press.log, press.link, lambda: NOW_NS, press.new_id, metrics, asyncio.get_running_loop().time)
    command = Send(channel=ROOM, text="hi")
    await publisher.send(ALICE, command)
    gate = press.log.before = Gate()
    with pytest.raises(Unavailable):
        await publisher.send(ALICE, command)
    gate.open()
    await press.hints(2)
    press.log.error = Unavailable("the disk is full")
    with pytest.raises(Unavailable):
        await publisher.send(ALICE, command)
    assert metrics.of("appended") == [(0.0,), (pytest.approx(1.8),)]


class Outcomes:
    """What a sender is told of its submissions."""

    def __init__(self, press: Press) -> None:
        self._press = press
        self.sender = Sender()
        self.told: asyncio.Queue[Appended | Exception] = asyncio.Queue()

    def submit(self, text: str = "hi", user: Identity = ALICE) -> None:
        """Submit a message to the room."""
        self._press.publisher.submit(user, Send(channel=ROOM, text=text), self.sender, self.told.put_nowait)

    async def next(self) -> Appended | Exception:
        """Wait for the first outcome, and take it."""
        async with asyncio.timeout(5):
            return await self.told.get()


async def test_a_submitted_message_is_in_the_log_and_hinted_at(press: Press) -> None:
    """As if it had been sent, without a wait."""
    outcomes = Outcomes(press)
    outcomes.submit()
    appended = await outcomes.next()
    assert isinstance(appended, Appended)
    assert press.log.written == [appended.event] == await press.hints(1)
    assert not outcomes.sender.failed


async def test_a_submission_without_a_grant_is_refused_at_once(press: Press) -> None:
    """The caller is told by the error alone."""
    outcomes = Outcomes(press)
    with pytest.raises(PermissionDenied):
        outcomes.submit(user=READER)
    assert (outcomes.told.qsize(), press.log.written) == (0, [])


async def test_a_submission_that_the_log_refuses_fails_its_sender(press: Press) -> None:
    """The client tries again, and nothing behind it may be written before."""
    outcomes = Outcomes(press)
    press.log.error = Unavailable("away")
    outcomes.submit()
    assert isinstance(await outcomes.next(), Unavailable)
    assert outcomes.sender.failed


async def test_a_submission_without_its_hint_is_unavailable(press: Press) -> None:
    """A retry hints at the event again."""
    outcomes = Outcomes(press)
    press.broker.away = True
    outcomes.submit()
    assert isinstance(await outcomes.next(), Unavailable)
    assert outcomes.sender.failed
    assert len(press.log.written) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_a_submission_is_answered_at_the_deadline(*, fails: bool) -> None:
    """Once; if the log writes it all the same, it is hinted at then."""

    async def scenario() -> None:
        press = Press()
        await press.link.subscribe(ROOM)
        outcomes, gate = Outcomes(press), Gate()
        press.log.before = gate
        outcomes.submit()
        await asyncio.sleep(COMMAND_DEADLINE_S)
        assert isinstance(await outcomes.next(), Unavailable)
        assert outcomes.sender.failed
        press.log.error = Unavailable("away") if fails else None
        gate.open()
        await asyncio.sleep(1)
        assert outcomes.told.empty()
        assert len(press.log.written) == (not fails)
        if not fails:
            assert await press.hints(1) == press.log.written

    virtually(scenario)


@pytest.mark.parametrize("late", [False, True])
def test_nothing_is_hinted_at_twice(*, late: bool) -> None:
    """A log that hints at its events by itself needs nobody else to."""

    async def scenario() -> None:
        press = Press()
        await press.link.subscribe(ROOM)
        press.log.hints = True
        press.broker.away = True  # a hint would fail
        outcomes = Outcomes(press)
        press.log.before = gate = Gate()
        outcomes.submit()
        await asyncio.sleep(COMMAND_DEADLINE_S if late else 0)
        gate.open()
        assert isinstance(await outcomes.next(), Unavailable if late else Appended)
        await press.publisher.send(ALICE, Send(channel=ROOM, text="hi"))
        assert len(press.log.written) == 2

    virtually(scenario)


class GivenUp(MemoryBroadcast):
    """A broadcast whose publishing is cancelled, as at the end of the process."""

    def publish(self, event: Event) -> Awaitable[None]:
        publishing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        publishing.cancel()
        return publishing


async def test_a_submission_whose_hint_is_given_up_is_written(press: Press) -> None:
    """The message is in the log, whoever hears of it."""
    outcomes = Outcomes(press)
    press.publisher = Publisher(press.log, GivenUp(), lambda: NOW_NS, press.new_id)
    outcomes.submit()
    appended = await outcomes.next()
    assert isinstance(appended, Appended)
    assert press.log.written == [appended.event]


async def test_a_crowded_log_wants_no_more_submissions(press: Press) -> None:
    """The publisher passes on what the log says."""
    assert not press.publisher.crowded
    press.log.crowded_now = True
    assert press.publisher.crowded


@pytest.mark.parametrize("waits", [True, False])
async def test_slow_mode(waits: bool) -> None:
    """A second message of a user is refused, whichever way it is sent; a message that the channel's rate has refused,
    or for which the log has no room, does not count."""
    now = 100.0
    log = MemoryMessageLog(max_events=100, max_age_ms=HOUR_MS, rate=Rate(0.1, 2), clock=lambda: now)
    press = Press(log=FaultyLog(log), slow_mode=SlowMode(Rules({"room:*": Rule(5.0)}), lambda: now))

    async def send(identity: Identity) -> str:
        outcomes: list[Any] = []
        command = Send(channel=ROOM, text="hi")
        try:
            if waits:
                outcomes.append(await press.publisher.send(identity, command))
            else:
                press.publisher.submit(identity, command, Sender(), outcomes.append)
                await turns(5)
        except MaruError as error:
            outcomes.append(error)
        return str(getattr(outcomes[0], "scope", None) or getattr(outcomes[0], "code", "ok"))

    bob, cora = (identity(name, grants={"room:*": ["send"]}) for name in ("bob", "cora"))
    assert [await send(bob), await send(bob), await send(cora)] == ["ok", "slow_mode", "ok"]
    now += 5.1
    assert await send(bob) == "channel"
    now += 5.1
    press.log.error = Overloaded("full")
    assert await send(bob) == "overloaded"
    press.log.error = None
    assert [await send(bob), await send(bob)] == ["ok", "slow_mode"]


async def test_without_slow_mode_a_channels_rate_is_the_only_one() -> None:
    """Its refusal reaches the caller."""
    log = MemoryMessageLog(max_events=100, max_age_ms=HOUR_MS, rate=Rate(0.1, 1), clock=lambda: 1.0)
    press = Press(log=FaultyLog(log))
    await press.send()
    with pytest.raises(RateLimited):
        await press.send()


@pytest.mark.parametrize("waits", [True, False])
async def test_new_channels(waits: bool) -> None:
    """Each first message counts, and no other; over the rate a user writes into known channels only."""
    now, known = 100.0, {ROOM}
    fresh = FreshChannels({Bucket.NEW_CHANNEL: Rate(0.1, 3)}, {}, known.__contains__, lambda: now)
    press = Press(fresh=fresh)
    await press.log.inner.append(new_message(99, user="bob"))
    told: list[str] = []

    async def send(name: str, key: str | None = None) -> str:
        outcomes: list[object] = []
        command = Send(channel=name, text="hi", key=key)
        try:
            if waits:
                outcomes.append(await press.publisher.send(ALICE, command))
            else:
                press.publisher.submit(ALICE, command, Sender(), outcomes.append)
                await turns(5)
        except RateLimited as error:
            outcomes.append(error)
        (outcome,) = outcomes
        return outcome.scope if isinstance(outcome, RateLimited) else "ok"

    for _ in range(5):
        told += [await send("room:a"), await send("room:b", "same")]
    told += [await send("room:c")]
    assert told == ["ok"] * 11
    assert [await send("room:d"), await send("room:a"), await send(ROOM)] == [*["new_channel_user"] * 2, "ok"]
    now += 10
    assert [await send("room:a"), await send("room:d"), await send("room:e")] == ["ok", "ok", "new_channel_user"]


async def test_mentions_are_kept_and_outlast_an_edit(press: Press) -> None:
    """In the log, in the order of the command."""
    sent = await press.publisher.send(BOB, Send(channel=ROOM, text="hi", mentions=["al", "cy"]))
    assert isinstance(sent.event, MessageCreated)
    assert sent.event.message.mentions == ("al", "cy")
    edit = Edit(channel=ROOM, id=sent.event.message.id, text="ho")
    edited = await press.publisher.edit(identity("bob"), edit)
    assert isinstance(edited.event, MessageEdited)
    assert edited.event.message.mentions == ("al", "cy")


async def test_only_moderators_mention_everybody(press: Press) -> None:
    """Nothing is written for others."""
    everybody = Send(channel=ROOM, text="all", mentions=["*"])
    with pytest.raises(PermissionDenied, match="'moderate'"):
        await press.publisher.send(BOB, everybody)
    assert press.log.written == []
    sent = await press.publisher.send(ALICE, everybody)
    assert isinstance(sent.event, MessageCreated)
    assert sent.event.message.mentions == ("*",)


async def test_each_event_is_told_as_it_is_written(press: Press) -> None:
    """Whoever asked to be told hears of each event before its sender does, whether the sender waits or not."""
    told: list[object] = []
    also: list[object] = []
    for each in (told, also):
        press.publisher.writing.on_written(each.append)
    sent = await press.send()
    answered: asyncio.Future[Appended | Exception] = asyncio.get_running_loop().create_future()
    press.publisher.submit(ALICE, Send(channel=ROOM, text="next"), Sender(), answered.set_result)
    submitted = await answered
    assert isinstance(submitted, Appended)
    assert told == also == [sent.event, submitted.event]


async def test_only_a_first_event_makes_a_channel() -> None:
    """A deletion at the first place, of a message of an earlier log, makes none."""
    fresh = FreshChannels({Bucket.NEW_CHANNEL: Rate(0.1, 1)}, {}, lambda _: False, lambda: 0.0)
    press = Press(fresh=fresh)
    deletion = MessageDeleted(ROOM, "one", 1, NOW_MS, some_id(1))
    press.publisher.writing.wrote_first(Appended(deletion, duplicate=False))
    fresh.check(ALICE, ROOM)
