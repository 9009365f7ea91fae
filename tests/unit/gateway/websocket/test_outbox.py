"""What is written in one turn of the loop: in the order of the calls, in one piece, bounded for each and for all."""

import asyncio
import time
from collections.abc import Coroutine, Hashable
from typing import Any, TypeVar

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.channels import ChannelName
from server.domain.outcomes import CloseReason
from server.domain.pushes import SessionExpiring
from server.gateway.websocket import fan_out_wait, outbox
from server.gateway.websocket.fan_out_wait import (
    CLIENTS_PER_WAIT,
    COMMAND_TURNS,
    MAX_IDLE_TURNS,
    MIN_CLIENTS,
    WAIT_S,
)
from server.gateway.websocket.frames import CloseCode, frame
from server.gateway.websocket.heartbeat import PING
from server.gateway.websocket.outbox import FEW, WRITES_PER_TURN, Outbox
from server.gateway.websocket.writable import Audience, Writable, send_to_all
from server.gateway.websocket.writer import MAX_OUTBOUND
from server.ports.metrics import Metrics
from tests.doubles.samples import event
from tests.doubles.wired import Client, Wired, wired

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
CLIENTS = 4
CHANNELS = ("room:a", "room:b")
TEXT, CLOSE = 0x1, 0x8
ROOM = ChannelName("room:a")
T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], loop: str = "asyncio") -> T:
    """Run it on a new loop of that kind."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(work)


@pytest.fixture
def long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """No wait ends by its time limit, however slow the machine is."""
    monkeypatch.setattr(fan_out_wait, "WAIT_S", 60.0)


CROWD = 12
"""Clients of the property with small limits: six turns' writes."""


def steps_for(clients: int, max_size: int) -> "st.SearchStrategy[list[tuple[str, Any, Any]]]":
    """Steps of so many clients; the last client is slow."""
    client, size = st.integers(0, clients - 1), st.sampled_from((10, 900, 5_000))
    return st.lists(
        st.one_of(
            st.tuples(st.just("event"), st.sampled_from(CHANNELS), size),
            st.tuples(st.just("answer"), client, size),
            st.tuples(st.just("answers"), client, st.integers(2, clients)),
            st.tuples(st.just("enter"), client, st.sampled_from(CHANNELS)),
            st.tuples(st.just("leave"), client, st.sampled_from(CHANNELS)),
            st.tuples(st.just("turn"), st.integers(1, 3), st.none()),
            st.tuples(st.just("command"), st.booleans(), st.none()),
            st.tuples(st.just("read"), st.integers(0, clients - 2), st.sampled_from((1, 700, 20_000))),
        ),
        max_size=max_size,
    )


steps = steps_for(CLIENTS, 60)
crowd_steps = steps_for(CROWD, 40)


class Script:
    """Runs steps, and keeps for each client what it must be given, in order."""

    def __init__(self, scene: Wired) -> None:
        self._scene = scene
        self._number = 0
        self._under_way = 0
        self.due: list[list[bytes]] = [[] for _ in scene.clients]

    async def run(self, steps: list[tuple[str, Any, Any]]) -> None:
        """Do all steps, then let everything go out."""
        for index, member in enumerate(self._scene.clients):
            self._scene.enter(member, CHANNELS[index % 2])
        for name, first, second in steps:
            await getattr(self, name)(first, second)
        for _ in range(3):
            await self._scene.transport.settled()

    async def event(self, channel: str, size: int) -> None:
        """An event of a channel, through the outbox as the transport does it."""
        data, members = self._payload(size), self._scene.rooms.members(ChannelName(channel))
        receivers = [client.connection.writer for client in self._scene.clients if client.session in members]
        for index, client in enumerate(self._scene.clients):
            if client.session in members:
                self.due[index].append(data)
        if len(receivers) <= outbox.FEW:
            self._scene.outbox.write_few(receivers, frame(data))
        else:
            self._scene.outbox.write_all(channel, frame(data), lambda: receivers)

    async def answer(self, client: int, size: int) -> None:
        """An ack, or anything else to one client."""
        data = self._payload(size)
        self.due[client].append(data)
        self._scene.clients[client].connection.write(frame(data))

    async def answers(self, first: int, count: int) -> None:
        """A short answer to each of several clients."""
        for number in range(count):
            await self.answer((first + number) % len(self.due), 10)

    async def enter(self, client: int, channel: str) -> None:
        """A join."""
        self._scene.enter(self._scene.clients[client], channel)

    async def leave(self, client: int, channel: str) -> None:
        """A leave."""
        self._scene.rooms.leave(self._scene.clients[client].session, ChannelName(channel))

    async def turn(self, turns: int, _unused: None) -> None:
        """Let the loop run."""
        for _ in range(turns):
            await asyncio.sleep(0)

    async def command(self, begins: bool, _unused: None) -> None:
        """A command begins, or the last of them is done; some are never done."""
        if begins:
            self._under_way += 1
            self._scene.outbox.began()
        elif self._under_way:
            self._under_way -= 1
            self._scene.outbox.finished()

    async def read(self, client: int, size: int) -> None:
        """The client reads a bit, if there is something."""
        if len(self._scene.clients[client].frames()) < len(self.due[client]):
            await self._scene.transport.settled()
            await self._scene.clients[client].take(size)

    def _payload(self, size: int) -> bytes:
        self._number += 1
        return b"%06d" % self._number + b"." * size


