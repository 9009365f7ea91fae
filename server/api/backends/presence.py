"""Asking who is there: in a channel, in many, and which users are online at all."""

from typing import Annotated, Any

from pydantic import Field

from server.api.backends.fields import Channel, User
from server.api.backends.messages import InChannel
from server.api.backends.table import Answer, Body, Call, NoBody, NoParams, Operation, Reply
from server.domain.backends import Scope
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.presence import NAMES_LIMIT, SHOWN_MEMBERS
from server.ports.presence import Online, Presence
from server.wire import presence as wire
from server.wire.words import Operation as Name

MAX_CHANNELS = 1_000
"""Channels in a request."""

MAX_USERS = 1_000
"""Users in a request."""

MAX_BODY_BYTES = 1024 * 1024
"""Bytes of a body: a thousand names fit, however they are escaped."""


class PresentState(Answer):
    """A user in a channel. `since`: from when on without a break."""

    user: str
    name: str | None
    since: str = Field(json_schema_extra={"format": "date-time"})


class RosterAnswer(Answer):
    """The users in a channel, those that are there longest first. `version` grows by one with each that enters or
    leaves, within an epoch. `complete`: all of them are named."""

    members: list[PresentState]
    count: int
    epoch: str
    version: int
    complete: bool


class ChannelsBody(Body):
    """Which channels are asked for."""

    channels: Annotated[list[Channel], Field(min_length=1, max_length=MAX_CHANNELS, description="Names of channels.")]


class HeadState(Answer):
    """How many users are in a channel."""

    channel: str
    count: int
    epoch: str
    version: int


class HeadsAnswer(Answer):
    """The channels, in the order of the request."""

    channels: list[HeadState]


class UsersBody(Body):
    """Which users are asked for."""

    users: Annotated[list[User], Field(min_length=1, max_length=MAX_USERS, description="Ids of users.")]


class StatusState(Answer):
    """Whether a user has a session anywhere. `last_seen`: when the last one ended, if that is known."""

    user: str
    online: bool
    sessions: int
    last_seen: str | None = Field(json_schema_extra={"format": "date-time"})


class StatusAnswer(Answer):
    """The users, in the order of the request."""

    users: list[StatusState]


def operations(presence: Presence, online: Online) -> list[Operation[Any, Any]]:
    """Return the operations."""

    async def read(call: Call[InChannel, NoBody]) -> Reply:
        channel = ChannelName(call.params.channel)
        roster = await presence.read(channel, NAMES_LIMIT)
        if not roster.complete:  # then only those are named that `presence:read` names
            roster = await presence.read(channel, SHOWN_MEMBERS)
        return Reply(wire.roster(roster))

    async def heads(call: Call[NoParams, ChannelsBody]) -> Reply:
        channels = [ChannelName(name) for name in call.body.channels]
        call.target["channels"] = len(channels)
        return Reply(wire.heads(await presence.heads(channels), channels))

    async def status(call: Call[NoParams, UsersBody]) -> Reply:
        users = [UserId(user) for user in call.body.users]
        call.target["users"] = len(users)
        return Reply(wire.statuses(await online.status(users)))

    return [
        Operation(
            id=Name.READ_PRESENCE,
            summary="Read who is in a channel.",
            method="GET",
            path="/channels/{channel}/presence",
            handle=read,
            scope=Scope.READ,
            params=InChannel,
            answer=RosterAnswer,
        ),
        Operation(
            id=Name.COUNT_PRESENT,
            summary="Read how many users are in each of up to 1,000 channels.",
            method="POST",
            path="/presence",
            handle=heads,
            scope=Scope.READ,
            body=ChannelsBody,
            answer=HeadsAnswer,
            max_body=MAX_BODY_BYTES,
        ),
        Operation(
            id=Name.READ_STATUS,
            summary="Read which of up to 1,000 users are online.",
            method="POST",
            path="/users/status",
            handle=status,
            scope=Scope.READ,
            body=UsersBody,
            answer=StatusAnswer,
            max_body=MAX_BODY_BYTES,
        ),
    ]
