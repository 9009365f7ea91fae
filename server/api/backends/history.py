"""Reading back: the messages of a channel, in pages."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from server.api.backends.fields import Offset, whole
from server.api.backends.messages import InChannel
from server.api.backends.shapes import MessageState
from server.api.backends.table import Answer, Call, NoBody, Operation, Reply
from server.application.commands import ReadHistory
from server.application.messages.history import History
from server.domain.backends import BACKEND, Scope, on_behalf_of
from server.domain.limits import DEFAULT_PAGE, MAX_PAGE
from server.wire import messages
from server.wire.words import Operation as Name


class Page(InChannel):
    """Which messages are asked for. Both bounds are exclusive; without bounds, the newest."""

    before: Annotated[Offset, Field(description="Only messages that were created before this offset.")] | None = None
    after: Annotated[Offset, Field(description="Only messages that were created after this offset.")] | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE, description="How many at most."), BeforeValidator(whole)] = (
        DEFAULT_PAGE
    )


class PageAnswer(Answer):
    """Messages as they are now, oldest first, and the position of the channel's last event. `more`: further messages
    lie beyond the page, in the direction of reading."""

    messages: list[MessageState]
    epoch: str
    offset: int
    more: bool


def operations(history: History) -> list[Operation[Any, Any]]:
    """Return the operations."""

    async def read(call: Call[Page, NoBody]) -> Reply:
        page = await history.read(on_behalf_of(BACKEND), ReadHistory.model_construct(**call.params.model_dump()))
        return Reply(messages.page(page), etag=f"{page.head.epoch}-{page.head.offset}")

    return [
        Operation(
            id=Name.READ_MESSAGES,
            summary="Read messages of a channel.",
            method="GET",
            path="/channels/{channel}/messages",
            handle=read,
            scope=Scope.READ,
            params=Page,
            answer=PageAnswer,
            tagged=True,
        )
    ]
