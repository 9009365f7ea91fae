"""The promises of webhooks, by their numbers, held by every adapter."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import count

import pytest

from server.domain.channels import ChannelName
from server.domain.dispatching import DeadLetter, Debt
from server.domain.drafts import Deletion, Revision
from server.domain.errors import BadRequest, Conflict
from server.domain.messages import Position
from server.domain.replicas import ReplicaId
from server.ports.webhooks import Webhooks
from tests.contracts.webhook_stores import LETTERS, LosingStore, Owing, WebhookStore
from tests.doubles.samples import NOW_MS, new_message, some_id

ONE, TWO = ReplicaId("one"), ReplicaId("two")
CRM = "crm"


@pytest.fixture
async def owing(webhook_store: WebhookStore) -> AsyncIterator[Owing]:
    """A log of each kind, and its debts."""
    async with webhook_store.open() as opened:
        yield opened


async def send(owing: Owing, channel: ChannelName, first: int, last: int) -> Position:
    """Append the messages with these numbers at once; return the last position."""
    drafts = [new_message(number, channel) for number in range(first, last + 1)]
    appended = await asyncio.gather(*(owing.log.append(draft) for draft in drafts))
    return Position(appended[-1].event.epoch, appended[-1].event.offset)


async def start(owing: Owing, channel: ChannelName) -> Position:
    """Return where the channel's log begins."""
    return Position((await owing.log.read(channel, 0, 0)).head.epoch, 0)


async def all_debts(webhooks: Webhooks, endpoint: str = CRM, limit: int = 100) -> list[Debt]:
    """Read all pages."""
    debts, after = list[Debt](), None
    while True:
        page, after = await webhooks.debts(endpoint, after, limit)
        debts += page
        if after is None:
            return debts


def letter(channel: ChannelName, at: Position, last: int, reason: str = "500 Internal Server Error") -> DeadLetter:
    """A letter of the events behind a position, up to `last`."""
    return DeadLetter("", channel, at.epoch, at.offset + 1, last, reason, NOW_MS)


async def bury_each(owing: Owing, channel: ChannelName, events: int) -> Position:
    """Append so many events to the empty channel, and bury each alone. Returns where the channel's log begins."""
    await owing.webhooks.open(CRM)
    at = await start(owing, channel)
    await send(owing, channel, 1, events)
    for offset in range(events):
        delivered, to = replace(at, offset=offset), replace(at, offset=offset + 1)
        assert await owing.webhooks.bury(CRM, delivered, letter(channel, delivered, offset + 1), to)
    return at


# 1, 2: appends owe what is open


async def test_1_an_append_owes_its_event(owing: Owing, channel: ChannelName) -> None:
    """From the head before it on, once for all events that follow."""
    assert await owing.webhooks.open(CRM)
    at = await start(owing, channel)
    assert await all_debts(owing.webhooks) == []
    await send(owing, channel, 1, 3)
    await send(owing, channel, 4, 4)
    assert await all_debts(owing.webhooks) == [Debt(channel, at)]
    assert await owing.webhooks.owed(CRM) == 1


async def test_1_changes_are_owed(owing: Owing, channel: ChannelName) -> None:
    """An edit and a deletion are events as any other."""
    await send(owing, channel, 1, 2)
    await owing.webhooks.open(CRM)
    await owing.log.append(Revision(channel, some_id(1), "other", data=None, keep_data=True, at=NOW_MS))
    place = await start(owing, channel)
    assert await all_debts(owing.webhooks) == [Debt(channel, replace(place, offset=2))]
    assert await owing.webhooks.deliver(CRM, channel, replace(place, offset=2), replace(place, offset=3))
    await owing.log.append(Deletion(channel, some_id(2), at=NOW_MS))
    assert await all_debts(owing.webhooks) == [Debt(channel, replace(place, offset=3))]


