"""Dispatching in virtual time: order, outages, poison, leads and faults."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from server.adapters.memory.webhooks import MemoryWebhooks
from server.application.outside.webhooks import courier as couriers
from server.application.outside.webhooks import dispatcher as dispatchers
from server.application.outside.webhooks import schedule as schedules
from server.application.outside.webhooks.dispatcher import FINISH_S
from server.application.outside.webhooks.leading import RENEW_S
from server.application.outside.webhooks.schedule import IN_FLIGHT
from server.domain.channels import ChannelName
from server.domain.dispatching import DeadLetter, Debt
from server.domain.drafts import Deletion
from server.domain.errors import Unavailable
from server.domain.messages import Position
from server.domain.webhooks import Answer, Endpoint, Outcome, types_of
from server.ports.webhooks import LEAD_S
from tests.doubles.samples import NOW_MS, some_id
from tests.doubles.virtual_time import virtually
from tests.doubles.webhooks import KEYS, OK, Request, WebhookStage, always

BATCHED = Endpoint("crm", "https://example.com", KEYS, batch=100)


def test_each_event_in_the_order_of_its_channel() -> None:
    """Each once; channels side by side, a channel's events one after the other."""

    async def scenario() -> None:
        stage = WebhookStage()
        async with stage.running():
            for channel in ("a", "b", "c"):
                await stage.send(channel, 5)
            await stage.settled()
        receiver = stage.receiver
        assert all(receiver.offsets(channel) == [1, 2, 3, 4, 5] for channel in ("a", "b", "c"))
        assert len({request.id for request in receiver.requests}) == 15
        assert 1 < receiver.most_under_way <= IN_FLIGHT
        assert receiver.requests[0].body["type"] == "message.created"
        assert receiver.requests[0].body["timestamp"] == receiver.requests[0].body["data"]["at"]

    virtually(scenario)


def test_a_batch_is_one_request() -> None:
    """Also if there is a single event."""

    async def scenario() -> None:
        stage = WebhookStage(BATCHED)
        await stage.store.open("crm")
        await stage.send("a", 250)
        async with stage.running():
            await stage.settled()
            await stage.send("a")
            await stage.settled()
        assert [len(request.events) for request in stage.receiver.requests] == [100, 100, 50, 1]
        assert stage.receiver.offsets("a") == list(range(1, 252))
        assert {request.body["type"] for request in stage.receiver.requests} == {"batch"}

    virtually(scenario)


def test_many_channels_are_brought_forward_evenly() -> None:
    """No channel has its third event before every channel has its first."""

    async def scenario() -> None:
        stage = WebhookStage()
        await stage.store.open("crm")
        for number in range(500):
            await stage.send(f"c:{number}", 3)
        async with stage.running():
            await stage.settled()
        arrived = Counter[str]()
        for request in stage.receiver.taken:
            arrived[request.channel] += 1
            if arrived[request.channel] == 3:
                assert len(arrived) == 500
        assert sum(arrived.values()) == 1_500

    virtually(scenario)


def test_an_outage_loses_nothing() -> None:
    """Down for 30 s: few requests meanwhile, each with the id of its first try; then all, in order."""

    async def scenario() -> None:
        stage = WebhookStage()
        stage.receiver.rule = always(Outcome.UNREACHABLE)
        async with stage.running():
            for channel in "abcdefgh":
                await stage.send(channel, 3)
            await asyncio.sleep(30)
            assert len(stage.receiver.requests) < 30
            assert (True, False) in {call[1:] for call in stage.metrics.of("state")}
            stage.receiver.rule = always(Outcome.ACCEPTED, 200)
            assert await stage.settled() < 40
        ids = Counter(request.id for request in stage.receiver.taken)
        assert len(ids) == 24
        assert set(ids.values()) == {1}
        assert all(stage.receiver.offsets(channel) == [1, 2, 3] for channel in "abcdefgh")
        firsts = {request.id for request in stage.receiver.requests if request.offsets == [1]}
        assert len(firsts) == 8
        assert stage.metrics.of("state")[-1] == ("crm", False, False)

    virtually(scenario)


def test_a_batch_that_failed_is_sent_again_as_it_was() -> None:
    """Events that have come meanwhile are in the next request: the id stays."""

    async def scenario() -> None:
        stage = WebhookStage(BATCHED)
        stage.receiver.rule = always(Outcome.FAILED, 500)
        async with stage.running():
            await stage.send("a", 2)
            await asyncio.sleep(0.5)
            await stage.send("a", 2)
            stage.receiver.rule = always(Outcome.ACCEPTED, 200)
            await stage.settled()
        offsets = [request.offsets for request in stage.receiver.requests]
        assert offsets[-1] == [3, 4] or offsets[-2:] == [[1, 2], [3, 4]]
        assert len({request.id for request in stage.receiver.requests}) == len({tuple(each) for each in offsets})
        assert stage.receiver.offsets("a") == [1, 2, 3, 4]

    virtually(scenario)


