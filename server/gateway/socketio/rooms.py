"""The sessions of the `/chat` namespace and the rooms that they are in: the membership of this replica.

python-socketio's own manager walks every room when a client leaves, keeps a room for each client, and counts a client
as a member of its namespace before it is admitted. Here a session knows its rooms, a room knows its connections, and
only `admit` makes a session.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import socketio

from server.domain.channels import ChannelName
from server.domain.identity import SessionId
from server.gateway.websocket.connection import Connection
from server.gateway.websocket.outbox import Outbox
from server.gateway.websocket.writer import Writer
from server.ports.membership import Membership

_NOBODY: Mapping[SessionId, Writer] = {}


class Rooms(socketio.AsyncManager, Membership):
    """The server's client manager, and the `Membership` port. A channel is a room."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox
        self._sessions: dict[SessionId, Connection] = {}
        self._joined: dict[SessionId, tuple[ChannelName, ...]] = {}
        # A room without members has no entry. The writers are an audience as they stand here: a crowd that joins a
        # large room while it is busy would else have the list of its members made anew for each event.
        self._members: dict[ChannelName, dict[SessionId, Writer]] = {}

    def admit(self, session: SessionId, connection: Connection) -> None:
        """Open a session on a connection."""
        self._sessions[session] = connection
        self._joined[session] = ()

    def forget(self, session: SessionId) -> None:
        """Close a session: it is in no room any more."""
        self.end(session)
        self._joined.pop(session, None)
        self._sessions.pop(session, None)

    def connection(self, session: SessionId) -> Connection | None:
        """The session's connection; None if the session is gone."""
        return self._sessions.get(session)

    def has_members(self, channel: ChannelName) -> bool:
        """Whether anybody is in the channel."""
        return channel in self._members

    def audience(self, channel: ChannelName) -> Collection[Writer]:
        """The members' writers: a view, which follows who enters and leaves."""
        return self._members.get(channel, _NOBODY).values()

    def audience_without(self, channel: ChannelName, skip: Collection[SessionId]) -> Collection[Writer]:
        """The writers of the members that are not in `skip`."""
        return [writer for member, writer in self._members.get(channel, _NOBODY).items() if member not in skip]

    # The port

    def enter(self, session: SessionId, channel: ChannelName) -> None:
        """Make the session a member of the channel. Promises 1-3."""
        connection = self._sessions.get(session)
        if connection is None or channel in self._joined[session]:
            return
        self._outbox.end_batch()
        self._members.setdefault(channel, {})[session] = connection.writer
        self._joined[session] += (channel,)

    def leave(self, session: SessionId, channel: ChannelName) -> None:
        """End the session's membership of the channel. Promises 1-3."""
        joined = self._joined.get(session, ())
        if channel in joined:
            self._joined[session] = tuple(name for name in joined if name != channel)
            self._remove(session, channel)

    def end(self, session: SessionId) -> Collection[ChannelName]:
        """End all memberships of the session. Promises 1-3."""
        joined = self._joined.get(session, ())
        if joined:
            self._joined[session] = ()
        for channel in joined:
            self._remove(session, channel)
        return joined

    def present(self, session: SessionId) -> bool:
        """Whether the session's connection is open."""
        connection = self._sessions.get(session)
        return connection is not None and connection.is_open()

    def channels(self, session: SessionId) -> Collection[ChannelName]:
        """The channels that the session is in."""
        return self._joined.get(session, ())

    def count(self, channel: ChannelName) -> int:
        """How many sessions are in the channel."""
        return len(self._members.get(channel, _NOBODY))

    def members(self, channel: ChannelName) -> Collection[SessionId]:
        """The sessions in the channel: a copy, since a caller may end the membership of each."""
        return tuple(self._members.get(channel, _NOBODY))

    def _remove(self, session: SessionId, channel: ChannelName) -> None:
        self._outbox.end_batch()
        members = self._members[channel]
        del members[session]
        if not members:
            del self._members[channel]

    # python-socketio's own API (`emit`, `enter_room`, `leave_room`) comes by these; Maru itself does not use them.

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """Return the members of a room, or a client by its `sid`, as pairs of `sid` and Engine.IO id."""
        if not room or not isinstance(room, str):
            raise ValueError("an emit needs one room or one client: without an address it would reach everybody")
        session = SessionId(room)
        found = (session,) if session in self._sessions else ()
        for member in self._members.get(ChannelName(room), found):
            yield member, self._sessions[member].id

    def basic_enter_room(self, sid: str, namespace: str, room: str, eio_sid: str | None = None) -> None:
        """As `enter`."""
        self.enter(SessionId(sid), ChannelName(room))

    def basic_leave_room(self, sid: str, namespace: str, room: str) -> None:
        """As `leave`."""
        self.leave(SessionId(sid), ChannelName(room))