async def read_all(client: Client, count: int = 1 << 20) -> list[bytes]:
    """Read so many frames, or to a close frame or the end of the stream; return the text frames' payloads."""
    while len(client.frames()) < count and CLOSE not in dict(client.frames()) and await client.take():
        pass
    return [payload for opcode, payload in client.frames() if opcode == TEXT]


async def order_holds(
    steps: list[tuple[str, Any, Any]], outbox_class: type[Outbox] = Outbox, clients: int = CLIENTS
) -> bool:
    """Whether every client, also the slow one, gets exactly what it must, in the order of the calls."""
    async with wired(clients, outbox_class=outbox_class) as scene:
        script = Script(scene)
        await script.run(steps)
        for client in scene.clients:
            client.connection.close(CloseCode.NORMAL, CloseReason.TERMINATED, "the end")
        got = [await read_all(client) for client in scene.clients]
        return got == script.due


@pytest.mark.parametrize("small", [2, 4])
@settings(max_examples=120, deadline=None)
@given(steps=crowd_steps)
def test_order_holds_whatever_has_to_wait(small: int, steps: list[tuple[str, Any, Any]]) -> None:
    """With limits of 2 nearly all that is written waits a turn; an audience of 2 passes a fan-out, or is one itself, or
    waits for commands."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (outbox, fan_out_wait):
            patch.setattr(module, "CLIENTS_PER_WAIT", small)
        patch.setattr(outbox, "WRITES_PER_TURN", 2)
        patch.setattr(fan_out_wait, "MIN_CLIENTS", 2)
        assert run(order_holds(steps, clients=CROWD))


@pytest.mark.parametrize("few", [0, 1, FEW])
@pytest.mark.parametrize("loop", LOOPS)
@settings(max_examples=60, deadline=None)
@given(steps=steps)
def test_order_is_the_order_of_the_calls(loop: str, few: int, steps: list[tuple[str, Any, Any]]) -> None:
    """Events of several channels, answers, joins and leaves in any mixture, turns and readers of any speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "FEW", few)
        assert run(order_holds(steps), loop)


class AnswersOvertake(Outbox):
    """Broken: an answer does not end the batch that is open."""

    def write_one(self, writer: Writable, frame: bytes) -> None:
        kept, self._frames = self._frames, []
        super().write_one(writer, frame)
        self._frames = kept


class ChannelsMix(Outbox):
    """Broken: another channel does not end the batch that is open."""

    def write_all(self, key: Hashable, frame: bytes, audience: Audience, ephemeral: bool = False) -> None:
        super().write_all("any", frame, audience, ephemeral)


class AnswersPassAWait(Outbox):
    """Broken: an answer is written at once though events wait for the client."""

    def write_one(self, writer: Writable, frame: bytes) -> None:
        self.end_batch()
        if writer in self._unwritten:
            send_to_all([writer], frame)
        else:
            super().write_one(writer, frame)