def test_poison_goes_to_the_dead_letters_and_its_channel_goes_on() -> None:
    """After five refusals; other channels do not wait for it."""

    async def scenario() -> None:
        stage = WebhookStage()

        def rule(request: Request) -> Answer:
            return Answer(Outcome.REFUSED, 422) if (request.channel, request.offsets) == ("a", [2]) else OK

        stage.receiver.rule = rule
        async with stage.running():
            await stage.send("a", 3)
            await stage.send("b", 3)
            await asyncio.sleep(2)
            assert stage.receiver.offsets("b") == [1, 2, 3]
            await stage.settled()
        assert stage.receiver.offsets("a") == [1, 3]
        assert sum(request.offsets == [2] and request.channel == "a" for request in stage.receiver.requests) == 5
        (letter,) = await stage.store.dead("crm", None, 10)
        assert (letter.channel, letter.first, letter.last) == ("a", 2, 2)
        assert letter.reason == "refused; last answer: refused (422)"
        assert stage.metrics.of("buried") == [("crm",)]

    virtually(scenario)


def test_after_a_day_old_events_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are a day old; younger events are tried on. Here a day has two minutes."""
    day = 120.0
    for module in (dispatchers, schedules):
        monkeypatch.setattr(module, "MAX_AGE_S", day)

    async def scenario() -> None:
        stage = WebhookStage()
        stage.receiver.rule = always(Outcome.FAILED, 503)
        async with stage.running():
            await stage.send("a")
            await asyncio.sleep(day - 30)
            assert not await stage.store.dead("crm", None, 10)
            stage._sent = round(stage.clocks.monotonic() * 1_000)  # noqa: SLF001 the sample's time is its number
            await stage.send("a")
            await asyncio.sleep(100)
            (letter,) = await stage.store.dead("crm", None, 10)
            assert (letter.first, letter.last) == (1, 1)
            assert letter.reason == "not taken for a day; last answer: failed (503)"
            assert await stage.store.owed("crm") == 1

    virtually(scenario)


def test_an_endpoint_that_is_gone_gets_nothing_more() -> None:
    """410: not a single request more, of this replica or another; what is owed stays owed."""

    async def scenario() -> None:
        stage = WebhookStage()
        stage.receiver.rule = always(Outcome.GONE, 410)
        async with stage.running(), stage.running("two"):
            await stage.send("a", 2)
            await asyncio.sleep(60)
            assert len(stage.receiver.requests) == 1
            assert await stage.store.owed("crm") == 1
        assert stage.metrics.of("state")[-1] == ("crm", False, True)

    virtually(scenario)


def test_two_replicas_send_nothing_twice() -> None:
    """One dispatches; when it ends, the other goes on at once."""

    async def scenario() -> None:
        stage = WebhookStage()
        async with stage.running() as one, stage.running("two"):
            await stage.send("a", 50)
            await asyncio.sleep(0.3)
            await one.stop(10)
            await stage.send("a", 50)
            assert await stage.settled() < RENEW_S + 3
        assert stage.receiver.offsets("a") == list(range(1, 101))
        assert len(stage.receiver.requests) == 100

    virtually(scenario)


def test_a_killed_replica_is_followed() -> None:
    """The lead ends by itself; an event that was under way may come twice, with the same id."""

    async def scenario() -> None:
        stage = WebhookStage()
        async with stage.running("two") as two:
            await two.stop(1)
        async with stage.running("one"):
            await stage.send("a", 50)
            await asyncio.sleep(0.2)
        async with stage.running("two"):
            assert await stage.settled() < LEAD_S + RENEW_S + 3
        ids = [request.id for request in stage.receiver.taken]
        assert list(dict.fromkeys(stage.receiver.offsets("a"))) == list(range(1, 51))
        assert len(set(ids)) == 50
        assert len(ids) <= 51

    virtually(scenario)


def test_a_stop_gives_requests_some_time() -> None:
    """A request that takes longer is abandoned; another replica sends it again."""

    async def scenario() -> None:
        stage = WebhookStage()
        async with stage.running() as one:
            stage.receiver.took_s = 0.5
            await stage.send("a")
            await asyncio.sleep(0.25)
            began = stage.clocks.monotonic()
            await one.stop(10)
            assert stage.clocks.monotonic() - began < 0.6
            assert stage.receiver.offsets("a") == [1]
        async with stage.running("two") as two:
            stage.receiver.took_s = 9.0
            await stage.send("a")
            await asyncio.sleep(1)
            began = stage.clocks.monotonic()
            await two.stop(10)
            assert stage.clocks.monotonic() - began == pytest.approx(FINISH_S)
            assert await stage.store.owed("crm") == 1

    virtually(scenario)


def test_a_replica_that_follows_may_stop_at_any_time() -> None:
    """It has nothing to hand over."""

    async def scenario() -> None:
        stage = WebhookStage()
        async with stage.running(), stage.running("two") as two:
            await two.stop(1)
            await stage.send("a")
            await stage.settled()
        assert stage.receiver.offsets("a") == [1]

    virtually(scenario)


def test_another_dispatcher_was_faster() -> None:
    """Events that it has buried are not counted here."""

    class Faster(MemoryWebhooks):
        async def bury(self, endpoint: str, delivered: Position, letter: DeadLetter, to: Position) -> bool:
            await super().bury(endpoint, delivered, letter, to)
            return False

    async def scenario() -> None:
        stage = WebhookStage()
        stage.receiver.rule = always(Outcome.REFUSED, 400)
        stage.store = Faster(stage.log, stage.clocks.monotonic)
        async with stage.running():
            await stage.send("a")
            await stage.settled()
        assert not stage.metrics.of("buried")

    virtually(scenario)


def test_a_stop_does_not_wait_for_ever() -> None:
    """Not longer than it may, even if a store does not answer."""

    class Stuck(MemoryWebhooks):
        async def hand_over(self, endpoint: str, replica: object) -> None:
            await asyncio.Event().wait()

    async def scenario() -> None:
        stage = WebhookStage()
        async with stage.running(store=Stuck(stage.log, stage.clocks.monotonic)) as one:
            began = stage.clocks.monotonic()
            await one.stop(0.5)
            assert stage.clocks.monotonic() - began == pytest.approx(0.5)

    virtually(scenario)


def test_without_endpoints_there_is_nothing_to_run() -> None:
    """No loop, no request to the store."""

    async def scenario() -> None:
        stage = WebhookStage()
        stage.endpoints = ()
        dispatchers, _ = stage.replica()
        assert dispatchers.loops() == ()
        await dispatchers.stop(1)

    virtually(scenario)


class Away(MemoryWebhooks):
    """A store that answers nothing, or breaks, when it is told so."""

    away: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()

    def _ask(self, call: str) -> None:
        if call in self.away:
            raise Unavailable("away")
        if call in self.broken:
            raise RuntimeError("broken")

    async def lead(self, endpoint: str, replica: object) -> bool:
        self._ask("lead")
        return await super().lead(endpoint, replica)  # type: ignore[arg-type]

    async def hand_over(self, endpoint: str, replica: object) -> None:
        self._ask("hand_over")
        await super().hand_over(endpoint, replica)  # type: ignore[arg-type]

    async def owed(self, endpoint: str) -> int:
        self._ask("owed")
        return await super().owed(endpoint)

    async def debts(self, endpoint: str, after: str | None, limit: int) -> tuple[Sequence[Debt], str | None]:
        self._ask("debts")
        return await super().debts(endpoint, after, limit)

    async def deliver(self, endpoint: str, channel: ChannelName, delivered: Position, to: Position) -> bool:
        self._ask("deliver")
        return await super().deliver(endpoint, channel, delivered, to)


def test_a_store_that_is_away() -> None:
    """Events that the endpoint has are not sent again once the store is back."""

    async def scenario() -> None:
        stage = WebhookStage()
        stage.store = store = Away(stage.log, stage.clocks.monotonic)
        async with stage.running():
            for away in ("deliver", "debts", "lead", "owed"):
                store.away = frozenset([away])
                await stage.send("a", 2)
                await asyncio.sleep(30)
                store.away = frozenset()
                await stage.settled()
        assert stage.receiver.offsets("a") == list(range(1, 9))
        assert len(stage.receiver.requests) == 8

    virtually(scenario)


@pytest.mark.parametrize("how", ["away", "broken"])
def test_a_store_that_is_away_at_the_end(how: str) -> None:
    """The lead ends by itself, and so does the drain."""

    async def scenario() -> None:
        stage = WebhookStage()
        store = Away(stage.log, stage.clocks.monotonic)
        async with stage.running(store=store) as one:
            setattr(store, how, frozenset(["hand_over"]))
            await one.stop(10)

    virtually(scenario)


def test_the_memory_of_accepted_requests_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten, and sent again: with the same id."""

    async def scenario() -> None:
        stage = WebhookStage()
        stage.store = store = Away(stage.log, stage.clocks.monotonic)
        async with stage.running():
            store.away = frozenset(["deliver"])
            for channel in "abc":
                await stage.send(channel)
            await asyncio.sleep(0.5)
            store.away = frozenset()
            await stage.settled()
        assert 3 < len(stage.receiver.requests) <= 6
        assert len({request.id for request in stage.receiver.requests}) == 3

    monkeypatch.setattr(couriers, "MAX_ACCEPTED", 1)
    virtually(scenario)


