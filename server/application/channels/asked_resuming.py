"""Resuming channels about which a backend is asked before."""

from collections.abc import Mapping
from functools import partial

from server.application.channels.resuming import Resuming
from server.application.outside.join_asks import JoinAsks
from server.domain.channels import ChannelName
from server.domain.identity import Action, Identity, SessionId, allows
from server.domain.messages import Position
from server.domain.pushes import ChannelRemoved
from server.ports.membership import Membership
from server.ports.transport import Transport


class AskedResuming:
    """The use case of a resume, if rules name the hook `join`: a user whom the backend refuses does not come back by
    resuming. Channels without the hook come first, and do not wait for the backend."""

    def __init__(self, resuming: Resuming, asks: JoinAsks, transport: Transport, membership: Membership) -> None:
        self._resuming = resuming
        self._asks = asks
        self._transport = transport
        self._membership = membership

    async def resume(self, session: SessionId, identity: Identity, positions: Mapping[ChannelName, Position]) -> None:
        """As `Resuming.resume`; a refusal is a `ChannelRemoved`, too."""
        asked = {channel: since for channel, since in positions.items() if self._is_asked(identity, channel)}
        rest = {channel: since for channel, since in positions.items() if channel not in asked}
        if rest or not asked:
            await self._resuming.resume(session, identity, rest)
        if not asked:
            return
        refused = await self._asks.refused(session, identity, asked, partial(self._membership.present, session))
        for channel, error in refused.items():
            self._transport.push(session, ChannelRemoved(channel, type(error)))
        if entered := {channel: since for channel, since in asked.items() if channel not in refused}:
            await self._resuming.resume(session, identity, entered)

    def gone(self, session: SessionId) -> None:
        """As `Resuming.gone`."""
        self._resuming.gone(session)

    def _is_asked(self, identity: Identity, channel: ChannelName) -> bool:
        # Grants come first: a backend can only refuse more.
        return self._asks.asks(channel) and allows(identity.grants, Action.JOIN, channel)