async def test_1_what_becomes_no_event_is_not_owed(owing: Owing, channel: ChannelName) -> None:
    """A repeat, and a draft that is refused."""
    await owing.log.append(new_message(1, channel, key="k"))
    await owing.webhooks.open(CRM)
    assert (await owing.log.append(new_message(2, channel, key="k"))).duplicate
    with pytest.raises(Conflict):
        await owing.log.append(new_message(1, channel))
    assert await all_debts(owing.webhooks) == []


async def test_1_a_kill_changes_nothing(webhook_store: WebhookStore, channel: ChannelName) -> None:
    """The next process finds the endpoint open, and the debts where they were."""
    async with webhook_store.open() as owing:
        await owing.webhooks.open(CRM)
        at = await start(owing, channel)
        await send(owing, channel, 1, 2)
        assert await owing.webhooks.deliver(CRM, channel, at, replace(at, offset=1))
    async with webhook_store.open() as owing:
        await send(owing, ChannelName(f"{channel}:other"), 3, 3)
        other = Debt(ChannelName(f"{channel}:other"), await start(owing, ChannelName(f"{channel}:other")))
        debts = await all_debts(owing.webhooks)
        assert sorted(debts, key=lambda debt: debt.channel) == [Debt(channel, replace(at, offset=1)), other]
        assert not await owing.webhooks.open(CRM)


async def test_2_a_new_endpoint_begins_at_the_heads(owing: Owing, channel: ChannelName) -> None:
    """Events of before are not owed to it, though others are owed them; opened again, it changes nothing."""
    await owing.webhooks.open("other")
    before = await send(owing, channel, 1, 3)
    assert await owing.webhooks.open(CRM)
    assert not await owing.webhooks.open(CRM, from_start=True)
    assert await all_debts(owing.webhooks) == []
    await send(owing, channel, 4, 5)
    assert await all_debts(owing.webhooks) == [Debt(channel, before)]
    assert [debt.delivered.offset for debt in await all_debts(owing.webhooks, "other")] == [0]


async def test_2_an_endpoint_may_begin_at_the_start(webhook_store: WebhookStore, channel: ChannelName) -> None:
    """With the first event that each log keeps; channels without events owe nothing."""
    names = [ChannelName(f"{channel}:{number}") for number in range(3)]
    async with webhook_store.open(max_events=4) as owing:
        for name in names:
            await send(owing, name, 1, 3)
        for number in range(4, 6):
            await send(owing, names[1], number, number)
        head = await send(owing, names[1], 6, 6)
        assert await owing.webhooks.open(CRM, [f"{channel}:*"], from_start=True)
        debts = {debt.channel: debt.delivered for debt in await all_debts(owing.webhooks)}
        assert {name: place.offset for name, place in debts.items()} == {names[0]: 0, names[1]: 2, names[2]: 0}
        assert debts[names[1]].epoch == head.epoch
        assert await owing.webhooks.deliver(CRM, names[1], debts[names[1]], head)
        assert not await owing.webhooks.open(CRM, [f"{channel}:*"], from_start=True)
        assert len(await all_debts(owing.webhooks)) == 2


async def test_2_patterns_choose_channels(owing: Owing, channel: ChannelName) -> None:
    """A channel that none covers owes nothing; patterns may change."""
    room, other = ChannelName(f"{channel}:room:1"), ChannelName(f"{channel}:other")
    await owing.webhooks.open(CRM, [f"{channel}:room:*", "x:1"])
    first, second = await send(owing, room, 1, 1), await send(owing, other, 2, 2)
    assert [debt.channel for debt in await all_debts(owing.webhooks)] == [room]
    assert not await owing.webhooks.open(CRM, [other, "x:1"])
    await owing.webhooks.deliver(CRM, room, replace(first, offset=0), first)
    await send(owing, room, 3, 3)
    await send(owing, other, 4, 4)
    assert await all_debts(owing.webhooks) == [Debt(other, second)]


# 3: places


