"""Operations on users: out of a channel, out altogether, or to refresh their tokens."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from server.api.backends.fields import Flag, User, whole
from server.api.backends.messages import InChannel
from server.api.backends.table import Answer, Call, NoBody, Operation, Params, Reply
from server.application.outside.removing import MAX_DENY_S, Removing
from server.domain.backends import Scope
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.wire.words import Operation as Name
from server.wire.words import timestamp


class OfMember(InChannel):
    """A path that names a user in a channel."""

    user: User
    deny_s: (
        Annotated[
            int,
            Field(
                ge=0,
                le=MAX_DENY_S,
                description="Seconds for which nothing is granted to the user there; 0 ends an earlier denial.",
            ),
            BeforeValidator(whole),
        ]
        | None
    ) = None


class OfUser(Params):
    """A path that names a user."""

    user: User


class OfSessions(OfUser):
    """The sessions of a user."""

    reconnect: Annotated[Flag, Field(description="Whether the clients are to come back, as after a drain.")] = False


class Asked(Answer):
    """The sessions end at `expires_at`, unless they take a new token by then."""

    expires_at: str = Field(json_schema_extra={"format": "date-time"})


def operations(removing: Removing) -> list[Operation[Any, Any]]:
    """Return the operations."""

    async def remove(call: Call[OfMember, NoBody]) -> Reply:
        params = call.params
        await removing.remove(ChannelName(params.channel), UserId(params.user), params.deny_s)
        return Reply()

    async def end(call: Call[OfSessions, NoBody]) -> Reply:
        await removing.end(UserId(call.params.user), reconnect=call.params.reconnect)
        return Reply()

    async def ask(call: Call[OfUser, NoBody]) -> Reply:
        return Reply({"expires_at": timestamp(await removing.ask(UserId(call.params.user)))})

    return [
        Operation(
            id=Name.REMOVE_MEMBER,
            summary="Remove a user from a channel, and keep them out for a time.",
            method="DELETE",
            path="/channels/{channel}/members/{user}",
            handle=remove,
            scope=Scope.ADMIN,
            params=OfMember,
        ),
        Operation(
            id=Name.END_SESSIONS,
            summary="End all sessions of a user.",
            method="DELETE",
            path="/users/{user}/sessions",
            handle=end,
            scope=Scope.ADMIN,
            params=OfSessions,
        ),
        Operation(
            id=Name.ASK_REFRESH,
            summary="Ask all sessions of a user to refresh their tokens within 30 s.",
            method="POST",
            path="/users/{user}/refresh",
            handle=ask,
            scope=Scope.ADMIN,
            params=OfUser,
            answer=Asked,
        ),
    ]
