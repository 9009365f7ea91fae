"""Obeying orders: each replica hears the same list of them, and does its part."""

import asyncio
from collections.abc import Collection
from typing import assert_never

import structlog

from server.application.channels.subscriptions import Subscriptions
from server.application.outside.entries import Entries
from server.application.outside.moving import Mover
from server.application.outside.revoked_tokens import token_revoked
from server.application.sessions.session import Session
from server.application.sessions.sessions import Sessions
from server.application.turn import in_turns
from server.domain.channels import ChannelName
from server.domain.control import (
    Denial,
    Heard,
    MemberRemoved,
    RefreshAsked,
    Resync,
    Revocation,
    RevocationLifted,
    Revoked,
    SessionsEnded,
    UnknownOrder,
)
from server.domain.errors import MaruError, Unauthenticated
from server.domain.identity import UserId
from server.ports.control import Control
from server.ports.revocations import Held, Revocations

RETRY_S = 0.25
"""Between two tries to load the entries. Until the first has succeeded, nobody is admitted."""

SWEEP_S = 60.0
"""Between two looks for entries that have expired, which are not heeded in the meantime either."""

_NOTHING = Held((), ())

_log = structlog.get_logger("maru.control")


class Obeying:
    """Applies orders to the sessions of this replica.

    The entries of the store are loaded at the start, and again whenever orders may have been missed. If the store is
    away then, the replica goes on with the entries that it has; if it came back older, it is given the entries again
    that it has lost.
    """

    def __init__(
        self,
        control: Control,
        store: Revocations,
        entries: Entries,
        sessions: Sessions,
        subscriptions: Subscriptions,
        mover: Mover,
    ) -> None:
        self._control = control
        self._store = store
        self._entries = entries
        self._sessions = sessions
        self._subscriptions = subscriptions
        self._mover = mover
        self._told = False  # of an unknown order
        self._lost = False  # the store has lost entries, and has not been given them again
        self._owed = _NOTHING  # what the store is to be given
        self._owes = asyncio.Event()

    async def run(self) -> None:
        """Obey until cancelled. An order at which the program fails is logged, and holds up no other."""
        async for heard in self._control.listen():
            try:
                await self.obey(heard)
            except Exception:  # a fault at an order must not let the replica miss the others
                if isinstance(heard, Resync):
                    raise  # nobody would be admitted
                _log.exception("control.order_failed", order=type(heard).__name__)

    async def give(self) -> None:
        """Give the store what it has lost, until cancelled: there may be much, and no order waits for it."""
        while True:
            await self._owes.wait()
            await self.give_back()

    async def sweep(self) -> None:
        """Forget entries that have expired, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self._entries.sweep()

    async def obey(self, heard: Heard) -> None:
        """Obey an order; for `Resync`, load the store, however long it is away."""
        match heard:
            case Resync(lost):
                self._lost = self._lost or lost
                await self._load()
            case Revoked(revocation):
                await self._revoke(revocation)
            case RevocationLifted(id):
                self._entries.lift(id)
            case MemberRemoved(channel, user, denied_until):
                if denied_until is not None:
                    self._entries.deny(Denial(channel, user, denied_until))
                self._subscriptions.ask_again(user, channel)
                await self._remove(channel, self._sessions.of(user))
            case SessionsEnded(user, reconnect):
                await self._end(user, reconnect)
            case RefreshAsked(user):
                for session in self._sessions.of(user):
                    self._sessions.ask(session, heard)
            case UnknownOrder():
                self._tell_of_unknown()
            case _:
                assert_never(heard)

    def _tell_of_unknown(self) -> None:
        """Say it once: a newer version may give thousands."""
        if not self._told:
            _log.warning("control.order_unknown", remedy="a newer version gives it; update this replica")
        self._told = True

    async def _load(self) -> None:
        """Take the store's entries in place of those in memory, and bring the sessions in line with them."""
        missing = await self._entries.replace(await self._read(), lost=self._lost)
        self._subscriptions.ask_all_again()
        revoked, denied = self._entries.revoked, self._entries.denials.until
        _log.info("control.loaded", revocations=len(revoked), denials=len(denied))
        await self._sessions.end_where(revoked.concern, token_revoked())
        async for user, channel in in_turns(tuple(denied)):
            await self._remove(channel, self._sessions.of(user))
        self._owed = missing
        self._owes.set()

    async def give_back(self) -> None:
        """Give the store the entries that the last load found missing. If it can't be given all, they stay in memory,
        and the next load tries again."""
        self._owes.clear()
        missing, self._owed = self._owed, _NOTHING
        try:
            for revocation in missing.revocations:
                if self._entries.heeds(revocation):  # it may have been lifted meanwhile
                    await self._store.add(revocation)
            for denial in missing.denials:
                if self._entries.heeds(denial):
                    await self._store.deny(denial)
        except MaruError as error:
            _log.warning("control.not_given_back", problem=error.message)
            return
        self._lost = self._owes.is_set()  # another load was under way
        if missing.revocations or missing.denials:
            _log.warning("control.given_back", revocations=len(missing.revocations), denials=len(missing.denials))

    async def _read(self) -> Held:
        """Read the store, however long it is away."""
        told = False
        while True:
            try:
                return await self._store.load()
            except MaruError as error:
                if not told:
                    _log.warning(
                        "control.not_loaded", problem=error.message, admits=self._entries.revoked.loaded.is_set()
                    )
                told = True
            await asyncio.sleep(RETRY_S)

    async def _revoke(self, revocation: Revocation) -> None:
        self._entries.revoke(revocation)
        user, token_id = revocation.user, revocation.token_id or ""
        found = self._sessions.by_token(token_id) if user is None else self._sessions.of(user)
        concerned = [session for session in found if self._entries.revoked.concern(session.identity)]
        await self._sessions.end_all(concerned, token_revoked())

    async def _remove(self, channel: ChannelName, sessions: Collection[Session]) -> None:
        async for session in in_turns(sessions):
            self._subscriptions.remove(session.id, channel)

    async def _end(self, user: UserId, reconnect: bool) -> None:
        sessions = self._sessions.of(user)
        if reconnect:
            self._mover.move(sessions)
        else:
            await self._sessions.end_all(sessions, Unauthenticated("the session was ended; sign in again"))
