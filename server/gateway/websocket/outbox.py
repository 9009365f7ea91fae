"""What is to be written in this turn of the event loop: joined to one write for each client.

A turn brings a client answers, events of several channels, pings. Each is put here in the order of the calls, and goes
out at the end of the turn in one write, so that a busy channel costs a client one `send` a turn and not one a message.
A message to one client waits for nothing but the rest of its turn; one to many, a little for what comes along with it.

The events of one channel that follow each other make a *batch*: their frames are joined once, and every member is given
the same bytes. Anything else to be written (an answer, another channel, a change of membership) ends the batch first,
so each client's order is the order of the calls.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from itertools import islice
from typing import Protocol

from server.ports.metrics import Metrics, Traffic

WRITES_PER_TURN = 512
"""Clients written to in one go, some 5 ms: pings and answers of others wait for no more of a large fan-out."""

CLIENTS_PER_WAIT = 64
"""A fan-out to so many clients is worth one turn of waiting for more to join it: some 10 us, of which it costs 700."""

WAITS = 16
"""Turns without anything new after which even the largest fan-out waits no more: a fifth of a millisecond."""

WAIT_S = 0.005
"""How long a fan-out waits at the most though more keeps coming; it takes longer by itself, and nothing else waits."""

RELIEF = 0.9
"""Over the process's bound, clients are cut until so much of it is in use: not one for every further message."""


class Outlet(Protocol):
    """A client's end of it."""

    queued: bytes | list[bytes] | None
    """Whole frames that are to be written in this turn, in order."""

    def flush(self) -> int:
        """Send what is queued; return how many bytes. Raises nothing."""

    def send_now(self, data: bytes) -> int:
        """Send whole frames, where nothing is queued; return how many bytes. Raises nothing."""

    def recount(self) -> int:
        """How many bytes wait in the transport, looked at now."""

    def cut(self) -> None:
        """Drop the connection with all that waits for it: the process needs the memory."""


Audience = Callable[[], Sequence[Outlet]]
"""Who is to get a batch; asked when it ends, since nobody comes or goes during one."""


