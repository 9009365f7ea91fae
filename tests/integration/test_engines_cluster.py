"""Two real replicas over each engine: one order, and nothing acked lost or doubled, whatever happens to the engine.

The time to heal is printed: from the end of a fault until everybody has heard a message in every channel.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.clients.account import Entry, Outgoing, entry
from tests.clients.group import Group
from tests.clients.python import PyClient
from tests.clients.raw import RawSocket
from tests.clients.resident import Resident
from tests.conftest import Figure
from tests.harness.backend import API_ENV, call
from tests.harness.cluster import ready, status
from tests.harness.engines import ENGINES, Engine, Part
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.harness.waiting import pause, polled

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

EACH = 60
"""Messages of each member in a channel, as fast as they go."""

RATE = 120
SOME = 40
"""Messages a second of a talk, and how many of them are acked before a fault."""

HOLD_S = 1.5
"""A fault that does not end by itself."""

REFUSED_S = 2.0
"""In which a command is refused while the engine is away; and the time that a loaded machine takes on top."""
LOADED_S = 0.5

HEAL_S = 10.0
TOLD_S = 1.0
CUTS = 5

ASK_EVERY_S = 0.3

_numbers = count(1)


@dataclass(slots=True)
class Deployment:
    """Two replicas and their engine."""

    engine: Engine
    replicas: list[ServerProcess]

    async def client(self, replica: int, user: str, channel: str | None = None) -> RawSocket:
        """Connect, and join."""
        client = await RawSocket.chat(self.replicas[replica].port, token(user))
        if channel is not None:
            assert (await client.ask("channel:join", {"channel": channel}))["ok"]
        return client

    @asynccontextmanager
    async def group(self, channels: int = 3) -> AsyncIterator[Group]:
        """Two members at each replica, in channels that no other test uses. At the end all are held against the log."""
        number = next(_numbers)
        names = [f"room:{number}:{each}" for each in range(channels)]
        async with AsyncExitStack() as stack:
            group = Group(self.replicas[0].url, names, may_reset=self.engine.may_reset)
            for each in range(4):
                url = self.replicas[each % 2].url
                await group.enter(stack, f"py{each}", group.python(f"py{each}", url))
            yield group
            for channel in names:
                await group.check(channel, await self.log(channel))

    async def log(self, channel: str) -> list[Entry]:
        """All messages of a channel, by the pages of its history, which both replicas tell alike."""
        logs = []
        for replica in self.replicas:
            entries: list[Entry] = []
            async with PyClient(replica.url, token("auditor")) as auditor:
                more = True
                while more:
                    after = entries[-1][0] if entries else 0
                    ack = await auditor.ask("history:read", {"channel": channel, "after": after, "limit": 100})
                    entries += map(entry, ack["messages"])
                    more = ack["more"]
            logs.append(entries)
        assert logs[0] == logs[1]
        return logs[0]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=sorted(ENGINES))
async def deployment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Deployment]:
    """Both take part. A test that breaks something mends it."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(ENGINES[request.param](folder))
        replicas = []
        for name, on_top in (("one", {}), ("two", engine.of_second)):
            (folder / name).mkdir()
            env = {**engine.env, **API_ENV, "MARU_DRAIN_TIMEOUT": "2", **on_top}
            replicas.append(ServerProcess(folder / name, env))
            stack.push_async_exit(replicas[-1])
        await asyncio.gather(*(replica.start() for replica in replicas))
        await asyncio.gather(*map(ready, replicas))
        yield Deployment(engine, replicas)
        faults = [line for replica in replicas for line in replica.faults() if not was_outage(line)]
        assert not faults, "\n".join(f"{line.get('event')}: {line.get('exception', '')[-2_000:]}" for line in faults)


def was_outage(line: dict[str, Any]) -> bool:
    """Say whether a line tells of a channel that is left alone for a second, since the store was away for it alone: its
    connection was cut twice, and those of others were not."""
    return line.get("event") == "channel.quarantined" and "errors.Unavailable: " in line.get("exception", "")


async def test_one_order(deployment: Deployment, figure: Figure) -> None:
    """Of messages that four members send at once through both replicas: each hears the log, in its order, once."""
    async with deployment.group() as group:
        said = {
            user: [
                Outgoing(channel, f"{number}", f"{user}-{number}-{channel}")
                for number, channel in itertools.product(range(EACH), group.channels)
            ]
            for user in group.members
        }
        began = time.perf_counter()
        await group.speak(said, 32)
        figure(f"{group.acked / (time.perf_counter() - began):,.0f} messages/s acked")
    assert group.heard == len(group.channels) * group.acked * 4 // len(group.channels)