class TurnsForget(Outbox):
    """Broken: what a client has been queued is replaced by the next batch."""

    def end_batch(self) -> None:
        for writer in self._audience() if self._frames else ():
            if isinstance(writer.queued, list):
                writer.queued = None
        super().end_batch()


MIXED: list[tuple[str, Any, Any]] = [
    ("event", "room:a", 10),
    ("answer", 0, 10),
    ("event", "room:a", 10),
    ("enter", 0, "room:b"),
    ("event", "room:b", 10),
    ("event", "room:a", 10),
    ("event", "room:b", 10),
    ("answer", 0, 10),
    ("event", "room:a", 10),
]


@pytest.mark.parametrize("broken", [AnswersOvertake, AnswersPassAWait, ChannelsMix, TurnsForget])
def test_the_property_can_fail(broken: type[Outbox]) -> None:
    """Coalescing that is broken on purpose is noticed; the same steps hold with the real one."""
    steps = [("command", True, None), *MIXED]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fan_out_wait, "MIN_CLIENTS", 2)
        patch.setattr(outbox, "FEW", 0)
        assert run(order_holds(steps))
        assert not run(order_holds(steps, broken))


@pytest.mark.parametrize("loop", LOOPS)
def test_a_turn_is_one_write(loop: str) -> None:
    """Ten events, an answer and a ping of one turn reach a client in one piece."""

    async def scenario() -> None:
        async with wired(2) as scene:
            client = scene.clients[0]
            for other in scene.clients:
                scene.enter(other, "room:a")
            for _ in range(10):
                scene.outbox.write_all("room:a", frame(b"event"), lambda: [c.connection.writer for c in scene.clients])
            client.connection.write(frame(b"answer"))
            client.connection.write(PING)
            await scene.transport.settled()
            await scene.transport.settled()
            await client.take()
            assert [payload for _, payload in client.frames()] == [b"event"] * 10 + [b"answer", b"2"]
            assert scene.traffic.deliveries == 20

    run(scenario(), loop)


def test_a_lone_message_waits_for_its_turn_only() -> None:
    """What is delivered in one step of the loop is with the kernel after the next one."""

    async def scenario() -> None:
        async with wired(1) as scene:
            scene.enter(scene.clients[0], "room:a")
            scene.transport.deliver(event(1, channel=ROOM))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert scene.clients[0].peer.recv(1 << 16)

    run(scenario())


def test_a_large_fan_out_takes_turns() -> None:
    """Others have their turn after so many writes, and what they say meanwhile keeps its place behind."""

    async def scenario() -> None:
        count = WRITES_PER_TURN + 88
        async with wired(count) as scene:
            receivers = [client.connection.writer for client in scene.clients]
            scene.outbox.write_all("room:a", frame(b"event"), lambda: receivers)
            for _ in range(2 * MAX_IDLE_TURNS):
                if scene.traffic.sent_bytes:
                    break
                await asyncio.sleep(0)
            assert scene.traffic.sent_bytes == WRITES_PER_TURN * len(frame(b"event"))
            last = scene.clients[-1]
            last.connection.write(frame(b"answer"))
            await scene.transport.settled()
            assert await read_all(last, 2) == [b"event", b"answer"]
            assert scene.traffic.deliveries == count

    run(scenario())


def test_an_event_does_not_overtake_answers_of_a_crowd() -> None:
    """If more clients are answered in one turn than are written to, the last one's answer still precedes the event."""

    async def scenario() -> None:
        async with wired(WRITES_PER_TURN + 1) as scene:
            for client in scene.clients:
                client.connection.write(frame(b"answer"))
            last = scene.clients[-1]
            scene.outbox.write_all("room:a", frame(b"event"), lambda: [last.connection.writer])
            assert await read_all(last, 2) == [b"answer", b"event"]

    run(scenario())


