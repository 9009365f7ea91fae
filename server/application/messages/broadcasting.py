"""One message to many channels: each has an outcome of its own."""

import asyncio
from collections.abc import Iterator, Sequence

import structlog

from server.application.commands import Send
from server.application.messages.publisher import Publisher
from server.domain.appending import Appended
from server.domain.errors import Internal, MaruError, Unavailable
from server.domain.identity import Identity

IN_FLIGHT = 64
"""Messages of all broadcasts of a replica that are on their way to the log at once: the rest of the log's time is for
everybody else."""

BROADCAST_S = 10.0
"""After this long a broadcast tries no further channel. Each message has its own deadline, too."""

Outcome = Appended | MaruError

_log = structlog.get_logger("maru.api")


class Broadcaster:
    """Sends a message to many channels, `IN_FLIGHT` at once for all calls together."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._room = asyncio.Semaphore(IN_FLIGHT)

    async def send(self, identity: Identity, sends: Sequence[Send | MaruError], *, marks: bool = True) -> list[Outcome]:
        """Return the outcomes in the order of the messages; an error in place of a message is its outcome. Raises
        nothing for a single channel."""
        outcomes: list[Outcome] = [Unavailable("not tried")] * len(sends)
        left = iter(enumerate(sends))
        ends_at = asyncio.get_running_loop().time() + BROADCAST_S
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(IN_FLIGHT, len(sends))):
                workers.create_task(self._work(identity, left, outcomes, ends_at, marks))
        return outcomes

    async def _work(
        self,
        identity: Identity,
        left: Iterator[tuple[int, Send | MaruError]],
        outcomes: list[Outcome],
        ends_at: float,
        marks: bool,
    ) -> None:
        for place, send in left:
            outcomes[place] = send if isinstance(send, MaruError) else await self._send(identity, send, ends_at, marks)

    async def _send(self, identity: Identity, send: Send, ends_at: float, marks: bool) -> Outcome:
        async with self._room:
            if asyncio.get_running_loop().time() >= ends_at:
                return Unavailable(f"not tried: the broadcast took longer than {BROADCAST_S:g} s")
            try:
                return await self._publisher.send(identity, send, marks=marks)
            except MaruError as error:
                return error
            except Exception:  # noqa: BLE001  # a fault of one channel, and the others go on
                _log.exception("broadcast.failed", channel=send.channel)
                return Internal("the server failed; its log has the details")
