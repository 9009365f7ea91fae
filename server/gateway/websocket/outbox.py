"""Collects the frames of a turn of the event loop, and writes them in a single piece for each client.

A turn is an iteration of the event loop. In a turn a client may be sent answers, events of several channels and
pings. They are collected in the order of the calls, and written at the end of the turn with one `send`. So a busy
channel costs a client a system call per turn instead of a call per message. A frame for a client waits only
for the end of its turn. A frame for many clients waits a little longer, for others that may join it (`FanOutWait`).

Successive events of a channel make a *batch*: their frames are joined once, and every member is given the same bytes.
Everything else that is to be written (an answer, an event of another channel, a change of membership) ends the batch
first. So the order in which a client receives frames is the order of the calls.

There are two lines of clients to be written to: the direct line, and the fan-out for those of audiences that may wait.
A client may stand in both: whichever comes first takes everything that is queued for the client, in its order.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Hashable
from functools import partial
from itertools import islice

from server.gateway.websocket.fan_out_wait import CLIENTS_PER_WAIT, FanOutWait
from server.gateway.websocket.memory import MemoryBound
from server.gateway.websocket.settling import Place, Waits, finish
from server.gateway.websocket.writable import Audience, Writable, flush_all, send_to_all
from server.ports.metrics import ConnectionMetrics, Traffic

WRITES_PER_TURN = 512
"""Clients written to in a turn, about 5 ms. Then pings and answers of others come before the rest of a fan-out."""

FEW = 2
"""Clients that are written to as if the frame were for each alone: two people who talk, or one on two devices."""


class Outbox:
    """Everything that waits to be written, of all connections of an event loop. `limit` is that of `MemoryBound`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limit: int, traffic: Traffic, metrics: ConnectionMetrics
    ) -> None:
        self.memory = MemoryBound(loop, limit, traffic)
        self.congested = self.memory.congested
        self.traffic = traffic  # running totals: bytes, deliveries
        self.wait = FanOutWait(loop.time)  # decides whether the fan-out waits for more events
        self._metrics = metrics
        self._loop = loop
        # Clients with a frame of their own, or of an urgent batch, among what is queued. They wait for no fan-out.
        self._direct: dict[Writable, None] = {}
        self._unwritten: deque[Writable] = deque()  # clients for whom a batch is queued, in the order of the batches
        self._in_progress = 0  # clients at the front of `_unwritten` that come before events that begin to wait now
        self._scheduled = False  # whether a turn is due
        self._written = Place(0, 0)  # clients taken out of each line, in all
        self._waits = Waits()  # for what waited at a certain moment
        # The open batch; it is open if it has frames.
        self._frames: list[bytes] = []
        self._key: Hashable = None
        self._audience: Audience = tuple
        self._ephemeral = False

    def write_one(self, writer: Writable, frame: bytes) -> None:
        """Write a frame to a client at the end of this turn."""
        if self._frames:
            self.end_batch()
        self._direct[writer] = None
        queued = writer.queued
        if queued is None:
            writer.queued = frame
        elif isinstance(queued, list):
            queued.append(frame)
        else:
            writer.queued = [queued, frame]
        if not self._scheduled:
            self._schedule()

    def write_few(self, writers: Collection[Writable], frame: bytes) -> None:
        """Write a frame to each of at most `FEW` clients at the end of this turn: a batch would cost more."""
        for writer in writers:
            self.write_one(writer, frame)
        self.traffic.deliveries += len(writers)

    def write_all(self, key: Hashable, frame: bytes, audience: Audience, ephemeral: bool = False) -> None:
        """Write a frame to every client of an audience soon. An ephemeral frame is not written to congested clients.

        Equal keys must mean the same audience and the same `ephemeral`.
        """
        if self._frames and self._key != key:
            self.end_batch()
        if self._frames:
            self.wait.joined()
        else:
            self.wait.opened(key)
        self._key, self._audience, self._ephemeral = key, audience, ephemeral
        self._frames.append(frame)
        if not self._scheduled:
            self._schedule()

    def end_batch(self) -> None:
        """Queue the open batch for its audience. Call this before that audience changes."""
        if self._frames:
            self._write_batch(0)

    def began(self) -> None:
        """Count a command, or a client with commands, that is under way now: a fan-out may wait for its event."""
        self.wait.under_way += 1

    def finished(self) -> None:
        """Count it no more. Call this once for each call of `began`, however the command ends."""
        self.wait.under_way -= 1

    def when_settled(self, call: Callable[[], None]) -> None:
        """Make a call when everything that waits here now has been given to the transports, whatever comes then."""
        self._waits.add(call, None if self._frames else self._end_of_lines())
        if not self._scheduled:
            self._schedule()

    async def settled(self) -> None:
        """Wait until everything that waits here now has been given to the transports, and for a turn at least."""
        if not self._scheduled:
            await asyncio.sleep(0)
            return
        settled = self._loop.create_future()
        self.when_settled(partial(finish, settled))
        await settled

    def _end_of_lines(self) -> Place:
        return Place(self._written.direct + len(self._direct), self._written.fan_out + len(self._unwritten))

    def _schedule(self) -> None:
        self._scheduled = True
        self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Write this turn's share; schedule another turn for the rest, if there is any."""
        try:
            if self._frames and (self._direct or self._unwritten) and self._is_urgent(len(self._audience())):
                self.end_batch()
            if self._direct:
                self._write_direct()
            if (self._unwritten or self._frames) and (self._in_progress or not self._should_wait()):
                self._write_fan_out()
            self.memory.check()
        except Exception:
            self._frames = []  # whatever is wrong with a batch, the next turn must not meet it again
            raise
        finally:
            self._finish_turn()

    def _finish_turn(self) -> None:
        if self._waits.for_batch and not self._frames:
            self._waits.batch_ended(self._end_of_lines())  # a fault has ended it
        if not self._unwritten and not self._frames:
            self.wait.end()  # a batch that has waited may have gone by the direct line
        self._scheduled = bool(self._direct or self._unwritten or self._frames)
        if self._scheduled:
            self._loop.call_soon(self._turn)
        self._waits.make_calls(self._written)

    def _is_urgent(self, clients: int) -> bool:
        """Return whether a batch goes by the direct line: it is for few clients, and either waits for no commands, or
        would wait behind more clients than are written to in a turn."""
        if clients >= CLIENTS_PER_WAIT:
            return False
        behind_many = self._in_progress > 0 or len(self._unwritten) + clients > WRITES_PER_TURN
        return behind_many or not self.wait.is_for_commands(clients)

    def _write_direct(self) -> None:
        writers = tuple(islice(self._direct, WRITES_PER_TURN))
        for writer in writers:
            del self._direct[writer]
        self._written.direct += len(writers)
        self.traffic.sent_bytes += flush_all(writers)

    def _should_wait(self) -> bool:
        """Return whether the fan-out is to wait for a further turn."""
        return self.wait.goes_on(len(self._unwritten) + (len(self._audience()) if self._frames else 0))

    def _write_fan_out(self) -> None:
        """Write to the clients of the fan-out in progress, or begin with those for whom a batch is queued now.

        Frames that come meanwhile join the writes that are still to be done, or wait for the next fan-out.
        """
        unwritten, writes = self._unwritten, WRITES_PER_TURN
        if not self._in_progress:
            if self._frames and not unwritten and not self._direct:  # nothing is queued for anybody
                writes -= self._write_batch(writes)
            else:
                self.end_batch()
            self._in_progress = len(unwritten)
            self.wait.end()
        count = min(self._in_progress, writes)
        self._in_progress -= count
        self._written.fan_out += count
        self.traffic.sent_bytes += flush_all([unwritten.popleft() for _ in range(count)])

    def _write_batch(self, writes: int) -> int:
        """Write the batch directly to the first `writes` clients of its audience, and queue it for the others.

        Nothing may be queued for those first clients. Returns the number of direct writes.
        """
        frames, self._frames = self._frames, []
        shared = frames[0] if len(frames) == 1 else b"".join(frames)
        audience = self._receivers(len(frames))
        sent = send_to_all(islice(audience, writes), shared)
        urgent = len(audience) <= writes or self._is_urgent(len(audience))
        if not urgent:
            self.wait.queued(self._key)
        for writer in islice(audience, writes, None):
            queued = writer.queued
            if urgent:
                self._direct[writer] = None
            elif queued is None:
                self._unwritten.append(writer)
            if queued is None:
                writer.queued = shared
            elif isinstance(queued, list):
                queued.append(shared)
            else:
                writer.queued = [queued, shared]
        if not self._ephemeral:
            self.traffic.deliveries += len(audience) * len(frames)
        self.traffic.sent_bytes += sent
        if self._waits.for_batch:
            self._waits.batch_ended(self._end_of_lines())
        return min(len(audience), writes)

    def _receivers(self, frames: int) -> Collection[Writable]:
        """Return the batch's audience; if the batch is ephemeral, without the congested, and count what they miss."""
        audience = self._audience()
        if not self._ephemeral:
            return audience
        receivers = [writer for writer in audience if writer not in self.congested]
        for _ in range(len(audience) - len(receivers)):
            self._metrics.ephemeral_dropped(frames)
        return receivers
