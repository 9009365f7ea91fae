"""Which endpoints of webhooks are open, and up to where each has a channel's events.

No append writes a debt: a channel owes an endpoint whatever is behind its place. A channel without a place has been
made since the endpoint was opened, and owes everything.
"""

from collections.abc import Sequence

import orjson

from server.adapters.nats.side import Side, token
from server.domain.channels import ChannelName
from server.domain.dispatching import Debt, covers
from server.domain.messages import Position
from server.domain.values import value


@value
class Place:
    """The place of an endpoint in a channel. `until`: the endpoint's patterns cover the channel no longer, and it is
    owed the events up to there. `seq` is the entry's, 0 for none."""

    delivered: Position
    until: int | None = None
    seq: int = 0


@value
class Endpoint:
    """An endpoint that is open: its patterns, and when it was opened last."""

    patterns: Sequence[str]
    opened: int
    seq: int


def owed(place: Place, channel: ChannelName, head: Position, start: int, patterns: Sequence[str]) -> Debt | None:
    """Return the debt of a channel with this head. `start`: the offset behind which the head's epoch began."""
    delivered = place.delivered
    if place.until is not None:
        return Debt(channel, delivered) if delivered.offset < place.until else None
    if not covers(patterns, channel):
        return None
    if delivered.epoch == head.epoch:
        return Debt(channel, delivered) if delivered.offset < head.offset else None
    begins = Position(head.epoch, min(delivered.offset, start)) if head.offset > start else None
    return Debt(channel, delivered, begins)


class Places:
    """The endpoints and their places, in the log's side stream."""

    def __init__(self, side: Side) -> None:
        self._side = side

    async def endpoint(self, endpoint: str) -> Endpoint | None:
        """Return an endpoint, if it is open."""
        kept = await self._side.last("hook", token(endpoint))
        if kept is None:
            return None
        fields = orjson.loads(kept.data)
        return Endpoint(fields["p"], fields["t"], kept.seq)

    async def keep(self, endpoint: str, patterns: Sequence[str], now: int) -> None:
        """Note that the endpoint is open."""
        await self._side.put({"n": endpoint, "p": list(patterns), "t": now}, "hook", token(endpoint))

    async def opened_before(self, then: int) -> list[str]:
        """Return the endpoints that were opened last before a time."""
        kept = [orjson.loads(each.data) for each in await self._side.all("hook")]
        return [fields["n"] for fields in kept if fields["t"] < then]

    async def forget(self, endpoint: str) -> None:
        """Forget the endpoint and its places."""
        await self._side.remove("hook", token(endpoint))
        await self._side.remove("debt", token(endpoint), ">")

    async def of(self, endpoint: str, channel: ChannelName) -> Place:
        """Return the endpoint's place in a channel."""
        kept = await self._side.last("debt", token(endpoint), token(channel))
        if kept is None:
            return Place(Position(self._side.epoch(channel, 0), 0))
        fields = orjson.loads(kept.data)
        return Place(Position(fields["e"], fields["o"]), fields["u"], kept.seq)

    async def move(self, endpoint: str, channel: ChannelName, place: Place) -> bool:
        """Write a place, if its entry is still the one that was read."""
        fields = {"e": place.delivered.epoch, "o": place.delivered.offset, "u": place.until}
        return await self._side.put(fields, "debt", token(endpoint), token(channel), after=place.seq)