async def test_3_a_debt_moves_and_ends_at_the_head(owing: Owing, channel: ChannelName) -> None:
    """Gone in the step that reaches the head; the next append owes from there on."""
    await owing.webhooks.open(CRM)
    at = await start(owing, channel)
    head = await send(owing, channel, 1, 3)
    middle = replace(at, offset=2)
    assert await owing.webhooks.deliver(CRM, channel, at, middle)
    assert await all_debts(owing.webhooks) == [Debt(channel, middle)]
    assert await owing.webhooks.deliver(CRM, channel, middle, head)
    assert (await all_debts(owing.webhooks), await owing.webhooks.owed(CRM)) == ([], 0)
    await send(owing, channel, 4, 4)
    assert await all_debts(owing.webhooks) == [Debt(channel, head)]


async def test_3_a_slower_dispatcher_changes_nothing(owing: Owing, channel: ChannelName) -> None:
    """Nor does a place that is not in the log."""
    await owing.webhooks.open(CRM)
    at = await start(owing, channel)
    head = await send(owing, channel, 1, 3)
    middle = replace(at, offset=2)
    assert await owing.webhooks.deliver(CRM, channel, at, middle)
    assert not await owing.webhooks.deliver(CRM, channel, at, head)
    assert not await owing.webhooks.deliver(CRM, channel, middle, replace(head, offset=4))
    assert not await owing.webhooks.deliver(CRM, channel, middle, Position("another", 3))
    assert not await owing.webhooks.deliver(CRM, channel, Position("another", 2), head)
    assert not await owing.webhooks.bury(CRM, at, letter(channel, at, 3), head)
    assert not await owing.webhooks.deliver("unknown", channel, middle, head)
    assert await all_debts(owing.webhooks) == [Debt(channel, middle)]
    assert await owing.webhooks.dead(CRM, None, 10) == []


async def test_3_appends_and_deliveries_at_once_lose_nothing(owing: Owing, channel: ChannelName) -> None:
    """Whoever is first: what is owed in the end is what was not delivered."""
    await owing.webhooks.open(CRM)
    at = await start(owing, channel)
    for number in range(1, 31):
        appended, _ = await asyncio.gather(
            owing.log.append(new_message(number, channel)),
            owing.webhooks.deliver(CRM, channel, at, replace(at, offset=number - 1)),
        )
        debts = await all_debts(owing.webhooks)
        assert [debt.channel for debt in debts] == [channel]
        assert debts[0].delivered.offset < appended.event.offset
        at = debts[0].delivered


async def test_3_endpoints_do_not_disturb_each_other(owing: Owing, channel: ChannelName) -> None:
    """Each has its own place."""
    await owing.webhooks.open(CRM)
    await owing.webhooks.open("other")
    at = await start(owing, channel)
    head = await send(owing, channel, 1, 2)
    assert await owing.webhooks.deliver("other", channel, at, head)
    assert await all_debts(owing.webhooks, "other") == []
    assert await all_debts(owing.webhooks) == [Debt(channel, at)]
    await send(owing, channel, 3, 3)
    assert await all_debts(owing.webhooks, "other") == [Debt(channel, head)]
    assert await all_debts(owing.webhooks) == [Debt(channel, at)]


# 4: a single dispatcher


async def test_4_a_single_replica_leads(owing: Owing) -> None:
    """Until it hands over; each endpoint for itself."""
    assert await owing.webhooks.lead(CRM, ONE)
    assert not await owing.webhooks.lead(CRM, TWO)
    assert await owing.webhooks.lead("other", TWO)
    assert await owing.webhooks.lead(CRM, ONE)
    await owing.webhooks.hand_over(CRM, TWO)
    assert not await owing.webhooks.lead(CRM, TWO)
    await owing.webhooks.hand_over(CRM, ONE)
    assert await owing.webhooks.lead(CRM, TWO)
    assert not await owing.webhooks.lead(CRM, ONE)


# 5: pages


