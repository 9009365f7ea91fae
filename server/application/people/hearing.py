"""Hearing: signals of all replicas, each given to the use case of its kind."""

from collections.abc import Callable
from typing import Any, TypeVar

import structlog

from server.domain.signals import Signal
from server.ports.signals import Signals

S = TypeVar("S", bound=Signal)

_log = structlog.get_logger("maru.signals")


class Hearing:
    """Listens to the signals of the channels that are hosted here."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._acts: dict[type[Any], Callable[[Any], None]] = {}  # by the kind of signal

    def on(self, kind: type[S], act: Callable[[S], None]) -> None:
        """Let `act` have the signals of a kind. Nobody else has them. It must not wait for anything."""
        self._acts[kind] = act

    async def run(self) -> None:
        """Listen, until cancelled. A signal that can't be acted upon costs the others nothing."""
        async for signal in self._signals.listen():
            act = self._acts.get(type(signal))
            if act is None:
                continue
            try:
                act(signal)
            except Exception:  # noqa: BLE001  # whatever it is, it costs this signal alone
                _log.exception("signal.failed", channel=signal.channel, kind=type(signal).__name__)
