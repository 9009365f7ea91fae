"""The durable log of each channel: it alone gives offsets, and everything else heals from it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.domain.appending import Appended
from server.domain.channels import ChannelName
from server.domain.drafts import Draft, Sender
from server.domain.events import Event
from server.domain.messages import Message, MessageId, Position, Tombstone


@dataclass(frozen=True, slots=True)
class Replay:
    """A slice of a channel's log. `floor` is the highest offset that is no longer kept (0: everything is kept),
    `head` the position of the last event at the moment of reading, `events` are dense, oldest first."""

    floor: int
    head: Position
    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class Page:
    """Messages in their current state, oldest first. `more`: at least one further message lies beyond the page, in the
    direction of reading."""

    messages: Sequence[Message | Tombstone]
    head: Position
    more: bool


Done = Callable[[Appended | Exception], None]
"""Takes the outcome of a draft: what it became, or the error that `append` would raise."""


class MessageLog(Protocol):
    """A log of events per channel, and the current state of each message in it.

    1. Dense: offsets of a channel are 1, 2, 3 ... within an epoch, in the order in which appends were called from a
       task; concurrent appends get some order, the same for every reader.
    2. Durable: when `append` returns, the event is on stable storage (of the adapter's kind) and every later `read`, by
       anyone, sees it. A torn or failed write is never seen by a reader.
    3. Idempotent: a second `NewMessage` with the same (channel, author, key) within 24 h returns the event of the
       first, with `duplicate`; a `NewMessage` without a key is always new. Deleting a deleted message returns the first
       deletion's event, with `duplicate`.
    4. States: a `Revision` of an unknown message raises `NotFound`, of a deleted message `Conflict`; it bumps
       `version`, sets `edited_at`, and keeps the creation's offset. A `Deletion` of an unknown message raises
       `NotFound`, and leaves a `Tombstone`: the text stands in no later `message` or `history`.
    5. Reads: `read(channel, after, limit)` gives up to `limit` events with offsets `after + 1, after + 2 ...` without a
       hole, as they stood at a single moment; `limit` 0 asks for `floor` and `head` alone. If `after < floor`, `events`
       is empty. Events do not change, with one exception: once a message is deleted, its creation and its edits are
       `MessageErased`, also in the answer to a repeated key, and the storage holds its text and data no longer. An
       entry of a kind that a newer version wrote is read as `UnknownEvent`; an entry that can't be read at all is
       `Unavailable`.
    6. Pages: `history` gives messages by the offset of their creation, both bounds exclusive: the newest `limit` below
       `before`; or, with `after` alone, the oldest `limit` above `after`; with both, the newest between them; with
       neither, the newest. Deleted messages appear as `Tombstone`.
    7. Epoch: a channel has an epoch before its first event, it is the same for all readers and over restarts, and it
       changes when the log of the channel has been lost.
    8. Retention: a channel keeps a limited number of events, up to a limited age (settings of the adapter). The oldest
       events are dropped and `floor` rises; a message goes with its creation. A key outlives its event. Age is judged
       by the store's time, never by that of a single caller.
    9. Errors: `Unavailable` if the storage is away, full, locked or broken, within 2 s; the event may or may not have
       been written, and trying again with the same key is safe. An append that is being written is answered only when
       its outcome is known: the caller has a deadline of its own. `Overloaded` if too many appends wait: nothing was
       written.
    10. Cancelling an `append` gives up the answer, not the write. It may return a future instead of a coroutine, and
        has then taken the draft's place in the order.
    11. Older stores: if the storage comes back without an event that was given to `note`, or with another event in its
        place, the next call for the channel finds a new epoch. An adapter whose storage can't come back older while
        the process lives ignores `note`.
    12. Order under faults: the drafts of a `Sender` are written in the order in which they were submitted. Once a draft
        is refused with a retryable error, the sender has failed: every draft of the sender that was submitted behind it
        is refused, too, and not written. An error that concerns a single channel concerns the sender's drafts for this
        channel only; a draft for another channel that was on its way by then may be written.
    13. Rate: if the log has a rate, a channel takes no more events than it allows, of all processes together. A draft
        over the rate is `RateLimited`, which is a retryable error of a single channel, and says when the draft passes.
        A draft that becomes no event, such as a duplicate, takes nothing from the rate and is not refused.
    """

    def append(self, draft: Draft) -> Awaitable[Appended]:
        """Write the draft, give it the channel's next offset. Promises 1-4, 9, 10."""
        ...

    def submit(self, draft: Draft, sender: Sender, done: Done) -> None:
        """As `append`, for a caller that does not wait: `done` is called once, on the event loop, perhaps before this
        returns. Promises 1-4, 9, 12."""
        ...

    @property
    def crowded(self) -> bool:
        """Whether many drafts wait, though fewer than are refused: then a client should wait for the outcome of each
        draft before it submits another."""
        return False

    async def read(self, channel: ChannelName, after: int, limit: int) -> Replay:
        """Return the events after an offset. Promises 2, 5, 7-9."""
        ...

    async def heads(self, channels: Sequence[ChannelName]) -> Mapping[ChannelName, Position] | None:
        """Return the heads of the channels, at most 10,000; None if asking so costs the log no less than reading each.
        Promises 2, 7, 9."""
        return None

    async def message(self, channel: ChannelName, id: MessageId) -> Message | Tombstone | None:
        """Return the current state of a message; None if the log does not have it (any more)."""
        ...

    async def history(self, channel: ChannelName, before: int | None, after: int | None, limit: int) -> Page:
        """Return a page of messages in their current state. Promises 4, 6-9."""
        ...

    def note(self, event: Event) -> None:
        """Remember that this process has seen the event. Promise 11."""
        ...
