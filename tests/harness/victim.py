"""Clients that measure how long they wait for the server while others keep it busy.

A wait is measured in the processor time that the server uses meanwhile: as long as the wait if the server is busy, and
no longer when the machine has other things to do.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Protocol

from bench.processes import cpu_s
from tests.clients.raw import RawSocket, Refused, admitted
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

MIB = 1 << 20

PACE_S = 0.02
"""Between two questions."""

Ask = Callable[[RawSocket], Awaitable[None]]


class Victim:
    """A session that sends messages, and a client that connects again and again. `worst_send_s` and `worst_connect_s`
    are their longest waits in the server's processor time: they show a server that works for others meanwhile, and not
    one that idles. `sends` and `connects` say how often they asked, `refused` how often the answer was 503: a server
    that gets too little of the machine sends newcomers away."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._over = asyncio.Event()
        self.worst_send_s = self.worst_connect_s = 0.0
        self.sends = self.connects = self.refused = 0
        self._waits: list[float] = []

    @property
    def worst_s(self) -> float:
        """The longest wait of either."""
        return max(self.worst_send_s, self.worst_connect_s)

    def __str__(self) -> str:
        return f"worst send {self.worst_send_s * 1e3:.0f} ms, worst connect {self.worst_connect_s * 1e3:.0f} ms"

    @property
    def typical_send_s(self) -> float:
        """The wait for a send that 99 of 100 do not exceed."""
        return sorted(self._waits)[int(len(self._waits) * 0.99)]

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Measure while the body runs. Both are known to have been answered before it, and are answered after it."""
        session = await admitted(lambda: RawSocket.chat(self._server.port, token("victim", tier="free")))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self._send, session))
            group.create_task(self._repeat(self._connect, session))
            try:
                yield
            finally:
                self._over.set()
        await session.leave()

    async def _repeat(self, ask: Ask, session: RawSocket) -> None:
        last = False
        while not last:
            last = self._over.is_set()
            await ask(session)
            await asyncio.wait([asyncio.ensure_future(self._over.wait())], timeout=PACE_S)

    async def _send(self, session: RawSocket) -> None:
        began = self._cpu_s()
        assert (await session.ask("message:send", {"channel": "room:victim", "text": "x"}))["ok"]
        self._waits.append(self._cpu_s() - began)
        self.worst_send_s = max(self._waits)
        self.sends += 1

    async def _connect(self, _: RawSocket) -> None:
        began = self._cpu_s()
        try:
            newcomer = await RawSocket.chat(self._server.port, token("newcomer", tier="free"))
        except Refused as refused:
            if refused.status != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
            self.refused += 1
            return
        self.worst_connect_s = max(self.worst_connect_s, self._cpu_s() - began)
        self.connects += 1
        newcomer.vanish()

    def _cpu_s(self) -> float:
        return cpu_s([self._server.pid])


class Toll:
    """What the server pays from now on: processor time, memory and log."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._cpu_s, self._at = cpu_s([server.pid]), time.monotonic()
        self._memory, self._log = server.memory(), len(server.output)

    @property
    def memory(self) -> int:
        """Bytes that the process has grown by."""
        return self._server.memory() - self._memory

    @property
    def log(self) -> int:
        """Characters of log."""
        return len(self._server.output) - self._log

    def __str__(self) -> str:
        share = (cpu_s([self._server.pid]) - self._cpu_s) / (time.monotonic() - self._at)
        return f"CPU {share:.0%}, RSS {self.memory / MIB:+.1f} MiB, log {self.log / 1024:+.0f} KiB"


class Attacker(Protocol):
    """Something to be protected from."""

    async def run(self, sockets: int, seconds: float) -> None:
        """Attack for so long."""


WAIT_S = 0.5
"""The longest wait of a victim. Before these attacks were bounded, the worst of them took seconds."""

LATE_S = 0.15
"""A server whose loop is later than this is busy, and refuses newcomers. No attack alone may make it so."""

ATTACK_S = 1.0

ATTACKS = 15

GROWTH = 64 * MIB
"""Memory that an attack may take. It is there for the next."""

LOG_CHARS = MIB
"""Log that an attack of a second may write."""


async def unharmed(
    server: ServerProcess, attack: Attacker, figure: Callable[[str], None], sockets: int, seconds: float = ATTACK_S
) -> Toll:
    """Attack, and see that nobody else waits long, and that memory and log stay within bounds.

    On a machine that leaves the server too little time for a few questions meanwhile, the attack goes on."""
    victim, toll = Victim(server), Toll(server)
    async with victim.watching():
        for _ in range(ATTACKS):
            await attack.run(sockets, seconds)
            if min(victim.sends, victim.connects) > 2:
                break
        paid = str(toll)
    figure(f"{victim}, {paid}")
    assert victim.worst_s < (LATE_S if victim.refused else WAIT_S)
    assert min(victim.sends, victim.connects) > 2
    assert toll.memory < GROWTH
    assert toll.log < LOG_CHARS
    return toll
