"""A stage for tests of the hub: one replica, members' inboxes, a log that can fail, and hints that arrive by hand."""

from collections.abc import Sequence
from dataclasses import dataclass

from server.domain.channels import ChannelName
from server.domain.events import Event
from server.domain.identity import SessionId
from server.domain.rings import EncodedEvent
from server.ports.broadcast import Hint
from tests.doubles.chaotic_broadcast import Broker, BrokerLink
from tests.doubles.faulty_log import FaultyLog
from tests.doubles.replica import Replica
from tests.doubles.samples import ROOM, new_message
from tests.doubles.virtual_time import turns

ALICE = SessionId("alice's")
BOB = SessionId("bob's")
FOREIGN = ChannelName("room:foreign")


@dataclass(frozen=True, slots=True)
class HubStage:
    """One replica over a log that can fail. A test puts the hints on the link by hand."""

    log: FaultyLog
    broker: Broker
    link: BrokerLink
    replica: Replica

    async def write(self, count: int, channel: ChannelName = ROOM, first: int = 1) -> list[Event]:
        """Append messages, and hint at none of them."""
        return [(await self.log.inner.append(new_message(first + i, channel))).event for i in range(count)]

    async def member(self, session: SessionId = ALICE, channel: ChannelName = ROOM) -> list[object]:
        """Host the channel and put a session into it; return its inbox."""
        inbox = self.replica.transport.connect(session)
        await self.replica.hub.host(channel)
        self.replica.transport.enter(session, channel)
        return inbox

    async def until(self, inbox: list[object], count: int) -> None:
        """Wait until `count` pushes have arrived, and then a little for those that must not."""
        await self.replica.transport.until(lambda: len(inbox) >= count)
        await turns(20)

    def hint(self, *hints: Hint) -> None:
        """Let hints arrive."""
        for hint in hints:
            self.link.arrive(hint)


def offsets(inbox: Sequence[object]) -> list[int]:
    """Return the offsets of the events in an inbox."""
    return [event.offset for event in inbox if isinstance(event, Event | EncodedEvent)]