async def test_a_visitor_resumes(deployment: Deployment) -> None:
    """A member that was away while others talked hears all of it at its return, at the other replica."""
    async with deployment.group() as group:
        visitor = group.pythons[0]
        async with group.talking(RATE):
            await group.reach(SOME)
        await visitor.disconnect()
        texts = [Outgoing(channel, "while away", f"py1-away-{channel}") for channel in group.channels]
        await group.send("py1", texts, 1)
        visitor.move(deployment.replicas[1].url)
        await visitor.connect()
        assert visitor.connects == 2


class Asker:
    """Asks a replica for everything that needs the store, for as long as it is away."""

    def __init__(self, client: PyClient, channel: str) -> None:
        self._client, self._channel = client, channel
        self.outcomes: set[str] = set()
        self.slowest_s = 0.0

    async def ask(self, over: asyncio.Event) -> None:
        """Ask until it is over; what is answered later does not count."""
        for number in itertools.count():
            for command, payload in (
                ("message:send", {"channel": self._channel, "text": "anybody there?"}),
                ("channel:join", {"channel": f"{self._channel}:unknown-{number}"}),
                ("history:read", {"channel": self._channel}),
            ):
                began = time.perf_counter()
                ack = await self._client.command(command, payload)
                if over.is_set():
                    return
                self.slowest_s = max(self.slowest_s, time.perf_counter() - began)
                self.outcomes.add("ok" if ack["ok"] else ack["error"]["code"])
            if await pause(over, ASK_EVERY_S):
                return


async def asked(deployment: Deployment, strike: Callable[[], Awaitable[None]], name: str) -> str:
    """Strike the store and ask for as long as an answer may take: all is refused, in time, and replicas say that they
    are alive. Return the figure."""
    async with AsyncExitStack() as stack:
        askers = []
        for number, replica in enumerate(deployment.replicas):
            client = await stack.enter_async_context(PyClient(replica.url, token("asker")))
            askers.append(Asker(client, f"room:asked:{number}"))
        await strike()
        over = asyncio.Event()
        async with asyncio.TaskGroup() as asking:
            for asker in askers:
                asking.create_task(asker.ask(over))
            await pause(over, REFUSED_S + LOADED_S)
            lives = [await status(replica, "/livez") for replica in deployment.replicas]
            over.set()
        assert lives == [200, 200]
        outcomes, slowest_s = {each for asker in askers for each in asker.outcomes}, max(a.slowest_s for a in askers)
        assert outcomes == {"unavailable"} | ({"ok"} if name in deployment.engine.hints_only else set())
        assert slowest_s < REFUSED_S + LOADED_S
    return f"refused within {slowest_s:.2f} s"


async def killed(deployment: Deployment, name: str, part: Part) -> str:
    """`kill -9` and a restart, with refusals in between."""
    try:
        return await asked(deployment, part.kill, name)
    finally:
        await part.start()


async def frozen(deployment: Deployment, name: str, part: Part) -> str:
    """SIGSTOP for a while; nothing is to be asked meanwhile: hints that wait are no fault."""
    part.freeze()
    await pause(asyncio.Event(), HOLD_S)
    part.thaw()
    return ""


async def cut_off(deployment: Deployment, name: str, part: Part) -> str:
    """The connections of all replicas are closed, some times."""
    for _ in range(CUTS):
        await part.cut()
        await pause(asyncio.Event(), 0.2)
    return ""


@pytest.mark.parametrize("fault", [killed, frozen, cut_off])
async def test_a_fault_of_the_engine_under_load(
    deployment: Deployment, fault: Callable[[Deployment, str, Part], Awaitable[str]], figure: Figure
) -> None:
    """Of each of its parts: connections of clients stay, and all is well soon after; nothing acked is lost, nothing is
    there twice, everybody hears the same."""
    for name, part in deployment.engine.parts.items():
        async with deployment.group() as group:
            async with group.talking(RATE):
                await group.reach(SOME)
                told = await fault(deployment, name, part)
                healed_s = await group.probe()
                await group.reach(group.acked + SOME)
            assert [client.connects for client in group.members.values()] == [1] * 4
        figure(f"{name} {fault.__name__}: healed after {healed_s:.2f} s {told}")
        assert healed_s < HEAL_S


