"""The signals of a single process: it hears each that it publishes, if it has subscribed to the channel."""

from collections.abc import AsyncIterator

from server.adapters.memory.broadcast import MemoryBroadcast
from server.adapters.signals import SignalQueue
from server.domain.signals import Signal
from server.ports.signals import SIGNALS_LIMIT, Signals


class MemorySignals(Signals):
    """Passes signals of the channels of `broadcast` through a bounded queue in this process."""

    def __init__(self, broadcast: MemoryBroadcast, limit: int = SIGNALS_LIMIT) -> None:
        self._broadcast, self._queue = broadcast, SignalQueue(limit)

    @property
    def dropped(self) -> int:
        """How many signals had no room in the queue."""
        return self._queue.dropped

    def publish(self, signal: Signal) -> None:
        """Queue the signal. Promises 1-4."""
        if self._broadcast.hears(signal.channel):
            self._queue.put(signal)

    def listen(self) -> AsyncIterator[Signal]:
        """Yield the signals, in the order in which they were published. Promises 2-4."""
        return self._queue.listen()
