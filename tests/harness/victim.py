"""Clients that measure how long they wait for the server while others keep it busy.

A wait is measured in the processor time that the server uses meanwhile: as long as the wait if the server is busy, and
no longer when the machine has other things to do.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from bench.processes import cpu_s
from tests.clients.raw import RawSocket
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

PACE_S = 0.02
"""Between two questions."""

Ask = Callable[[RawSocket], Awaitable[None]]


class Victim:
    """A session that sends messages, and a client that connects again and again. `worst_send_s` and `worst_connect_s`
    are their longest waits in the server's processor time: they show a server that works for others meanwhile, and not
    one that idles. `sends` and `connects` say how often they asked."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._over = asyncio.Event()
        self.worst_send_s = self.worst_connect_s = 0.0
        self.sends = self.connects = 0

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Measure while the body runs. Both are known to have been answered before it, and are answered after it."""
        session = await RawSocket.chat(self._server.port, token("victim", tier="free"))
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
        self.worst_send_s = max(self.worst_send_s, self._cpu_s() - began)
        self.sends += 1

    async def _connect(self, _: RawSocket) -> None:
        began = self._cpu_s()
        newcomer = await RawSocket.chat(self._server.port, token("newcomer", tier="free"))
        self.worst_connect_s = max(self.worst_connect_s, self._cpu_s() - began)
        self.connects += 1
        newcomer.vanish()

    def _cpu_s(self) -> float:
        return cpu_s([self._server.pid])
