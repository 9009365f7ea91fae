"""The ports that every kind of store gives a replica, as a record."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from server.domain.channels import ChannelName
from server.domain.pushes import Emitted
from server.ports.broadcast import Broadcast
from server.ports.control import Control
from server.ports.erasures import Erasures
from server.ports.follows import Follows
from server.ports.marks import Marks
from server.ports.message_log import MessageLog
from server.ports.metrics import LogSize
from server.ports.presence import Online, Presence
from server.ports.reactions import Reactions
from server.ports.records import Records
from server.ports.replicas import Replicas
from server.ports.revocations import Revocations
from server.ports.signals import Signals
from server.ports.webhooks import Webhooks

EmitHeard = Callable[[ChannelName, Emitted], None]

People = tuple[Reactions, Records, Marks, Follows]
"""The parts of a log that are about people and applications."""


@dataclass(frozen=True, slots=True)
class Bus:
    """How replicas tell each other of events, and are given orders."""

    broadcast: Broadcast
    control: Control
    signals: Signals
    replicas: Replicas
    presence: Presence
    online: Online
    link: asyncio.Event
    """Set while the other replicas can be reached."""
    link_losses: Callable[[], int]
    """How often they could not be reached any more, since the start."""
    hear_emits: Callable[[EmitHeard], None] = lambda _: None
    """Name the receiver of events that other processes emit into channels."""
    log_evicts: Callable[[], bool] = lambda: False
    """Whether the store that bus and log share may drop messages when its memory is full."""
    trims_refused: Callable[[], int] = lambda: 0
    """How often the log has kept old events because a clock is in doubt, or because too many were due at once."""
    hints_refused: Callable[[], int] = lambda: 0
    """How many hints were not believed."""
    signals_refused: Callable[[], int] = lambda: 0
    """How many signals were not believed."""
    emits_refused: Callable[[], int] = lambda: 0
    """How many events of other processes were not passed on."""
    log_size: Callable[[], LogSize] = LogSize
    """How large the log is, if it has a bound of its own."""
    loops: tuple[Coroutine[Any, Any, None], ...] = ()
    """Work that runs until the end of the process."""


@dataclass(frozen=True, slots=True)
class Stores:
    """A replica's log, its way to the other replicas, and the revocations that all heed."""

    log: MessageLog
    bus: Bus
    revocations: Revocations
    secret: Callable[[], Awaitable[bytes]]
    """Return random bytes that all replicas of the store share. Raises `Unavailable`."""
    webhooks: Webhooks
    """The debts of the log to the endpoints of webhooks."""
    erasures: Erasures
    """The erasures of users' messages that were asked for."""
    reactions: Reactions
    records: Records
    marks: Marks
    follows: Follows