def test_settled_waits_for_what_stands_there_now() -> None:
    """Though more clients are answered every turn than are written to, and the line never becomes empty."""

    async def scenario() -> None:
        async with wired(6) as scene:
            *crowd, last = scene.clients
            scene.enter(last, "room:a")
            for client in crowd:
                client.connection.write(frame(b"answer"))
            scene.transport.deliver(event(1, channel=ROOM))
            settled = asyncio.create_task(scene.transport.settled())
            for _ in range(10):
                if settled.done():
                    break
                for client in crowd:
                    client.connection.write(frame(b"answer"))
                await asyncio.sleep(0)
            assert settled.done()
            assert last.peer.recv(1 << 16)
            assert any(client.connection.writer.queued for client in crowd)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "WRITES_PER_TURN", 3)
        run(scenario())


def test_a_wait_may_be_cancelled() -> None:
    """Others that wait are told all the same, and what waits is written."""

    async def scenario() -> None:
        async with wired(1) as scene:
            scene.clients[0].connection.write(frame(b"answer"))
            given_up, waiting = (asyncio.create_task(scene.transport.settled()) for _ in range(2))
            asyncio.get_running_loop().call_soon(given_up.cancel)
            await asyncio.wait((given_up, waiting), timeout=5)
            assert given_up.cancelled()
            assert waiting.done()
            assert not waiting.cancelled()
            assert await read_all(scene.clients[0], 1) == [b"answer"]

    run(scenario())


def test_a_small_audience_does_not_wait_for_a_large_fan_out() -> None:
    """An event for three is written in its own turn, behind what waits for them, and before the others' share."""

    async def scenario() -> None:
        async with wired(80) as scene:
            everybody = [client.connection.writer for client in scene.clients]
            few = scene.clients[-3:]
            scene.outbox.write_all("room:a", frame(b"large"), lambda: everybody)
            for _ in range(MAX_IDLE_TURNS):
                if scene.traffic.sent_bytes:
                    break
                await asyncio.sleep(0)
            scene.outbox.write_all("room:b", frame(b"small"), lambda: [client.connection.writer for client in few])
            for _ in range(3):
                await asyncio.sleep(0)
            assert [await read_all(client, 2) for client in few] == [[b"large", b"small"]] * 3
            assert any(writer.queued for writer in everybody)
            await scene.transport.settled()
            assert await read_all(scene.clients[-4], 1) == [b"large"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "WRITES_PER_TURN", 4)
        run(scenario())


@pytest.mark.usefixtures("long_wait")
def test_a_large_fan_out_waits_for_those_that_come_along() -> None:
    """Messages that come turn by turn share one write for each of many members; each of a few gets its own."""

    async def scenario(count: int) -> int:
        async with wired(count) as scene:
            receivers = [client.connection.writer for client in scene.clients]
            writes = 0
            for _ in range(5):
                scene.outbox.write_all("room:a", frame(b"event"), lambda: receivers)
                before = scene.traffic.sent_bytes
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                writes += scene.traffic.sent_bytes > before
            await scene.transport.settled()
            assert await read_all(scene.clients[-1], 5) == [b"event"] * 5
            return writes

    assert run(scenario(CLIENTS_PER_WAIT * 4)) == 0
    assert run(scenario(CLIENTS_PER_WAIT - 1)) == 5