async def test_5_pages_find_every_debt_that_stays(owing: Owing, channel: ChannelName) -> None:
    """While others come and go."""
    await owing.webhooks.open(CRM)
    names = [ChannelName(f"{channel}:{number}") for number in range(300)]
    heads = dict(zip(names, await asyncio.gather(*(send(owing, name, 1, 1) for name in names)), strict=True))
    assert await owing.webhooks.owed(CRM) == 300
    found, after, more = list[ChannelName](), None, count(1)
    while True:
        page, after = await owing.webhooks.debts(CRM, after, 20)
        found += [debt.channel for debt in page]
        for debt in page:
            if debt.channel in names[::3]:
                assert await owing.webhooks.deliver(CRM, debt.channel, debt.delivered, heads[debt.channel])
        await send(owing, ChannelName(f"{channel}:more:{next(more)}"), 1, 1)
        if after is None:
            break
    assert set(names) <= set(found)
    stayed = {debt.channel for debt in await all_debts(owing.webhooks)}
    assert {name for name in names if name in stayed} == set(names) - set(names[::3])


async def test_5_pages_are_bounded(owing: Owing, channel: ChannelName) -> None:
    """`limit` is about how many: a page of 20 is not one of hundreds, and 300 take several."""
    await owing.webhooks.open(CRM)
    await asyncio.gather(*(send(owing, ChannelName(f"{channel}:{number}"), 1, 1) for number in range(300)))
    page, after = await owing.webhooks.debts(CRM, None, 20)
    assert 1 <= len(page) <= 60
    assert after is not None
    assert await owing.webhooks.debts("unknown", None, 20) == ([], None)
    assert await owing.webhooks.owed("unknown") == 0


# 6: losses


@pytest.mark.parametrize("owed", [True, False], ids=["owed", "clean"])
async def test_6_a_loss_is_owed(losing_store: LosingStore, channel: ChannelName, *, owed: bool) -> None:
    """The debt stays where it was; the endpoint goes on at the beginning of the new epoch, and skips nothing."""
    async with losing_store.open() as owing:
        await owing.webhooks.open(CRM)
        at, last = await start(owing, channel), await send(owing, channel, 1, 3)
        place = replace(at, offset=1) if owed else last
        assert await owing.webhooks.deliver(CRM, channel, at, place)
        await losing_store.lose(owing, channel)
        new = (await owing.log.read(channel, 0, 0)).head
        assert (new.epoch != at.epoch, new.offset) == (True, 0)
        assert await all_debts(owing.webhooks) == [Debt(channel, place)]
        head = await send(owing, channel, 4, 8)
        assert head == replace(new, offset=5)
        [debt] = await all_debts(owing.webhooks)
        assert debt == Debt(channel, place, new)
        assert debt.place(head) == new
        assert await owing.webhooks.deliver(CRM, channel, place, new)
        assert await all_debts(owing.webhooks) == [Debt(channel, new)]
        assert await owing.webhooks.deliver(CRM, channel, new, head)
        assert await all_debts(owing.webhooks) == []


async def test_6_events_behind_a_gap_are_not_passed_over(losing_store: LosingStore, channel: ChannelName) -> None:
    """A dispatcher that has read the debt before the first event of the new epoch can't move it behind that."""
    async with losing_store.open() as owing:
        await owing.webhooks.open(CRM)
        at, last = await start(owing, channel), await send(owing, channel, 1, 3)
        assert await owing.webhooks.deliver(CRM, channel, at, replace(last, offset=2))
        await losing_store.lose(owing, channel)
        [debt] = await all_debts(owing.webhooks)
        head = await send(owing, channel, 4, 5)
        assert not await owing.webhooks.deliver(CRM, channel, debt.delivered, debt.place(head))
        [debt] = await all_debts(owing.webhooks)
        assert debt.place(head) == replace(head, offset=0)
        assert await owing.webhooks.deliver(CRM, channel, debt.delivered, debt.place(head))


