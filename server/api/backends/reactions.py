"""Operations on reactions: a backend lets a user react to a message, and react no longer."""

from typing import Annotated, Any

from pydantic import Field

from server.api.backends.fields import User
from server.api.backends.messages import OfMessage
from server.api.backends.table import Call, NoBody, Operation, Reply
from server.application.people.payloads import Emoji, React
from server.application.people.reacting import Reacting
from server.domain.backends import Scope, on_behalf_of
from server.domain.errors import Conflict, NotFound
from server.domain.identity import Author, UserId
from server.wire.words import Operation as Name

_PLAIN = r"^[^\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]*$"
"""For the description: `Emoji` judges."""


class OfReaction(OfMessage):
    """A path that names a reaction, and the user whose it is."""

    emoji: Annotated[
        Emoji,
        Field(
            description="The emoji; its characters are compared, and nothing is normalized.",
            examples=["👍"],
            json_schema_extra={"pattern": _PLAIN},
        ),
    ]
    user: User


def operations(reacting: Reacting) -> list[Operation[Any, Any]]:
    """Return the operations."""

    async def react(call: Call[OfReaction, NoBody], *, add: bool) -> Reply:
        named = call.params
        call.target["user"] = named.user
        command = React.model_construct(channel=named.channel, id=named.id, emoji=named.emoji)
        await reacting.react(on_behalf_of(Author(UserId(named.user), None)), command, add=add)
        return Reply()

    async def put(call: Call[OfReaction, NoBody]) -> Reply:
        return await react(call, add=True)

    async def delete(call: Call[OfReaction, NoBody]) -> Reply:
        return await react(call, add=False)

    path = "/channels/{channel}/messages/{id}/reactions/{emoji}"
    return [
        Operation(
            id=Name.ADD_REACTION,
            summary="Let a user react to a message. Twice is once.",
            method="PUT",
            path=path,
            handle=put,
            scope=Scope.PUBLISH,
            params=OfReaction,
            codes=(NotFound, Conflict),
        ),
        Operation(
            id=Name.REMOVE_REACTION,
            summary="Take a user's reaction to a message back. Twice is once.",
            method="DELETE",
            path=path,
            handle=delete,
            scope=Scope.PUBLISH,
            params=OfReaction,
            codes=(NotFound, Conflict),
        ),
    ]
