"""The people's parts of a log that does not have them yet: everything is refused."""

from collections.abc import Mapping, Sequence
from typing import NoReturn

from server.domain.appending import Settled
from server.domain.channels import ChannelName
from server.domain.drafts import Reaction, Record
from server.domain.errors import Unavailable
from server.domain.identity import UserId
from server.domain.marks import InboxEntry, Mark, Marked, Receipt
from server.ports.follows import Follows
from server.ports.marks import Marks
from server.ports.reactions import Reactions
from server.ports.records import Recorded, RecordPage, Records


class Refusing(Reactions, Records, Marks, Follows):
    """Refuses each call as `Unavailable`."""

    async def react(self, reaction: Reaction) -> Settled:
        _refuse()

    async def record(self, record: Record) -> Recorded:
        _refuse()

    async def page(
        self, channel: ChannelName, name: str | None, before: int | None, after: int | None, limit: int
    ) -> RecordPage:
        _refuse()

    async def mark(self, channel: ChannelName, user: UserId, offset: int) -> Marked:
        _refuse()

    async def marks(self, user: UserId, channels: Sequence[ChannelName]) -> Mapping[ChannelName, Mark]:
        _refuse()

    async def receipts(self, channel: ChannelName, limit: int) -> Sequence[Receipt]:
        _refuse()

    async def inbox(self, user: UserId, channels: Sequence[ChannelName]) -> Sequence[InboxEntry]:
        _refuse()

    async def follow(self, user: UserId, channel: ChannelName) -> bool:
        _refuse()

    async def unfollow(self, user: UserId, channel: ChannelName) -> bool:
        _refuse()

    async def followed(self, user: UserId) -> Sequence[ChannelName]:
        _refuse()

    async def followers(self, channel: ChannelName, limit: int) -> Sequence[UserId]:
        _refuse()


def _refuse() -> NoReturn:
    raise Unavailable("the message log does not keep this yet")
