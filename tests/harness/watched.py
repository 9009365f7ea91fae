"""A server's metrics over time: a scrape, an event, another scrape."""

from collections.abc import Mapping
from typing import Any

from tests.clients.raw import RawSocket, handshake
from tests.harness.scrape import Samples, read, scraped
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.harness.waiting import polled

WAIT_S = 20.0


class Watched:
    """A server, and its numbers since a moment."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self._before: Samples = {}

    async def now(self) -> Samples:
        """A scrape."""
        return read(await scraped(self.server.internal_port))

    async def begin(self) -> None:
        """Count from here."""
        self._before = await self.now()

    async def grown(self, least: Mapping[str, float]) -> Samples:
        """Wait until each of these series has grown by a least amount; return the growth of all series."""
        growth: Samples = {}

        async def holds() -> bool:
            after = await self.now()
            growth.update({name: value - self._before[name] for name, value in after.items()})
            return all(growth[name] >= by for name, by in least.items())

        await polled(holds, WAIT_S, lambda: str({name: growth[name] for name in least}))
        return growth

    async def shows(self, **values: float) -> None:
        """Wait until these series have exactly these values."""
        shown: Samples = {}

        async def holds() -> bool:
            shown.update(await self.now())
            return values.items() <= shown.items()

        await polled(holds, WAIT_S, lambda: str({name: shown[name] for name in values}))

    async def open(self) -> RawSocket:
        """A client without a session."""
        return await RawSocket.open(self.server.port)

    async def chat(self, user: str = "alice", **how: Any) -> RawSocket:
        """A client with a session."""
        return await RawSocket.chat(self.server.port, how.pop("token", None) or token(user), **how)

    async def refused(self, path: str, **headers: str) -> int:
        """A handshake; return its status."""
        client = await RawSocket.dial(self.server.port)
        await client.send(handshake(path, headers=headers))
        status, _ = await client.response()
        client.vanish()
        return status


def closed(reason: str) -> str:
    """The series of connections that ended so."""
    return f'maru_connections_closed_total{{reason="{reason}"}}'


def refusals(reason: str) -> str:
    """The series of handshakes that were refused so."""
    return f'maru_admission_refusals_total{{reason="{reason}"}}'