async def test_6_a_gap_reaches_what_is_kept(losing_store: LosingStore, channel: ChannelName) -> None:
    """If retention has passed the place in the new epoch, the endpoint goes on at the floor."""
    async with losing_store.open(max_events=4) as owing:
        await owing.webhooks.open(CRM)
        await send(owing, channel, 1, 2)
        await losing_store.lose(owing, channel)
        for number in range(3, 9):
            await send(owing, channel, number, number)
        assert (await owing.log.read(channel, 0, 0)).floor == 2
        [debt], head = await all_debts(owing.webhooks), (await owing.log.read(channel, 0, 0)).head
        assert not await owing.webhooks.deliver(CRM, channel, debt.delivered, replace(head, offset=3))
        assert await owing.webhooks.deliver(CRM, channel, debt.delivered, replace(head, offset=2))


async def test_6_a_gap_alone_can_be_told(losing_store: LosingStore, channel: ChannelName) -> None:
    """If nothing was written since, the debt ends with it."""
    async with losing_store.open() as owing:
        await owing.webhooks.open(CRM)
        last = await send(owing, channel, 1, 3)
        await losing_store.lose(owing, channel)
        new = (await owing.log.read(channel, 0, 0)).head
        [debt] = await all_debts(owing.webhooks)
        assert not await owing.webhooks.deliver(CRM, channel, debt.delivered, last)
        assert await owing.webhooks.deliver(CRM, channel, debt.delivered, debt.place(new))
        assert await all_debts(owing.webhooks) == []


async def test_6_a_second_loss_begins_again(losing_store: LosingStore, channel: ChannelName) -> None:
    """The place is that in the last epoch."""
    async with losing_store.open() as owing:
        await owing.webhooks.open(CRM)
        at = await start(owing, channel)
        await send(owing, channel, 1, 3)
        await losing_store.lose(owing, channel)
        await send(owing, channel, 4, 6)
        await losing_store.lose(owing, channel)
        head = await send(owing, channel, 7, 9)
        [debt] = await all_debts(owing.webhooks)
        assert debt == Debt(channel, at, replace(head, offset=0))


# 7: dead letters


async def test_7_letters_are_kept_in_order(owing: Owing, channel: ChannelName) -> None:
    """With what was given, and an id that grows."""
    at = await bury_each(owing, channel, 3)
    assert await all_debts(owing.webhooks) == []
    letters = await owing.webhooks.dead(CRM, None, 10)
    assert [replace(each, id="") for each in letters] == [
        letter(channel, replace(at, offset=offset), offset + 1) for offset in range(3)
    ]
    assert len({each.id for each in letters}) == 3
    assert await owing.webhooks.dead(CRM, None, 2) == letters[:2]
    assert await owing.webhooks.dead(CRM, letters[0].id, 10) == letters[1:]
    assert await owing.webhooks.dead(CRM, letters[2].id, 10) == []
    assert await owing.webhooks.dead("other", None, 10) == []


async def test_7_letters_are_taken_once(owing: Owing, channel: ChannelName) -> None:
    """An id that is not there, or is no id, takes nothing."""
    await bury_each(owing, channel, 3)
    letters = await owing.webhooks.dead(CRM, None, 10)
    wanted = [letters[2].id, letters[0].id, "no id", "99999999999999999999"]
    assert await owing.webhooks.take("other", wanted) == []
    assert await owing.webhooks.take(CRM, []) == []
    assert sorted(each.first for each in await owing.webhooks.take(CRM, wanted)) == [1, 3]
    assert await owing.webhooks.take(CRM, wanted) == []
    assert await owing.webhooks.dead(CRM, None, 10) == letters[1:2]
    assert await owing.webhooks.take(CRM, [letters[1].id]) == letters[1:2]
    assert await owing.webhooks.dead(CRM, None, 10) == []
    with pytest.raises(BadRequest):
        await owing.webhooks.dead(CRM, "no id", 10)


async def test_7_the_oldest_letters_go(owing: Owing, channel: ChannelName) -> None:
    """An endpoint keeps a number of them."""
    await bury_each(owing, channel, LETTERS + 2)
    assert [each.first for each in await owing.webhooks.dead(CRM, None, 100)] == list(range(3, LETTERS + 3))
