"""Operations on the channels that users follow."""

from typing import Any

from server.api.backends.fields import Channel, User
from server.api.backends.table import Call, NoBody, Operation, Params, Reply
from server.application.people.following import Following
from server.domain.backends import Scope
from server.domain.channels import ChannelName
from server.domain.errors import Conflict
from server.domain.identity import UserId
from server.wire.words import Operation as Name


class OfFollow(Params):
    """A path that names a user and a channel."""

    user: User
    channel: Channel


def operations(following: Following) -> list[Operation[Any, Any]]:
    """Return the operations."""

    async def follow(call: Call[OfFollow, NoBody]) -> Reply:
        await following.set(UserId(call.params.user), ChannelName(call.params.channel), follows=True)
        return Reply()

    async def unfollow(call: Call[OfFollow, NoBody]) -> Reply:
        await following.set(UserId(call.params.user), ChannelName(call.params.channel), follows=False)
        return Reply()

    path = "/users/{user}/channels/{channel}"
    return [
        Operation(
            id=Name.FOLLOW,
            summary="Let a user follow a channel: it is in their inbox.",
            method="PUT",
            path=path,
            handle=follow,
            scope=Scope.ADMIN,
            params=OfFollow,
            codes=(Conflict,),
        ),
        Operation(
            id=Name.UNFOLLOW,
            summary="Let a user follow a channel no longer.",
            method="DELETE",
            path=path,
            handle=unfollow,
            scope=Scope.ADMIN,
            params=OfFollow,
        ),
    ]
