"""Namespaces and rooms for python-socketio's managers, linear in what a client has joined.

The stock manager walks every room when a client leaves, keeps a room of its own per client, and counts a client as a
member of its namespace before it is admitted. Here a room is a dict `sid -> eio_sid`, a client's rooms are known, and
only `admit` makes a member.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import socketio

_NOBODY: Mapping[str, str] = {}


class Rooms(socketio.AsyncManager):  # type: ignore[misc]  # python-socketio ships no types
    """A client manager for one process; mix it in before another manager to give that one its rooms."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sids: dict[str, dict[str, str]] = {}
        self._joined: dict[str, tuple[str, ...]] = {}
        self._audiences: dict[str, list[Any]] = {}

    # What the gateway uses

    def admit(self, eio_sid: str, namespace: str) -> str:
        """Make a connection a member of the namespace; return its new `sid`."""
        sid: str = self.server.eio.generate_id()
        self.rooms.setdefault(namespace, {}).setdefault(None, {})[sid] = eio_sid
        self._sids.setdefault(namespace, {})[eio_sid] = sid
        self._joined[sid] = ()
        return sid

    def members(self, namespace: str, room: str) -> Mapping[str, str]:
        """The room's members, `sid -> eio_sid`; not a copy."""
        found: Mapping[str, str] = self.rooms.get(namespace, {}).get(room, _NOBODY)
        return found

    def audience(self, namespace: str, room: str) -> Sequence[Any]:
        """The connections of a room's members; kept until somebody comes or goes, for rooms with much to say."""
        found = self._audiences.get(room)
        if found is None:
            sockets = self.server.eio.sockets
            members = self.members(namespace, room).values()
            found = [sockets[eio_sid] for eio_sid in members if eio_sid in sockets]
            if found:
                self._audiences[room] = found
        return found

    def joined(self, sid: str) -> Collection[str]:
        """The rooms that a client is in."""
        return self._joined.get(sid, ())

    # What python-socketio calls

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """Members of a room, of several, of everybody (None), or one client by its `sid`."""
        rooms = self.rooms.get(namespace, {})
        names: list[Any] = [room] if room is None or isinstance(room, str) else list(room)
        found: dict[str, str] = {}
        for name in names:
            if name in rooms:
                found |= rooms[name]
            elif name in rooms.get(None, {}):
                found[name] = rooms[None][name]
        yield from found.items()

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        """The connection's client in the namespace."""
        return self._sids.get(namespace, {}).get(eio_sid)

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        """The client's connection."""
        found: str | None = self.rooms.get(namespace, {}).get(None, _NOBODY).get(sid)
        return found

    def is_connected(self, sid: str, namespace: str) -> bool:
        """Whether the client is a member of the namespace."""
        return self.eio_sid_from_sid(sid, namespace) is not None

    def basic_enter_room(self, sid: str, namespace: str, room: str, eio_sid: str | None = None) -> None:
        """Add a member of the namespace to a room; one that is gone is not added."""
        if not room or not isinstance(room, str):
            raise ValueError("a room has a name")
        member = self.eio_sid_from_sid(sid, namespace)
        if member is None or room in self._joined[sid]:
            return
        self.rooms[namespace].setdefault(room, {})[sid] = member
        self._audiences.pop(room, None)
        self._joined[sid] += (room,)

    def basic_leave_room(self, sid: str, namespace: str, room: str) -> None:
        """Take a client out of a room; a room without members does not exist."""
        joined = self._joined.get(sid, ())
        if room not in joined:
            return
        self._joined[sid] = tuple(name for name in joined if name != room)
        self._drop(sid, namespace, room)

    def basic_disconnect(self, sid: str, namespace: str, **_: Any) -> None:
        """Take a client out of its rooms and of the namespace."""
        eio_sid = self.eio_sid_from_sid(sid, namespace)
        if eio_sid is None:
            return
        for room in self._joined.pop(sid):
            self._drop(sid, namespace, room)
        self._drop(sid, namespace, None)
        del self._sids[namespace][eio_sid]
        self.callbacks.pop(sid, None)

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        """The rooms that a client is in, as a list."""
        return list(self.joined(sid))

    def _drop(self, sid: str, namespace: str, room: str | None) -> None:
        if room is not None:
            self._audiences.pop(room, None)
        members = self.rooms[namespace][room]
        del members[sid]
        if not members:
            del self.rooms[namespace][room]

    async def emit(
        self, event: str, data: Any, namespace: str, room: Any = None, skip_sid: Any = None, **kwargs: Any
    ) -> None:
        """As the stock emit, but an empty address is an error and not everybody, and a room's members get one shared
        frame: no task each. What is emitted here is in no log, so who does not keep up goes without."""
        to = kwargs.pop("to", None)
        target = room if to is None else to
        if not target:
            raise ValueError("emit needs a room or a client: an empty address would reach everybody")
        if isinstance(target, str) and not skip_sid and not kwargs.get("callback"):
            arguments = list(data) if isinstance(data, tuple) else [] if data is None else [data]
            if self.members(namespace, target):
                self.server.whisper(target, event, arguments)
                return
        await super().emit(event, data, namespace, room=target, skip_sid=skip_sid, **kwargs)
