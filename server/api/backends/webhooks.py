"""Operations on webhooks: the dead letters of an endpoint."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from server.api.backends.fields import whole
from server.api.backends.moments import AnyMoment
from server.api.backends.table import Answer, Body, Call, NoBody, Operation, Params, Reply
from server.application.fields import Id
from server.application.outside.webhooks.dead_letters import MAX_REPLAYED, DeadLetters
from server.domain.backends import Scope
from server.domain.dispatching import DeadLetter
from server.domain.errors import BadRequest, NotFound
from server.wire import webhooks
from server.wire.words import Operation as Name

MAX_LETTERS = 1_000
"""Of a page."""

LETTERS = 100
"""Of a page, if the request does not say."""

_NAME = "[a-z0-9][a-z0-9_-]*"


def _named(value: str) -> str:
    if not re.fullmatch(_NAME, value, re.ASCII):
        raise ValueError("expected 1 to 32 of a-z, 0-9, - and _, as in MARU_WEBHOOKS")
    return value


Endpoint = Annotated[
    str,
    Field(
        min_length=1,
        max_length=32,
        json_schema_extra={"pattern": f"^{_NAME}$"},
        description="The name of an endpoint in `MARU_WEBHOOKS`.",
        examples=["crm"],
    ),
    AfterValidator(_named),
]

LetterId = Annotated[Id, Field(description="The id of a dead letter.")]

_EITHER: Any = {
    "oneOf": [
        {
            "required": ["ids"],
            "properties": {"ids": {"type": "array"}, "from": {"type": "null"}, "to": {"type": "null"}},
        },
        {
            "required": ["from", "to"],
            "properties": {
                "ids": {"type": "null"},
                "from": {"type": ["string", "number"]},
                "to": {"type": ["string", "number"]},
            },
        },
    ]
}


class OfDeadLetters(Params):
    """A path that names an endpoint, and the page of its dead letters."""

    name: Endpoint
    after: Annotated[Id, Field(description="Letters behind this id: `next` of the page before.")] | None = None
    limit: Annotated[
        int, Field(ge=1, le=MAX_LETTERS, description="How many letters, at most."), BeforeValidator(whole)
    ] = LETTERS


class OfEndpoint(Params):
    """A path that names an endpoint."""

    name: Endpoint


class Replay(Body):
    """The letters that are to be sent again: by their ids, or those of a time."""

    model_config = ConfigDict(json_schema_extra=_EITHER)

    expected = 'expected one JSON object, such as {"ids": [...]} or {"from": ..., "to": ...}'

    ids: (
        Annotated[list[LetterId], Field(min_length=1, max_length=MAX_REPLAYED, description="The letters' ids.")] | None
    ) = None
    start: AnyMoment | None = Field(default=None, alias="from", description="Letters that failed then, or later.")
    end: AnyMoment | None = Field(default=None, alias="to", description="Letters that failed before then.")

    @classmethod
    def parse(cls, payload: object) -> Self:
        """As `Command.parse`. Raises `BadRequest` unless it has `ids`, or both `from` and `to`."""
        body = super().parse(payload)
        times = (body.start is not None) + (body.end is not None)
        if (body.ids is None) == (times == 0) or times == 1:
            raise BadRequest("ids, from, to: expected either ids, or from and to", details={"field": "ids"})
        return body

    def wanted(self) -> Callable[[DeadLetter], bool]:
        """Return whether a letter is to be sent."""
        if self.ids is not None:
            ids = frozenset(self.ids)
            return lambda letter: letter.id in ids
        start, end = self.start or 0, self.end or 0
        return lambda letter: start <= letter.failed_at < end


class DeadLetterState(Answer):
    """A request that was given up: the events `first` to `last` of the channel's log."""

    id: str
    channel: str
    epoch: str
    first: int
    last: int
    reason: str
    failed_at: str = Field(json_schema_extra={"format": "date-time"})


class DeadLetterPage(Answer):
    """Dead letters, oldest first. `next` is there if there may be more."""

    letters: list[DeadLetterState]
    next: str = Field(default="", description="There if there may be more: `after` of the next page.")


class ReplayState(Answer):
    """Letters that the endpoint has taken by now, and letters whose events the log no longer has; none of them is kept.
    `failed`: the answer at which the replay ended. `more`: letters are left."""

    replayed: int
    gone: int
    failed: str = Field(default="", description="There if a request failed: its letter and the later are kept.")
    more: bool


def operations(dead_letters: DeadLetters) -> list[Operation[Any, Any]]:
    """Return the operations."""

    async def read(call: Call[OfDeadLetters, NoBody]) -> Reply:
        params = call.params
        letters = await dead_letters.page(params.name, params.after, params.limit)
        return Reply(webhooks.dead_letters(letters, more=len(letters) == params.limit))

    async def replay(call: Call[OfEndpoint, Replay]) -> Reply:
        return Reply(webhooks.replayed(await dead_letters.replay(call.params.name, call.body.wanted())))

    return [
        Operation(
            id=Name.READ_DEAD_LETTERS,
            summary="List the requests to a webhook that were given up.",
            method="GET",
            path="/webhooks/{name}/dead",
            handle=read,
            scope=Scope.ADMIN,
            params=OfDeadLetters,
            answer=DeadLetterPage,
            codes=(NotFound,),
        ),
        Operation(
            id=Name.REPLAY_DEAD_LETTERS,
            summary="Send requests to a webhook that were given up again.",
            method="POST",
            path="/webhooks/{name}/dead/replay",
            handle=replay,
            scope=Scope.ADMIN,
            params=OfEndpoint,
            body=Replay,
            answer=ReplayState,
            codes=(NotFound,),
        ),
    ]
