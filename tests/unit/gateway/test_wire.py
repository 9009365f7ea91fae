"""The wire's shapes: names and JSON, as PROTOCOL.md shows them."""

from typing import Any

import pytest

from server.domain.errors import TABLE, BadRequest, Internal, MaruError, PermissionDenied, RateLimited, TokenExpired
from server.domain.messages import (
    Event,
    MessageDeleted,
    MessageEdited,
    MessageId,
    Position,
    Tombstone,
    created,
)
from server.domain.recovery import Lapse
from server.gateway import wire
from server.ports.message_log import Page
from server.ports.transport import ChannelRemoved, ChannelResumed, Push, SessionExpiring, SessionReady
from server.domain.identity import SessionId, UserId
from tests.doubles.samples import NOW_MS, ROOM, event, post, some_id