def test_a_fault_costs_its_endpoint_some_seconds() -> None:
    """Of the store: the endpoint goes on later. Of a request: its channel does, and others do not wait."""

    async def scenario() -> None:
        stage = WebhookStage()
        stage.store = store = Away(stage.log, stage.clocks.monotonic)

        def rule(request: Request) -> Answer:
            if request.channel == "a" and stage.clocks.monotonic() < 20:
                raise RuntimeError("a fault")
            return OK

        stage.receiver.rule = rule
        async with stage.running():
            await stage.send("a", 2)
            await stage.send("b", 2)
            await asyncio.sleep(2)
            assert stage.receiver.offsets("b") == [1, 2]
            store.broken = frozenset(["debts", "owed"])
            await asyncio.sleep(6)
            store.broken = frozenset()
            await stage.settled()
        assert stage.receiver.offsets("a") == [1, 2]
        assert len(stage.metrics.of("fault")) > 2

    virtually(scenario)


def test_a_gap_is_told() -> None:
    """Retention was faster than the endpoint: it is told how much it missed, and goes on."""

    async def scenario() -> None:
        stage = WebhookStage(max_events=3)
        await stage.store.open("crm")
        await stage.send("a", 10)
        async with stage.running():
            await stage.settled()
        gap, *rest = stage.receiver.requests
        epoch = (await stage.log.read(ChannelName("a"), 0, 0)).head.epoch
        assert gap.body["type"] == "channel.gap"
        assert gap.body["data"] == {
            "channel": "a",
            "from": {"epoch": epoch, "offset": 0},
            "to": {"epoch": epoch, "offset": 7},
            "reason": "expired",
        }
        assert [request.offsets for request in rest] == [[8], [9], [10]]
        assert stage.metrics.of("gapped") == [("crm",)]

    virtually(scenario)


