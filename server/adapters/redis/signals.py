"""Signals over Redis pub/sub: on the topics of the hints, so that a replica pays for the channels that it hosts only.

A payload is `~SEAL SIGNAL`; no hint begins with `~`. SEAL is that of the topic and the signal (seal.py): nobody else
can make a signal, although others may publish.
"""

from collections.abc import AsyncIterator, Callable

import structlog

from server.adapters.redis.bus import SIGNAL_MARK, RedisBus
from server.adapters.refusals import Refusals
from server.adapters.rosters import ROSTER_BEGINNING
from server.adapters.seal import SEAL_CHARS, Seal
from server.adapters.signals import MAX_BYTES, SignalQueue, decode_signal, encode_signal
from server.domain.channels import ChannelName
from server.domain.signals import Signal
from server.ports.signals import SIGNALS_LIMIT, Signals

BEGINNING = len(SIGNAL_MARK) + SEAL_CHARS + 1
"""Bytes before the signal itself."""

_log = structlog.get_logger("maru.redis")


class RedisSignals(Signals):
    """Signals to every replica that hosts the channel and has the same `seal`. `on_roster` gets the changes of rosters,
    which scripts publish (roster.lua)."""

    def __init__(self, bus: RedisBus, seal: Seal, limit: int = SIGNALS_LIMIT) -> None:
        self._bus, self._seal, self._queue = bus, seal, SignalQueue(limit)
        self._refusals = Refusals()
        self.on_roster: Callable[[ChannelName, bytes], None] = lambda _channel, _change: None
        bus.on_signal = self._take

    @property
    def dropped(self) -> int:
        """How many signals had no room in the queue, or could not be sent."""
        return self._queue.dropped

    @property
    def refused(self) -> int:
        """How many signals were not believed."""
        return self._refusals.count

    def publish(self, signal: Signal) -> None:
        """Publish behind everything published before. Promises 1-3."""
        topic = self._bus.topic(signal.channel)
        self._bus.tell(topic, sealed(encode_signal(signal), topic, self._seal), self._failed)

    def listen(self) -> AsyncIterator[Signal]:
        """All signals. Promises 2-4."""
        return self._queue.listen()

    def _failed(self) -> None:
        self._queue.dropped += 1

    def _take(self, topic: str, payload: bytes) -> None:
        signal = payload[BEGINNING:]
        seal = payload[len(SIGNAL_MARK) : BEGINNING - 1]
        if len(signal) > MAX_BYTES or not self._seal.fits(seal, topic.encode(), SIGNAL_MARK + signal):
            if self._refusals.add():
                _log.warning("signal.refused", topic=topic, refused=self._refusals.count)
            return
        channel = self._bus.channel_of(topic)
        if signal.startswith(ROSTER_BEGINNING):
            self.on_roster(channel, signal)
            return
        known = decode_signal(channel, signal)
        if known is not None:
            self._queue.put(known)


def sealed(signal: bytes, topic: str, seal: Seal) -> bytes:
    """Return the payload of a signal. The mark is sealed with it: no seal of a hint fits a signal."""
    return b"%b%b %b" % (SIGNAL_MARK, seal.of(topic.encode(), SIGNAL_MARK + signal), signal)
