"""Webhooks of real servers: each event at least once, in the order of its channel, with the same id, whatever fails."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from tests.harness.backend import API_ENV, call
from tests.harness.cluster import ready
from tests.harness.receiver import SECRET, Received, WebhookReceiver, setting
from tests.harness.redis import RedisProcess
from tests.harness.server import ServerProcess

TAKEOVER_S = 40.0
"""The lead of a killed replica ends after 10 s, and another replica asks every 3 s; the machine may be busy."""

OUTAGE_S = float(os.environ.get("WEBHOOK_OUTAGE_S", "1"))
"""How long a receiver is away; 30 is a longer proof of the same."""

CHANNELS = int(os.environ.get("WEBHOOK_CHANNELS", "2000"))
"""Channels with events for an endpoint at the same time; 10000 is a longer proof of the same."""

ROOMS = ("room:a", "room:b", "room:c")


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    """A receiver."""
    async with WebhookReceiver() as running:
        yield running


async def post(server: ServerProcess, channel: str, *texts: str) -> None:
    """Write messages into a channel."""
    for text in texts:
        status, body = await call(
            server, "POST", f"/channels/{channel}/messages", {"author": {"id": "alice"}, "text": text}
        )
        assert status == 200, body


async def leads(server: ServerProcess, endpoint: str, since: int = 0, timeout: float = TAKEOVER_S) -> None:
    """Wait until the server dispatches to an endpoint."""
    await server.logged(
        lambda line: line["event"] == "webhook.leads" and line["endpoint"] == endpoint, since=since, timeout=timeout
    )


def ids_are_stable(receiver: WebhookReceiver, endpoint: str) -> None:
    """Assert that equal events came with equal ids, and other events with others."""
    seen = {(each.channel, *each.offsets): each.id for each in receiver.received[endpoint]}
    assert all(seen[each.channel, *each.offsets] == each.id for each in receiver.received[endpoint])
    assert len(set(seen.values())) == len(seen)


class Steps:
    """A receiver that stops at each step of a request of `room:b`, by endpoint: `unsent` holds the event before it,
    `held` has the request and does not answer, `answered` answers when the store can no longer note it."""

    def __init__(self, receiver: WebhookReceiver) -> None:
        self.receiver = receiver
        self.release = asyncio.Event()
        receiver.replies = {"unsent": self._hold_first, "held": self._hold_second, "answered": self._hold_second}

    async def _hold_first(self, received: Received) -> int:
        return await self._hold(received, 1)

    async def _hold_second(self, received: Received) -> int:
        return await self._hold(received, 2)

    async def _hold(self, received: Received, offset: int) -> int:
        if received.channel == "room:b" and received.offsets == [offset]:
            await self.release.wait()
        return 204

    def events(self, requests: Mapping[str, Sequence[Received]], name: str) -> int:
        """How many events there are in requests. A request that is held for over 10 s is tried again."""
        return len({(each.channel, *each.offsets) for each in requests[name]})

    async def reached(self) -> None:
        """Wait until each endpoint is at its step, and all else is done."""
        await self.receiver.until(
            lambda: (
                [self.events(self.receiver.received, name) for name in ("unsent", "held", "answered")] == [7, 8, 8]
                and [self.events(self.receiver.taken, name) for name in ("unsent", "held", "answered")] == [6, 7, 7]
            )
        )

    def complete(self) -> bool:
        """Whether each endpoint has everything."""
        return all(
            set(self.receiver.offsets(name, room)) == {1, 2, 3}
            for name in ("unsent", "held", "answered")
            for room in ROOMS
        )

    def judge(self) -> None:
        """Assert what was promised."""
        for name in ("unsent", "held", "answered"):
            ids_are_stable(self.receiver, name)
            for room in ROOMS:
                assert list(dict.fromkeys(self.receiver.offsets(name, room))) == [1, 2, 3]
            repeated = sum(count > 1 for count in Counter(each.id for each in self.receiver.taken[name]).values())
            assert repeated <= len(ROOMS), f"{name}: only a channel's request that was under way may come twice"


def endpoints(receiver: WebhookReceiver) -> dict[str, str]:
    """The endpoints of the steps."""
    return setting(*(receiver.endpoint(name) for name in ("unsent", "held", "answered")))


async def all_lead(server: ServerProcess, since: int = 0) -> None:
    """Wait until the server dispatches to all of them."""
    for name in ("unsent", "held", "answered"):
        await leads(server, name, since)


async def test_kill_the_dispatching_replica_at_every_step(tmp_path: Path, receiver: WebhookReceiver) -> None:
    """Before it sends, while the receiver has the request, and between the answer and the note of it: the other replica
    goes on. Until then nothing comes twice. The first events are those of a server that has just become ready."""
    for name in ("redis", "one", "two"):
        (tmp_path / name).mkdir()
    steps = Steps(receiver)
    async with RedisProcess(tmp_path / "redis") as redis, AsyncExitStack() as stack:
        env = {"MARU_REDIS_URL": redis.url, **API_ENV, **endpoints(receiver)}
        one, two = (ServerProcess(tmp_path / name, env) for name in ("one", "two"))
        await stack.enter_async_context(one)
        await ready(one)
        for room in ROOMS:
            await post(one, room, "text 0")
        await all_lead(one)
        await stack.enter_async_context(two)
        await ready(two)
        for number in (1, 2):
            for server, room in zip((one, two, one), ROOMS, strict=True):
                await post(server, room, f"text {number}")
        await steps.reached()
        redis.freeze()
        steps.release.set()
        await receiver.until(lambda: steps.events(receiver.taken, "answered") == 8)
        await one.kill()
        redis.thaw()
        await receiver.until(steps.complete, TAKEOVER_S)
        await all_lead(two)
        assert not two.faults()
        assert await two.terminate() == 0
    steps.judge()


async def test_kill_the_server_of_a_file_at_every_step(tmp_path: Path, receiver: WebhookReceiver) -> None:
    """The same with SQLite: the server that is started again goes on at once."""
    steps = Steps(receiver)
    async with ServerProcess(tmp_path, {**API_ENV, **endpoints(receiver)}) as server:
        await all_lead(server)
        for number in range(3):
            for room in ROOMS:
                await post(server, room, f"text {number}")
        await steps.reached()
        await server.kill()
        steps.release.set()
        await server.start()
        await receiver.until(steps.complete)
        await server.terminate()
    steps.judge()


async def test_a_drain_hands_over_at_once(tmp_path: Path, receiver: WebhookReceiver) -> None:
    """The other replica goes on within its next look, though the first still waits for its clients; nothing comes
    twice."""
    for name in ("redis", "one", "two"):
        (tmp_path / name).mkdir()
    async with RedisProcess(tmp_path / "redis") as redis, AsyncExitStack() as stack:
        env = {"MARU_REDIS_URL": redis.url, **API_ENV, **setting(receiver.endpoint("crm"))}
        one, two = (ServerProcess(tmp_path / name, env) for name in ("one", "two"))
        await stack.enter_async_context(one)
        await leads(one, "crm")
        await stack.enter_async_context(two)
        await ready(two)
        await post(two, "room:a", *"abc")
        assert await one.terminate() == 0
        await post(two, "room:a", *"def")
        await receiver.until(lambda: len(receiver.taken["crm"]) == 6)
        assert await two.terminate() == 0
    assert receiver.offsets("crm", "room:a") == [1, 2, 3, 4, 5, 6]
    assert len(receiver.received["crm"]) == 6


class Faulty:
    """Endpoints that fail each in its own way, for the first event of `room:a`, and then take everything. `room:b` is
    always taken. `poison` refuses the second event for ever; `gone` wants nothing more."""

    NAMES = ("fails", "hangs", "redirects", "busy", "cut", "poison", "gone")

    def __init__(self, receiver: WebhookReceiver) -> None:
        self.receiver = receiver
        self.mended = False
        receiver.replies = {name: getattr(self, name) for name in self.NAMES}

    def _fails_now(self, received: Received) -> bool:
        first_of_a = received.channel == "room:a" and received.offsets == [1]
        tries = [each for each in self.receiver.received[received.endpoint] if each.id == received.id]
        return first_of_a and len(tries) == 1

    async def fails(self, received: Received) -> int:
        """A fault of the receiver."""
        return 500 if self._fails_now(received) else 200

    async def hangs(self, received: Received) -> int:
        """No answer, longer than is waited for."""
        if self._fails_now(received):
            await asyncio.sleep(3_600)
        return 200

    async def redirects(self, received: Received) -> web.StreamResponse:
        """Elsewhere: nobody goes there."""
        if self._fails_now(received):
            return web.Response(status=302, headers={"location": self.receiver.url("elsewhere")})
        return web.Response()

    async def busy(self, received: Received) -> web.StreamResponse:
        """Later."""
        if self._fails_now(received):
            return web.Response(status=429, headers={"retry-after": "4"})
        return web.Response()

    async def cut(self, received: Received) -> int:
        """No answer at all."""
        if self._fails_now(received):
            raise ConnectionResetError
        return 200

    async def poison(self, received: Received) -> int:
        """Not this event."""
        bad = received.channel == "room:a" and received.offsets == [2] and not self.mended
        return 422 if bad else 200

    async def gone(self, _: Received) -> int:
        """No more."""
        return 410

    def tries(self, name: str, offset: int = 1) -> list[Received]:
        """The requests for an event of `room:a`."""
        return [each for each in self.receiver.received[name] if (each.channel, each.offsets) == ("room:a", [offset])]


async def test_receivers_that_fail(tmp_path: Path, receiver: WebhookReceiver) -> None:
    """5xx, a hang, 302, 429 with Retry-After, a reset: the same request comes again, later events wait for it, other
    channels do not. Poison goes to the dead letters, and can be sent again. 410 is the end."""
    faulty = Faulty(receiver)
    told = setting(*(receiver.endpoint(name) for name in Faulty.NAMES))
    async with ServerProcess(tmp_path, {"MARU_MESSAGE_LOG": "memory", **API_ENV, **told}) as server:
        for name in Faulty.NAMES:
            await leads(server, name)
        for text in "xyz":
            for room in ("room:a", "room:b"):
                await post(server, room, text)
        await receiver.until(lambda: all(receiver.offsets(name, "room:b") == [1, 2, 3] for name in Faulty.NAMES[:-1]))
        others = ("fails", "hangs", "redirects", "busy", "cut")
        await receiver.until(lambda: all(receiver.offsets(name, "room:a") == [1, 2, 3] for name in others), 60)
        for name in others:
            ids_are_stable(receiver, name)
            assert len(faulty.tries(name)) == 2
        assert not receiver.received["elsewhere"]
        first, second = faulty.tries("busy")
        assert second.at - first.at >= 4.0
        await receiver.until(lambda: receiver.offsets("poison", "room:a") == [1, 3], 60)
        assert len(faulty.tries("poison", 2)) == 5
        assert len(receiver.received["gone"]) <= 2  # both channels at once
        await _replay(server, faulty)
        assert {line["event"] for line in server.faults()} == {"webhook.off", "webhook.gave_up"}
        assert SECRET[6:] not in server.output
        assert receiver.url("") not in server.output
        assert await server.terminate() == 0


async def _replay(server: ServerProcess, faulty: Faulty) -> None:
    """Send the dead letter again: it stays while the endpoint refuses it."""
    status, page = await call(server, "GET", "/webhooks/poison/dead")
    (letter,) = page["letters"]
    assert (status, letter["channel"], letter["first"], letter["last"]) == (200, "room:a", 2, 2)
    assert letter["reason"] == "refused; last answer: refused (422)"
    status, body = await call(server, "POST", "/webhooks/poison/dead/replay", {"ids": [letter["id"]]})
    assert (status, body) == (200, {"replayed": 0, "gone": 0, "failed": "refused (422)", "more": True})
    faulty.mended = True
    status, body = await call(server, "POST", "/webhooks/poison/dead/replay", {"from": 0, "to": time.time() + 60})
    assert (status, body) == (200, {"replayed": 1, "gone": 0, "more": False})
    assert len({each.id for each in faulty.tries("poison", 2)}) == 1
    assert faulty.receiver.offsets("poison", "room:a") == [1, 3, 2]
    assert (await call(server, "GET", "/webhooks/poison/dead"))[1] == {"letters": []}


async def test_a_receiver_that_is_away(tmp_path: Path, receiver: WebhookReceiver) -> None:
    """For `WEBHOOK_OUTAGE_S` seconds: then it has everything, in order, and was not stormed meanwhile."""
    await receiver.close()
    told = setting(receiver.endpoint("crm"), receiver.endpoint("batched", batch=100))
    async with ServerProcess(tmp_path, {**API_ENV, **told}) as server:
        for name in ("crm", "batched"):
            await leads(server, name)
        rooms = [f"room:{number}" for number in range(8)]
        for room in rooms:
            await post(server, room, "a", "b", "c")
        await server.lines_of("webhook.down", 2)
        await asyncio.sleep(OUTAGE_S)
        await receiver.open()
        await receiver.until(
            lambda: all(receiver.offsets(name, room) == [1, 2, 3] for name in ("crm", "batched") for room in rooms),
            OUTAGE_S + 30,
        )
        assert len(receiver.received["crm"]) == 24
        assert all(each.body["type"] == "batch" for each in receiver.received["batched"])
        await server.lines_of("webhook.up", 2)
        await server.terminate()
    for name in ("crm", "batched"):
        ids_are_stable(receiver, name)


@pytest.mark.alone
async def test_thousands_of_channels_drain_evenly(tmp_path: Path, receiver: WebhookReceiver) -> None:
    """Each has two messages: no channel has its second before nearly all have their first, and each event comes once.
    The rate is printed."""
    count = CHANNELS
    held = asyncio.Event()

    async def hold(_: Received) -> int:
        await held.wait()
        return 204

    receiver.replies["crm"] = hold
    order: list[str] = []
    told = setting(receiver.endpoint("crm"))
    async with ServerProcess(tmp_path, {"MARU_MESSAGE_LOG": "memory", **API_ENV, **told}) as server:
        await leads(server, "crm")
        names = [f"room:{number}" for number in range(count)]
        for _ in range(2):
            for first in range(0, count, 1_000):
                body = {"author": {"id": "alice"}, "text": "hello", "channels": names[first : first + 1_000]}
                status, answer = await call(server, "POST", "/broadcast", body)
                assert (status, answer["failed"]) == (200, 0)
        began = time.monotonic()
        held.set()
        await receiver.until(lambda: len(receiver.taken["crm"]) == 2 * count, 90)
        took = time.monotonic() - began
        await server.terminate()
    order = [each.channel for each in receiver.taken["crm"]]
    first_half = set(order[: count + 16])
    assert len(first_half) >= count - 16
    assert len({each.id for each in receiver.received["crm"]}) == len(receiver.received["crm"]) == 2 * count
    print(f"\n{2 * count} requests about {count} channels in {took:.1f} s: {2 * count / took:.0f} a second")  # noqa: T201
