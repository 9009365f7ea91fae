"""Operations on revocations of tokens."""

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field

from server.api.backends.fields import User
from server.api.backends.moments import Moment
from server.api.backends.table import Answer, Body, Call, NoBody, NoParams, Operation, Params, Reply
from server.application.fields import Id
from server.application.outside.revoking import Revoking
from server.application.turn import in_turns
from server.domain.backends import Scope
from server.domain.errors import BadRequest, NotFound
from server.domain.identity import UserId
from server.domain.limits import MAX_TOKEN_ID_CHARS
from server.wire import control
from server.wire.words import Operation as Name

_EITHER: Any = {
    "oneOf": [
        {"required": ["user"], "properties": {"user": {"type": "string"}, "jti": {"type": "null"}}},
        {"required": ["jti"], "properties": {"jti": {"type": "string"}, "user": {"type": "null"}}},
    ]
}


class Revoke(Body):
    """The tokens that are to be good no longer: those of a user, or the token with an id."""

    model_config = ConfigDict(json_schema_extra=_EITHER)

    expected = 'expected one JSON object, such as {"user": …} or {"jti": …}'

    user: User | None = None
    jti: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=MAX_TOKEN_ID_CHARS,
                pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$",
                description="The id of a token: its `jti`.",
            ),
        ]
        | None
    ) = None
    issued_before: (
        Annotated[Moment, Field(description="The user's tokens that were issued from then on stay good. Default: now.")]
        | None
    ) = None
    ban: Annotated[bool, Field(description="All tokens of the user, also those that are issued from now on.")] = False

    @classmethod
    def parse(cls, payload: object) -> Self:
        """As `Command.parse`. Raises `BadRequest` unless one of `user` and `jti` is given, and not the other."""
        body = super().parse(payload)
        if (body.user is None) == (body.jti is None):
            raise BadRequest("user, jti: expected one of the two", details={"field": "user"})
        return body


class OfRevocation(Params):
    """A path that names a revocation."""

    id: Annotated[Id, Field(description="The id of a revocation.")]


class RevocationState(Answer):
    """A revocation, with either `user` or `jti`. `ban` is there if it is true."""

    id: str
    user: str = Field(default="", description="There if the tokens of a user are revoked.")
    jti: str = Field(default="", description="There if a single token is revoked.")
    issued_before: str = Field(json_schema_extra={"format": "date-time"})
    expires_at: str = Field(json_schema_extra={"format": "date-time"})
    ban: bool = False


class RevocationList(Answer):
    """The revocations in force, the next to expire first."""

    revocations: list[RevocationState]


def operations(revoking: Revoking) -> list[Operation[Any, Any]]:
    """Return the operations."""

    async def revoke(call: Call[NoParams, Revoke]) -> Reply:
        body = call.body
        if body.user is not None:
            call.target["user"] = body.user
            revocation = await revoking.revoke_user(UserId(body.user), body.issued_before, ban=body.ban)
        else:
            assert body.jti is not None  # as it was parsed
            call.target["jti"] = body.jti
            revocation = await revoking.revoke_token(body.jti, body.issued_before)
        call.target["id"] = revocation.id
        return Reply(control.revocation(revocation))

    async def read(_: Call[NoParams, NoBody]) -> Reply:
        found = await revoking.revocations()
        return Reply({"revocations": [control.revocation(each) async for each in in_turns(found)]})

    async def lift(call: Call[OfRevocation, NoBody]) -> Reply:
        await revoking.lift(call.params.id)
        return Reply()

    return [
        Operation(
            id=Name.REVOKE,
            summary="Refuse tokens, and end their sessions, everywhere within a second.",
            method="POST",
            path="/revocations",
            handle=revoke,
            scope=Scope.ADMIN,
            body=Revoke,
            answer=RevocationState,
            created=True,
        ),
        Operation(
            id=Name.READ_REVOCATIONS,
            summary="List the revocations in force.",
            method="GET",
            path="/revocations",
            handle=read,
            scope=Scope.ADMIN,
            answer=RevocationList,
        ),
        Operation(
            id=Name.LIFT_REVOCATION,
            summary="Let the tokens of a revocation be good again.",
            method="DELETE",
            path="/revocations/{id}",
            handle=lift,
            scope=Scope.ADMIN,
            params=OfRevocation,
            codes=(NotFound,),
        ),
    ]
