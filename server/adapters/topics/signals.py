"""Signals over a broker's topics: beside the hints, so that a replica pays for the channels that it hosts only."""

from collections.abc import AsyncIterator

from server.adapters.signals import SignalQueue, decode_signal, encode_signal
from server.adapters.topics.topics import Kind, Topics
from server.domain.channels import ChannelName
from server.domain.signals import Signal
from server.ports.signals import SIGNALS_LIMIT, Signals


class TopicSignals(Signals):
    """Signals to every replica that hosts the channel and has the same seal."""

    def __init__(self, topics: Topics, limit: int = SIGNALS_LIMIT) -> None:
        self._topics, self._queue = topics, SignalQueue(limit)
        topics.hear(Kind.SIGNAL, self._take)

    @property
    def dropped(self) -> int:
        """How many signals had no room in the queue, or could not be sent."""
        return self._queue.dropped

    def publish(self, signal: Signal) -> None:
        """Publish behind everything published before. Promises 1-3."""
        body = encode_signal(signal)
        if self._topics.fits(body):
            self._topics.tell(signal.channel, Kind.SIGNAL, body, self._failed)
        else:
            self._failed()

    def listen(self) -> AsyncIterator[Signal]:
        """All signals. Promises 2-4."""
        return self._queue.listen()

    def _failed(self) -> None:
        self._queue.dropped += 1

    def _take(self, channel: ChannelName, body: bytes) -> None:
        signal = decode_signal(channel, body)
        if signal is not None:
            self._queue.put(signal)
