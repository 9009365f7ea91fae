"""Finding sessions by claims of their tokens."""

from collections.abc import Collection, Hashable
from typing import Generic, TypeVar

from server.application.sessions.session import Session

K = TypeVar("K", bound=Hashable)


class Index(Generic[K]):
    """Sessions by a key. Most keys have a single session, which stands there by itself: a set is larger than all that
    is kept of a session."""

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: dict[K, Session | set[Session]] = {}

    def add(self, key: K, session: Session) -> None:
        """Find the session by this key, too."""
        place = self._places.get(key)
        if place is None:
            self._places[key] = session
        elif isinstance(place, set):
            place.add(session)
        else:
            self._places[key] = {place, session}

    def discard(self, key: K, session: Session) -> None:
        """Find the session by this key no longer."""
        place = self._places.get(key)
        if place is session:
            del self._places[key]
        elif isinstance(place, set):
            place.discard(session)
            if not place:
                del self._places[key]

    def find(self, key: K) -> Collection[Session]:
        """Return the sessions of a key: a copy, since a caller may end each."""
        place = self._places.get(key)
        if place is None:
            return ()
        return tuple(place) if isinstance(place, set) else (place,)