class Outbox:
    """All that waits to be written, of every connection of an event loop; `limit` is in bytes.

    `congested` are the clients whose kernel buffers are full. `traffic.outbound_queued_bytes` is what waits for them
    in their transports, counted generously: what the kernel has taken since is subtracted when it is looked at again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int, traffic: Traffic, metrics: Metrics) -> None:
        self.congested: dict[Outlet, None] = {}
        self.traffic = traffic
        self._metrics = metrics
        self._limit = limit
        self._loop = loop
        # Who is told something of their own goes first, and never waits for a fan-out: dicts as ordered sets.
        self._prompt: dict[Outlet, None] = {}
        self._unwritten: deque[Outlet] = deque()
        self._scheduled = False
        self._wave = 0  # clients that are still to be written to before what came meanwhile
        self._casts = self._casts_seen = self._quiet_turns = 0
        self._waiting_since = 0.0
        self._settled: asyncio.Future[None] | None = None
        self._when_settled: list[Callable[[], None]] = []
        self._ephemeral = False
        self._key: Hashable = None
        self._frames: list[bytes] = []
        self._audience: Audience = tuple

    def post(self, outlet: Outlet, frame: bytes) -> None:
        """Write a frame to one client at the end of this turn."""
        if self._frames:
            self.end_batch()
        self._prompt[outlet] = None
        queued = outlet.queued
        if queued is None:
            outlet.queued = frame
        elif isinstance(queued, list):
            queued.append(frame)
        else:
            outlet.queued = [queued, frame]
        if not self._scheduled:
            self._schedule()

    def cast(self, key: Hashable, frame: bytes, audience: Audience, ephemeral: bool = False) -> None:
        """Write a frame to everybody in an audience at the end of this turn; an ephemeral one to those who keep up.

        Equal `key`: the same audience, and as ephemeral.
        """
        self._casts += 1
        if self._frames and self._key != key:
            self.end_batch()
        self._key, self._audience, self._ephemeral = key, audience, ephemeral
        self._frames.append(frame)
        if not self._scheduled:
            self._schedule()

    def end_batch(self) -> None:
        """Queue the open batch for its audience; to be called before that audience changes."""
        if self._frames:
            self._spread(0)

    def _spread(self, writes: int) -> int:
        """Give the open batch to its audience: to so many at once, for whom nothing may be queued; queue the rest.
        Return how many were written to."""
        frames, self._frames = self._frames, []
        shared = frames[0] if len(frames) == 1 else b"".join(frames)
        unwritten, congested, outlets, sent = self._unwritten, self.congested, 0, 0
        for outlet in self._audience():
            if self._ephemeral and outlet in congested:
                self._metrics.ephemeral_dropped(len(frames))
                continue
            outlets += 1
            if outlets <= writes:
                sent += outlet.send_now(shared)
                continue
            queued = outlet.queued
            if queued is None:
                outlet.queued = shared
                unwritten.append(outlet)
            elif isinstance(queued, list):
                queued.append(shared)
            else:
                outlet.queued = [queued, shared]
        self.traffic.deliveries += outlets * len(frames)
        self.traffic.sent_bytes += sent
        return min(outlets, writes)

    def when_settled(self, call: Callable[[], None]) -> None:
        """Call it once all that stands here now is with the transports."""
        self._when_settled.append(call)

    async def settled(self) -> None:
        """Wait until all that stands here now is with the transports, and at least until the next turn."""
        if not self._scheduled:
            await asyncio.sleep(0)
            return
        if self._settled is None:
            self._settled = self._loop.create_future()
        await asyncio.shield(self._settled)

    def _schedule(self) -> None:
        self._scheduled = True
        self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Write to those whose turn it is; the rest comes after what else the loop has to do."""
        try:
            self._write_prompt()
            if self._wave or not self._waits():
                self._write()
            if self.traffic.outbound_queued_bytes > self._limit:
                self._relieve()
        except Exception:
            self._frames = []  # whatever is wrong with one batch, the next turn must not meet it again
            raise
        finally:
            if self._prompt or self._unwritten or self._frames:
                self._loop.call_soon(self._turn)
            else:
                self._rest()

    def _rest(self) -> None:
        self._scheduled = False
        calls, self._when_settled = self._when_settled, []
        for call in calls:
            call()
        if self._settled is not None:
            self._settled.set_result(None)
            self._settled = None

    def _write_prompt(self) -> None:
        sent = 0
        for outlet in tuple(islice(self._prompt, WRITES_PER_TURN)):
            del self._prompt[outlet]
            sent += outlet.flush()
        self.traffic.sent_bytes += sent

    def _waits(self) -> bool:
        """Whether a fan-out is large enough for a look at what comes next, and that look has not been taken.

        While messages come in, each would else go out by itself: the first one's fan-out begins before the second one
        has got through its command.
        """
        clients = len(self._unwritten) + (len(self._audience()) if self._frames else 0)
        if clients < CLIENTS_PER_WAIT:
            return False
        now = self._loop.time()
        self._waiting_since = self._waiting_since or now
        self._quiet_turns = self._quiet_turns + 1 if self._casts == self._casts_seen else 0
        self._casts_seen = self._casts
        waited = now - self._waiting_since
        return self._quiet_turns < min(clients // CLIENTS_PER_WAIT, WAITS) and waited < WAIT_S

    def _write(self) -> None:
        """One turn of a wave: those who have something to be written when it begins. What comes meanwhile joins the
        writes that are still to be done, or waits for the next wave."""
        unwritten, sent, writes = self._unwritten, 0, WRITES_PER_TURN
        if not self._wave:
            if self._frames and not unwritten and not self._prompt:  # a batch alone: so nothing is queued for anybody
                writes -= self._spread(writes)
            else:
                self.end_batch()
            self._wave, self._waiting_since = len(unwritten), 0.0
        for _ in range(min(self._wave, writes)):
            sent += unwritten.popleft().flush()
            self._wave -= 1
        self.traffic.sent_bytes += sent

    def _relieve(self) -> None:
        """Look at what really waits; where it is too much, cut the fattest until it is not."""
        sizes = {outlet: outlet.recount() for outlet in self.congested}
        if self.traffic.outbound_queued_bytes <= self._limit:
            return
        for outlet in sorted(sizes, key=sizes.__getitem__, reverse=True):
            outlet.cut()
            if self.traffic.outbound_queued_bytes <= self._limit * RELIEF:
                break