@pytest.mark.usefixtures("long_wait")
def test_nobody_waits_for_what_is_said_to_many() -> None:
    """An answer goes out in its own turn though a large fan-out is held back, and behind what stands before it."""

    async def scenario() -> None:
        async with wired(CLIENTS_PER_WAIT * 4) as scene:
            receivers = [client.connection.writer for client in scene.clients]
            member, stranger = scene.clients[0], scene.clients[-1]
            receivers.remove(stranger.connection.writer)
            for _ in range(3):
                scene.outbox.write_all("room:a", frame(b"event"), lambda: receivers)
                await asyncio.sleep(0)
            stranger.connection.write(frame(b"answer"))
            member.connection.write(frame(b"answer"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert scene.traffic.sent_bytes == 3 * len(frame(b"event")) + 2 * len(frame(b"answer"))
            assert await read_all(stranger, 1) == [b"answer"]
            assert await read_all(member, 4) == [b"event"] * 3 + [b"answer"]

    run(scenario())


def writers(scene: Wired) -> list[Writable]:
    """Return all clients' writing halves."""
    return [client.connection.writer for client in scene.clients]


async def one_by_one(scene: Wired, receivers: list[Writable], count: int) -> int:
    """Write events that come some turns apart, as those of commands do; return how many bytes have gone out."""
    for _ in range(count):
        scene.outbox.write_all("room:a", frame(b"event"), lambda: receivers)
        for _ in range(COMMAND_TURNS - 2):
            await asyncio.sleep(0)
    return scene.traffic.sent_bytes


@pytest.mark.parametrize("count", [MIN_CLIENTS, CLIENTS_PER_WAIT - 1, CLIENTS_PER_WAIT * 2])
@pytest.mark.usefixtures("long_wait")
def test_a_fan_out_waits_for_commands_under_way(count: int) -> None:
    """Events of commands that are handled turns apart share a write for each member, sent when no command is left."""

    async def scenario() -> None:
        async with wired(count) as scene:
            scene.outbox.began()
            assert await one_by_one(scene, writers(scene), 5) == 0
            scene.outbox.finished()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert scene.traffic.sent_bytes == count * 5 * len(frame(b"event"))
            assert await read_all(scene.clients[-1], 5) == [b"event"] * 5

    run(scenario())


def test_a_fan_out_does_not_wait_without_commands() -> None:
    """Neither if none is under way, nor if the audience is so small that a wait saves nothing."""

    async def scenario(count: int, commands: int) -> None:
        async with wired(count) as scene:
            for _ in range(commands):
                scene.outbox.began()
            for number in range(1, 4):
                scene.outbox.write_all("room:a", frame(b"event"), lambda: writers(scene))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert scene.traffic.sent_bytes == number * count * len(frame(b"event"))

    run(scenario(CLIENTS_PER_WAIT - 1, commands=0))
    run(scenario(MIN_CLIENTS - 1, commands=2))


@pytest.mark.usefixtures("long_wait")
def test_answers_do_not_wait_for_commands() -> None:
    """An answer goes out in its own turn though a fan-out waits for commands, and behind what stands before it."""

    async def scenario() -> None:
        async with wired(MIN_CLIENTS + 1) as scene:
            member, stranger = scene.clients[0], scene.clients[-1]
            members = writers(scene)[:-1]
            scene.outbox.began()
            assert await one_by_one(scene, members, 2) == 0
            stranger.connection.write(PING)
            member.connection.write(frame(b"answer"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert scene.traffic.sent_bytes == len(PING) + 2 * len(frame(b"event")) + len(frame(b"answer"))
            assert await read_all(member, 3) == [b"event", b"event", b"answer"]
            scene.outbox.finished()
            assert await read_all(scene.clients[1], 2) == [b"event"] * 2

    run(scenario())


def test_two_are_written_to_without_a_batch() -> None:
    """A direct message is given to both, counted, and in order with what comes before and after."""

    async def scenario() -> None:
        async with wired(FEW + 1) as scene:
            for client in scene.clients[:FEW]:
                scene.enter(client, event(1).channel)
            scene.outbox.began()  # a batch for more clients would wait for this command
            scene.outbox.write_all("room:all", frame(b"first"), lambda: writers(scene))
            scene.transport.deliver(event(1))
            scene.clients[0].connection.write(frame(b"last"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert scene.traffic.deliveries == 2 * FEW + 1
            first, direct, last = await read_all(scene.clients[0], 3)
            assert (first, last) == (b"first", b"last")
            assert await read_all(scene.clients[1], 2) == [b"first", direct]
            assert await read_all(scene.clients[FEW], 1) == [b"first"]
            scene.outbox.finished()

    run(scenario())


@pytest.mark.usefixtures("long_wait")
def test_a_small_audience_waits_behind_no_long_line() -> None:
    """If the fan-out's line takes more than a turn, an event for a few goes by the direct line, also while commands are
    under way."""

    async def scenario() -> None:
        async with wired(MIN_CLIENTS * 3) as scene:
            few = writers(scene)[-MIN_CLIENTS:]
            scene.outbox.began()
            scene.outbox.write_all("room:a", frame(b"large"), lambda: writers(scene)[:-MIN_CLIENTS])
            scene.outbox.write_all("room:b", frame(b"small"), lambda: few)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert scene.traffic.sent_bytes == MIN_CLIENTS * len(frame(b"small"))
            scene.outbox.finished()
            assert await read_all(scene.clients[0], 1) == [b"large"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "WRITES_PER_TURN", MIN_CLIENTS * 2)
        patch.setattr(outbox, "CLIENTS_PER_WAIT", MIN_CLIENTS + 1)
        run(scenario())


def test_a_fan_out_waits_for_a_time_and_not_for_turns() -> None:
    """Where the turns are long, because the loop has much to do, it is not held back for many of them."""

    async def scenario() -> None:
        async with wired(CLIENTS_PER_WAIT * 20) as scene:
            receivers = [client.connection.writer for client in scene.clients]
            turns = 0
            while not scene.traffic.sent_bytes:
                scene.outbox.write_all("room:a", frame(b"event"), lambda: receivers)
                busy_until = time.perf_counter() + WAIT_S / 2
                while time.perf_counter() < busy_until:
                    pass
                await asyncio.sleep(0)
                turns += 1
            assert turns <= 5

    run(scenario())


def test_a_fault_with_one_keeps_nobody_waiting() -> None:
    """Whatever is wrong with one audience, what is said after it goes out."""

    async def scenario() -> list[str]:
        faults: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(str(context["exception"])))

        def broken() -> list[Writable]:
            raise LookupError("no such audience")

        async with wired(1) as scene:
            scene.outbox.write_all("room:b", frame(b"event"), broken)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            scene.clients[0].connection.write(frame(b"answer"))
            assert await read_all(scene.clients[0], 1) == [b"answer"]
        return faults

    assert run(scenario()) == ["no such audience"]


def test_who_comes_gets_nothing_of_before() -> None:
    """An event delivered before a join, in the same turn, does not reach who joins; one after it does."""

    async def scenario() -> None:
        async with wired(2) as scene:
            first, second = scene.clients
            scene.enter(first, "room:a")
            scene.transport.deliver(event(1, channel=ROOM))
            scene.enter(second, "room:a")
            scene.transport.deliver(event(2, channel=ROOM))
            scene.rooms.leave(first.session, ChannelName("room:a"))
            scene.transport.deliver(event(3, channel=ROOM))
            await scene.transport.settled()
            assert [b'"offset":%d' % n in b"".join(await read_all(first, 2)) for n in (1, 2, 3)] == [True, True, False]
            assert [b'"offset":%d' % n in b"".join(await read_all(second, 2)) for n in (1, 2, 3)] == [
                False,
                True,
                True,
            ]

    run(scenario())


def test_what_is_said_before_a_close_arrives_before_it() -> None:
    """A close takes nothing away from what was said in the same turn."""

    async def scenario() -> None:
        async with wired(1) as scene:
            client = scene.clients[0]
            scene.enter(client, "room:a")
            scene.transport.push(client.session, SessionExpiring(0))
            scene.transport.deliver(event(1, channel=ROOM))
            client.connection.close(CloseCode.SERVICE_RESTART, CloseReason.DRAINING, "bye")
            scene.transport.deliver(event(2, channel=ROOM))
            await scene.transport.settled()
            await client.take()
            kinds = [opcode for opcode, _ in client.frames()]
            assert kinds == [TEXT, TEXT, CLOSE]

    run(scenario())


class Counting(Metrics):
    """Counts what the outbox tells."""

    def __init__(self) -> None:
        self.dropped = 0
        self.times: list[float] = []

    def ephemeral_dropped(self, count: int = 1) -> None:
        self.dropped += count

    def published_to_written(self, seconds: float) -> None:
        self.times.append(seconds)


def fill(scene: Wired, client: Client, bytes_each: int, count: int) -> None:
    """Say much to a client that does not read."""
    for _ in range(count):
        client.connection.write(frame(b"x" * bytes_each))


@pytest.mark.parametrize("loop", LOOPS)
def test_ephemeral_events_are_dropped_first(loop: str) -> None:
    """Who does not keep up goes without what is in no log, gets all of the log's, and others get both."""

    async def scenario() -> None:
        metrics = Counting()  # type: ignore[abstract]  # the other calls do nothing
        async with wired(2, metrics=metrics) as scene:
            slow, quick = scene.clients
            fill(scene, slow, 60_000, 8)
            for _ in range(3):
                await scene.transport.settled()
            receivers = [client.connection.writer for client in scene.clients]
            scene.outbox.write_all("whisper", frame(b"typing"), lambda: receivers, ephemeral=True)
            scene.outbox.write_all("room:a", frame(b"event"), lambda: receivers)
            await scene.transport.settled()
            assert await read_all(quick, 2) == [b"typing", b"event"]
            assert (await read_all(slow, 9))[8:] == [b"event"]
            assert metrics.dropped == 1

    run(scenario(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_reader_that_stops_is_cut_at_its_bound(loop: str) -> None:
    """Over a mebibyte the connection ends as slow; what it has been given until then was in order."""

    async def scenario() -> None:
        async with wired(1) as scene:
            client = scene.clients[0]
            for number in range(40):
                client.connection.write(frame(b"%06d" % number + b"x" * 60_000))
                await scene.transport.settled()
            assert client.connection.cause is CloseReason.SLOW_READER
            assert scene.traffic.outbound_queued_bytes <= MAX_OUTBOUND
            got = await read_all(client)
            assert [int(payload[:6]) for payload in got] == list(range(len(got)))

    run(scenario(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_over_the_bound_of_all_the_fattest_go_first(loop: str) -> None:
    """Four that do not read have together more than is allowed: the fattest are dropped, until the rest fits."""

    async def scenario() -> None:
        async with wired(5, limit=1 << 20) as scene:
            for client, count in zip(scene.clients, (2, 4, 6, 8, 1), strict=True):
                fill(scene, client, 50_000, count)
                await scene.transport.settled()
                await scene.transport.settled()
            gone = [client.connection.cause for client in scene.clients]
            assert gone == [None, None, None, None, None]
            fill(scene, scene.clients[3], 50_000, 6)
            for _ in range(3):
                await scene.transport.settled()
            assert [client.connection.cause for client in scene.clients] == [
                None,
                None,
                None,
                CloseReason.MEMORY_CAP,
                None,
            ]
            assert scene.traffic.outbound_queued_bytes <= (1 << 20) * 0.9

    run(scenario(), loop)


def test_the_part_of_the_bound_is_counted_anew() -> None:
    """What the kernel has taken since the last count waits no longer."""

    async def scenario() -> None:
        async with wired(2, limit=1 << 20) as scene:
            assert scene.outbox.memory.look() == 0
            fill(scene, scene.clients[0], 50_000, 10)
            for _ in range(3):
                await scene.transport.settled()
            full = scene.outbox.memory.look()
            assert 0.35 < full < 0.5
            async with asyncio.timeout(10):
                while len(scene.clients[0].read) < 100_000:
                    await scene.clients[0].take()
            assert scene.outbox.memory.look() < full - 0.05
            assert scene.outbox.memory.look() * (1 << 20) == scene.traffic.outbound_queued_bytes

    run(scenario())


def test_nothing_is_counted_of_those_who_are_gone() -> None:
    """What waited for a client that ends is not counted any more."""

    async def scenario() -> None:
        async with wired(1) as scene:
            fill(scene, scene.clients[0], 60_000, 8)
            for _ in range(3):
                await scene.transport.settled()
            assert scene.traffic.outbound_queued_bytes > 0
            scene.clients[0].connection.abort(CloseReason.PING_TIMEOUT, "gone")
            assert scene.traffic.outbound_queued_bytes == 0
            assert not scene.outbox.congested

    run(scenario())


def test_the_time_from_publishing_to_writing_is_told() -> None:
    """Once for each event that had a member."""

    async def scenario() -> None:
        metrics = Counting()  # type: ignore[abstract]
        async with wired(1, metrics=metrics) as scene:
            scene.enter(scene.clients[0], "room:a")
            scene.transport.deliver(event(1, channel=ROOM))
            scene.transport.deliver(event(2, channel=ROOM))
            scene.transport.deliver(event(1, channel=ChannelName("room:b")))
            await scene.transport.settled()
            assert len(metrics.times) == 2

    run(scenario())
