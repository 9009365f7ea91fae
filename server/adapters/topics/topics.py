"""Hints, signals and changes of rosters as payloads of a broker's topics, sealed by the cluster (ADR 0023).

A payload is `KIND SEAL BODY`, a letter, a seal of channel and the rest, and a space before and behind the seal.
"""

from collections.abc import Callable
from enum import Enum

import structlog

from server.adapters.refusals import Refusals
from server.adapters.seal import SEAL_CHARS, Seal
from server.adapters.topics.bus import Failed, TopicBus
from server.domain.channels import ChannelName

MAX_BYTES = 256 * 1024
"""Of a payload; the largest message takes less, however it is escaped. A longer one is not looked at."""

BODY = 1 + 1 + SEAL_CHARS + 1
"""Bytes before the body."""

_log = structlog.get_logger("maru.topics")


class Kind(Enum):
    """What a payload is, by its first byte."""

    EVENT = b"e"
    """An event of the log."""
    PLACE = b"p"
    """The place of an event that has no room: EPOCH OFFSET."""
    SIGNAL = b"s"
    ROSTER = b"r"


Take = Callable[[ChannelName, bytes], None]
"""Takes the body of a payload."""


class Topics:
    """Seals payloads, and passes on those with the seal, by kind. `refused` counts the others, which `on_refused` gets
    told of: an event may be in them."""

    def __init__(self, bus: TopicBus, seal: Seal) -> None:
        self.bus, self._seal = bus, seal
        self._takers: dict[Kind, Take] = {}
        self._refusals = Refusals()
        self.on_refused: Callable[[ChannelName], None] = lambda _channel: None
        bus.on_message = self._take

    @property
    def refused(self) -> int:
        """How many payloads were not believed."""
        return self._refusals.count

    def hear(self, kind: Kind, take: Take) -> None:
        """Let `take` have the bodies of this kind."""
        self._takers[kind] = take

    def fits(self, body: bytes) -> bool:
        """Say whether a body has room in a payload."""
        return BODY + len(body) <= self.bus.max_payload

    async def publish(self, channel: ChannelName, kind: Kind, body: bytes) -> None:
        """Publish a body. Raises `Unavailable`."""
        await self.bus.publish(channel, self.sealed(channel, kind, body))

    def tell(self, channel: ChannelName, kind: Kind, body: bytes, failed: Failed) -> None:
        """Publish a body without waiting."""
        self.bus.tell(channel, self.sealed(channel, kind, body), failed)

    def sealed(self, channel: ChannelName, kind: Kind, body: bytes) -> bytes:
        """Return a payload."""
        return b"%b %b %b" % (kind.value, self._seal.of(channel.encode(), b"%b %b" % (kind.value, body)), body)

    def _take(self, channel: ChannelName, payload: bytes) -> None:
        """Pass on a payload. Anybody who can publish may have sent it: no fault at it may end the listener."""
        try:
            self._pass_on(channel, payload)
        except Exception:  # noqa: BLE001  # whatever it is, it costs this payload alone
            _log.exception("topics.payload_failed", channel=channel)
            self.on_refused(channel)

    def _pass_on(self, channel: ChannelName, payload: bytes) -> None:
        letter, seal, body = payload[:1], payload[2 : BODY - 1], payload[BODY:]
        if len(payload) > MAX_BYTES or not self._seal.fits(seal, channel.encode(), b"%b %b" % (letter, body)):
            if self._refusals.add():
                _log.warning("topics.refused", channel=channel, refused=self.refused)
            self.on_refused(channel)
            return
        kind = _KINDS.get(letter)
        take = None if kind is None else self._takers.get(kind)
        if take is not None:  # else a newer version's
            take(channel, body)


_KINDS = {kind.value: kind for kind in Kind}