@pytest.mark.parametrize("freezes", [False, True])
async def test_a_fault_of_a_replica_under_load(deployment: Deployment, freezes: bool, figure: Figure) -> None:
    """It is killed by `kill -9` and started again, or stopped for a while: its clients miss nothing, the others notice
    nothing."""
    replica = deployment.replicas[0]
    async with deployment.group() as group:
        async with group.talking(RATE):
            await group.reach(SOME)
            if freezes:
                replica.freeze()
                await pause(asyncio.Event(), HOLD_S)
                replica.thaw()
            else:
                await replica.kill()
                await replica.start()
            healed_s = await group.probe()
            await group.reach(group.acked + SOME)
        assert [client.connects for client in group.members.values()] == ([1] * 4 if freezes else [2, 1] * 2)
    figure(f"replica {'frozen' if freezes else 'killed'}: healed after {healed_s:.2f} s")
    assert healed_s < HEAL_S


async def test_presence(deployment: Deployment) -> None:
    """Tabs at both replicas are one user, who joins and leaves once; also after the engine was away for a moment."""
    channel, ports = f"room:{next(_numbers)}", [replica.port for replica in deployment.replicas]
    witness = Resident("witness", channel, ports)
    tabs = [Resident("bob", channel, ports[number % 2 :]) for number in range(3)]
    await witness.arrive()
    try:
        for tab in tabs:
            await tab.arrive()
        await witness.hears("joined", "bob")
        for part in deployment.engine.parts.values():
            await part.cut()

        async def both() -> bool:
            shown = [await each.ask("presence:read") for each in (witness, tabs[1])]
            return all(
                answer["ok"] and {member["user"] for member in answer["members"]} == {"witness", "bob"}
                for answer in shown
            )

        await polled(both, HEAL_S, lambda: "both replicas show both users")
        for tab in tabs:
            await tab.leave()
        await witness.hears("left", "bob")
        assert [(name, user) for name, user, _ in witness.events] == [
            ("presence:joined", "bob"),
            ("presence:left", "bob"),
        ]
    finally:
        for resident in (witness, *tabs):
            resident.vanish()


async def test_what_is_unread(deployment: Deployment) -> None:
    """A mark is told to the other device at the other replica, which counts what is unread; an edit, a deletion and a
    reaction are heard there, too."""
    room = f"room:{next(_numbers)}"
    phone, desk = await deployment.client(0, "bob", room), await deployment.client(1, "bob", room)
    alice = await deployment.client(1, "alice", room)
    sent = [await alice.ask("message:send", {"channel": room, "text": f"{n}"}) for n in range(5)]
    assert (await phone.ask("read:mark", {"channel": room, "offset": 4}))["unread"] == 1
    assert await desk.event("read:updated") == {"channel": room, "user": "bob", "offset": 4}
    assert (await desk.ask("channel:join", {"channel": room}))["unread"] == 1
    message = {"channel": room, "id": sent[-1]["message"]["id"]}
    assert (await alice.ask("message:edit", message | {"text": "ho"}))["ok"]
    assert (await phone.event("message:edited"))["message"]["text"] == "ho"
    assert (await desk.ask("reaction:add", message | {"emoji": "👍"}))["ok"]
    assert (await phone.event("reaction:changed"))["reactions"]["👍"]["users"] == ["bob"]
    assert (await alice.ask("message:delete", message))["ok"]
    assert (await phone.event("message:deleted"))["message"]["id"] == message["id"]
    for client in (phone, desk, alice):
        client.vanish()


async def test_revocations(deployment: Deployment, figure: Figure) -> None:
    """In force at both replicas within a second, and at a replica that was down."""
    one, two = deployment.replicas
    stolen = token("eve", iat=int(time.time()) - 60)
    clients = [await RawSocket.chat(replica.port, stolen) for replica in deployment.replicas]
    began = time.monotonic()
    assert (await call(one, "POST", "/revocations", {"user": "eve"}))[0] == 201
    for client in clients:
        assert (await client.event("session:terminated"))["code"] == "token_revoked"
        client.vanish()
    took = time.monotonic() - began
    figure(f"told at both replicas after {took * 1e3:.0f} ms")
    assert took < TOLD_S
    await two.kill()
    assert (await call(one, "DELETE", "/channels/room:1/members/carol?deny_s=600"))[0] == 204
    await two.start()
    await ready(two)
    for replica in (one, two):
        eve = await RawSocket.open(replica.port)
        assert await eve.refused(stolen) == "token_revoked"
        eve.vanish()
        carol = await RawSocket.chat(replica.port, token("carol"))
        assert (await carol.ask("channel:join", {"channel": "room:1"}))["error"]["code"] == "permission_denied"
        carol.vanish()
