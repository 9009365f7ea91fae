"""Being told of sessions that enter channels and leave them."""

from collections.abc import Collection
from typing import Protocol

from server.domain.channels import ChannelName
from server.domain.identity import Identity, SessionId
from server.domain.presence import Departure


class Attending(Protocol):
    """Is told in the step in which the membership has changed. Nothing here awaits, and nothing raises."""

    def hush(self, session: SessionId, channels: Collection[ChannelName]) -> None:
        """A new session resumes channels of which it is given no presence events. Few care."""
        return

    def entered(self, session: SessionId, identity: Identity, channel: ChannelName, told: bool | None) -> None:
        """A session is in the channel, perhaps for a while already. `told`: whether it is given presence events; None:
        as it was said at its CONNECT."""

    def left(self, session: SessionId, channel: ChannelName) -> None:
        """A session has left the channel, or was removed from it; or was not in it."""

    def ended(self, session: SessionId, channels: Collection[ChannelName], departure: Departure) -> None:
        """A session has ended, which was in these channels. May be told twice."""


class _Unheard(Attending):
    """Does nothing: the methods above have empty bodies."""


UNHEARD: Attending = _Unheard()  # type: ignore[abstract]  # the empty bodies are all that is needed
"""For parts that are used without presence."""


class Attendants(Attending):
    """Tells several, in their order."""

    def __init__(self, *attendants: Attending) -> None:
        self._attendants = [*attendants]

    def add(self, attendant: Attending) -> None:
        """Tell another one, too."""
        self._attendants.append(attendant)

    def hush(self, session: SessionId, channels: Collection[ChannelName]) -> None:
        """Tell all."""
        for attendant in self._attendants:
            attendant.hush(session, channels)

    def entered(self, session: SessionId, identity: Identity, channel: ChannelName, told: bool | None) -> None:
        """Tell all."""
        for attendant in self._attendants:
            attendant.entered(session, identity, channel, told)

    def left(self, session: SessionId, channel: ChannelName) -> None:
        """Tell all."""
        for attendant in self._attendants:
            attendant.left(session, channel)

    def ended(self, session: SessionId, channels: Collection[ChannelName], departure: Departure) -> None:
        """Tell all."""
        for attendant in self._attendants:
            attendant.ended(session, channels, departure)
