"""Signals between replicas of a test, heard as they are published, or when the test lets them go."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from server.domain.signals import Signal
from server.ports.signals import Signals


class DirectSignals(Signals):
    """Calls the acts of all replicas, in their order. While `held` is a list, signals wait in it; `published` keeps
    all."""

    def __init__(self) -> None:
        self.published: list[Signal] = []
        self.held: list[Signal] | None = None
        self._acts: list[tuple[type[Any], Callable[[Any], None]]] = []

    @property
    def dropped(self) -> int:
        return 0

    def on(self, kind: type[Any], act: Callable[[Any], None]) -> None:
        """As `Hearing.on`, for one more replica."""
        self._acts.append((kind, act))

    def publish(self, signal: Signal) -> None:
        self.published.append(signal)
        if self.held is not None:
            self.held.append(signal)
        else:
            self._hear(signal)

    def let_go(self) -> None:
        """Let the signals arrive that are held."""
        held, self.held = self.held or [], None
        for signal in held:
            self._hear(signal)

    def _hear(self, signal: Signal) -> None:
        for kind, act in self._acts:
            if isinstance(signal, kind):
                act(signal)

    async def listen(self) -> AsyncIterator[Signal]:
        """Nothing: the acts are called."""
        for signal in self.published[:0]:
            yield signal
