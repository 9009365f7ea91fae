"""A client's packets, from reading to the answer.

A packet takes one of two ways, and the order of the packets stays the order of their answers. A command in its ordinary
form is begun at once: it has no task, and several of a client's may be under way (`Lane`). Any other packet is handled
by a task, from a mailbox that exists only while it has work, once no command before it is under way.
"""

import time
from typing import Generic

from server.domain.drafts import Sender
from server.gateway.websocket.gate import Refused
from server.gateway.websocket.host import H
from server.gateway.websocket.lane import UNDER_WAY_LIMIT, Lane, Pending
from server.gateway.websocket.mailbox import Mailbox
from server.gateway.websocket.memory import UNCOUNTED_BYTES
from server.gateway.websocket.outbox import Outbox

AT_ONCE_PER_READ = 48
"""Commands of a read that are begun at once, in about 1 ms. Further commands go through the mailbox, which gives other
clients a turn."""


LARGE_FRAME = 4_096
"""Bytes of an answer that is much larger than the send that it belongs to."""


class PacketQueue(Generic[H]):
    """The packets of a connection that have been read, and are not answered yet."""

    __slots__ = {
        "_at_once": "How many commands of this read may still be begun at once.",
        "_counted": "Bytes of packets that the host has been told to hold.",
        "_host": "The connection.",
        "_lane": "Commands that are under way without a task, or None while there are none.",
        "_mailbox": "Packets that wait to be handled, or None while no packet is being handled.",
        "_outbox": "Is told while the mailbox or the lane has work: a fan-out may wait for its events.",
        "_read_at": "The monotonic time of this read. All its packets are judged as of then: if a send is refused, so"
        " are those behind it.",
    }

    def __init__(self, host: H, outbox: Outbox) -> None:
        self._host = host
        self._outbox = outbox
        self._mailbox: Mailbox | None = None
        self._lane: Lane | None = None
        self._at_once = self._counted = 0
        self._read_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether a packet that has been read is still to be handled or answered."""
        return self._mailbox is not None or self._lane is not None

    @property
    def under_way(self) -> bool:
        """Whether commands are under way without a task."""
        return self._lane is not None

    def has_room(self) -> bool:
        """Say whether few enough packets wait to be handled."""
        return self._mailbox is None or self._mailbox.has_room

    def begin_read(self) -> None:
        """Take note that the packets that come now are those of another read."""
        self._at_once = AT_ONCE_PER_READ
        self._read_at = time.monotonic()

    def put(self, packet: str) -> None:
        """Take a packet, or refuse it. The refusal has its place in the order of the answers, too."""
        host = self._host
        if self._mailbox is not None:
            self._put_behind(self._mailbox, packet)
            return
        gate = host.gate
        if gate is not None and (refused := gate.judge(host, packet, self._read_at)) is not None:
            if self._lane is None:
                host.write(refused.answer)
            else:
                self._work_off(refused)
            return
        begins = self._at_once > 0 and self._begins and host.events.may_begin()
        if begins and host.events.take_at_once(host, packet):
            self._at_once -= 1
        else:
            self._work_off(packet, tried=begins, judged=gate is not None)

    # With a task

    def _work_off(self, packet: str | Refused, *, tried: bool = False, judged: bool = True) -> None:
        """Begin to handle packets by a task."""
        mailbox = self._mailbox = Mailbox()
        mailbox.put(packet, judged=judged)
        self._count(mailbox)
        self._host.events.spawn(self._work(mailbox, tried=tried))

    def _put_behind(self, mailbox: Mailbox, packet: str) -> None:
        """Let a packet, or its refusal, wait behind others."""
        host = self._host
        gate = host.gate
        refused = None if gate is None else gate.judge(host, packet, self._read_at, behind=mailbox.refusals > 0)
        mailbox.put(refused or packet, judged=gate is not None)
        self._count(mailbox)
        if mailbox.is_full:
            host.reader.pause()

    async def _work(self, mailbox: Mailbox, *, tried: bool) -> None:
        """Handle packets in their order until there are none. `tried`: the first can't be begun at once."""
        host = self._host
        self._outbox.began()
        try:
            while (packet := await mailbox.next(host.writer)) is not None:
                self._count(mailbox)
                if mailbox.has_room:
                    host.reader.room_again(host)
                if self._lane is not None and self._lane.is_full:
                    await self._hold(mailbox, self._lane, UNDER_WAY_LIMIT // 2)
                packet = packet if mailbox.judged else self._judged(packet)
                if not isinstance(packet, str):
                    await self._answer_refused(mailbox, packet)
                elif tried or mailbox.skipped or not (self._begins and host.events.take_at_once(host, packet)):
                    if self._lane is not None:
                        await self._hold(mailbox, self._lane, 0)
                    await host.events.received(host, packet)
                    host.writer.flush_large()
                tried = False
        finally:
            self._outbox.finished()
        self._mailbox = None
        host.reader.room_again(host)
        host.end_if_done()

    def _count(self, mailbox: Mailbox) -> None:
        size = mailbox.bytes
        more = size - self._counted
        if more and (size == 0 or not -UNCOUNTED_BYTES < more < UNCOUNTED_BYTES):
            self._host.hold(more)
            self._counted = size

    def _judged(self, packet: str | Refused) -> str | Refused:
        """Judge a packet that came before the client had a session. If it has none now, it is told so later."""
        gate = self._host.gate
        if gate is None or not isinstance(packet, str):
            return packet
        return gate.judge(self._host, packet, self._read_at) or packet

    async def _answer_refused(self, mailbox: Mailbox, refused: Refused) -> None:
        """Write a refusal in its turn. From then on its client may know, and sends are judged by the rates alone."""
        if self._lane is not None:
            await self._hold(mailbox, self._lane, 0)
        self._host.write(refused.answer)
        mailbox.refusals -= refused.send

    async def _hold(self, mailbox: Mailbox, lane: Lane, target: int) -> None:
        """Let the packet that was taken out wait until at most `target` commands before it are under way. If one of
        them fails so that the client retries it, the packet is skipped."""
        mailbox.held = True
        await lane.shrunk(target)
        mailbox.held = False

    @property
    def skipped(self) -> bool:
        """Whether the packet that is being handled is to be skipped."""
        return self._mailbox is not None and self._mailbox.skipped

    def skip_waiting(self) -> None:
        """Skip every packet that is queued now. Call this after a command failed with `unavailable`: the client retries
        that command and the commands behind it."""
        if self._mailbox is not None:
            self._mailbox.skip_waiting()

    def drop(self) -> None:
        """Handle no further packets."""
        if self._mailbox is not None:
            self._mailbox.clear()
            self._count(self._mailbox)

    # Without a task

    @property
    def _begins(self) -> bool:
        """Whether a command may be begun at once: there is room for it, and the client reads its answers."""
        return (self._lane is None or self._lane.takes) and not self._host.writer.congested

    def begin(self, command: Pending) -> Sender:
        """Add a command to those that are under way without a task; return its sender for the log. Call `answer` once
        its `frame` is there, or `take_back` at once."""
        lane = self._lane
        if lane is None:
            lane = self._lane = Lane(self._write)
            self._outbox.began()
        lane.begin(command)
        return lane.sender

    def take_back(self) -> None:
        """Forget the command that was begun last, and that takes the other way."""
        if self._lane is not None:
            self._lane.take_back()
            self._drop_empty_lane(self._lane)

    def answer(self) -> None:
        """Write the answers that have come, in the order of their commands. If nothing is left, the connection ends,
        provided that it waited for this."""
        if self._lane is not None:
            self._lane.answer()
            self._drop_empty_lane(self._lane)
            self._host.end_if_done()

    def _write(self, frame: bytes) -> None:
        """Write an answer. Large ones, of messages that were sent before, are not held against a client that reads."""
        self._host.write(frame)
        if len(frame) >= LARGE_FRAME:
            self._host.writer.flush_large()

    def _drop_empty_lane(self, lane: Lane) -> None:
        if not lane:
            self._lane = None
            self._outbox.finished()
