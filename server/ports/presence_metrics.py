"""Counting what happens to presence."""

from typing import Protocol


class PresenceMetrics(Protocol):
    """How presence goes. The promises of `Metrics` hold."""

    def presence_told(self, kind: str) -> None:
        """The members of a channel were told that a user `joined` or `left`, or were told a `count`."""
        ...

    def presence_hole(self) -> None:
        """A change of a roster was missed; the roster is read again."""
        ...


class _Uncounted(PresenceMetrics):
    """Counts nothing: the methods above have empty bodies."""


UNCOUNTED: PresenceMetrics = _Uncounted()  # type: ignore[abstract]  # the empty bodies are all that is needed
"""For parts that are used without metrics."""
