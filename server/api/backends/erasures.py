"""The operation that erases all messages of a user."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from server.api.backends.fields import whole
from server.api.backends.members import OfUser
from server.api.backends.table import Answer, Call, NoBody, Operation, Reply
from server.application.messages.erasures import Eraser
from server.domain.backends import Scope
from server.domain.identity import UserId
from server.wire.words import Operation as Name

MAX_WAIT_S = 25
"""How long a request waits for the end: below the 30 s after which many clients and proxies give up."""


class OfErasure(OfUser):
    """The messages of a user."""

    wait_s: Annotated[
        int,
        Field(ge=0, le=MAX_WAIT_S, description="Seconds that the answer waits for the end."),
        BeforeValidator(whole),
    ] = MAX_WAIT_S


class Erased(Answer):
    """How many messages are erased. `done`: whether that is all; else the work goes on, and the same request tells
    how far it is."""

    erased: int
    done: bool


def operations(eraser: Eraser, stopping: Callable[[], bool]) -> list[Operation[Any, Any]]:
    """Return the operation. `stopping` says whether the process was told to stop."""

    async def erase(call: Call[OfErasure, NoBody]) -> Reply:
        params = call.params
        progress = await eraser.erase(UserId(params.user), call.idempotency_key, params.wait_s, stopping)
        call.target.update(erased=progress.erased, done=progress.done)
        return Reply({"erased": progress.erased, "done": progress.done})

    return [
        Operation(
            id=Name.ERASE_MESSAGES,
            summary="Erase all messages of a user, in all channels.",
            method="DELETE",
            path="/users/{user}/messages",
            handle=erase,
            scope=Scope.ADMIN,
            params=OfErasure,
            answer=Erased,
            idempotent=True,
        )
    ]