def test_a_gap_that_is_refused_is_passed_over() -> None:
    """It is not an event that could be sent later."""

    async def scenario() -> None:
        stage = WebhookStage(max_events=3)
        await stage.store.open("crm")
        await stage.send("a", 10)
        stage.receiver.rule = lambda request: (
            Answer(Outcome.REFUSED, 400) if request.body["type"] == "channel.gap" else OK
        )
        async with stage.running():
            await stage.settled()
        assert [request.offsets for request in stage.receiver.taken] == [[8], [9], [10]]
        assert not await stage.store.dead("crm", None, 10)
        assert stage.metrics.of("gapped") == [("crm",)]

    virtually(scenario)


def test_events_that_an_endpoint_does_not_want_cost_no_request() -> None:
    """They are passed over, many at a time."""

    async def scenario() -> None:
        stage = WebhookStage(Endpoint("crm", "https://example.com", KEYS, types_of(["message.deleted"])))
        async with stage.running():
            await stage.send("a", 300)
            await stage.log.append(Deletion(ChannelName("a"), some_id(7), NOW_MS, None))
            await stage.settled()
        (request,) = stage.receiver.requests
        assert request.body["type"] == "message.deleted"
        assert request.offsets == [301]

    virtually(scenario)


def test_a_message_that_was_deleted_meanwhile_comes_without_its_text() -> None:
    """Events come in the state that they have when they are sent."""

    async def scenario() -> None:
        stage = WebhookStage(BATCHED)
        await stage.store.open("crm")
        await stage.send("a")
        await stage.log.append(Deletion(ChannelName("a"), some_id(1), NOW_MS, None))
        async with stage.running():
            await stage.settled()
        (request,) = stage.receiver.requests
        assert [event["type"] for event in request.events] == ["message.created", "message.deleted"]
        assert request.events[0]["data"]["message"] == {
            "id": some_id(1),
            "channel": "a",
            "deleted": True,
            "offset": 1,
        }

    virtually(scenario)


def test_the_lag_is_measured() -> None:
    """Channels, events and the age of the oldest; nothing while nothing is owed, or while another replica leads."""

    async def scenario() -> None:
        stage = WebhookStage()
        stage.receiver.rule = always(Outcome.FAILED, 500)
        async with stage.running(), stage.running("two"):
            await stage.send("a", 3)
            await stage.send("b", 4)
            await asyncio.sleep(11)
            name, channels, events, oldest_s = stage.metrics.of("lagged")[-1]
            assert (name, channels, events) == ("crm", 2, 7)
            assert oldest_s == pytest.approx(10, abs=1)
            assert len(stage.metrics.of("lagged")) == 2
            stage.receiver.rule = always(Outcome.ACCEPTED, 200)
            await stage.settled()
            await asyncio.sleep(6)
            assert stage.metrics.of("lagged")[-1] == ("crm", 0, 0, 0.0)

    virtually(scenario)
