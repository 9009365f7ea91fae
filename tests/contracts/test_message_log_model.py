"""Any sequence of commands on a message log ends as the plainest model of its promises says."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.domain.appending import Appended, already_deleted, created, not_found, revised
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Draft, NewMessage, Revision
from server.domain.errors import MaruError
from server.domain.events import MessageCreated, MessageDeleted, MessageEdited, MessageErased, MessageEvent, erased
from server.domain.messages import Message, Position, Tombstone
from server.ports.message_log import MessageLog, Page, Replay
from tests.contracts.conftest import LogStore
from tests.doubles.samples import NOW_MS, new_message, some_id

KEPT = 6
"""Events that a channel keeps if commands come one by one: few, so that retention takes part."""

PLENTY = 1_000
"""Events that a channel keeps if drafts come at once: an adapter drops none between drafts that it writes together."""

BURST = 12
"""Drafts at once."""

_channels = (ChannelName(f"model:{number}") for number in count(1))


Refusal = tuple[type[MaruError], str]
"""The error that a log refuses a draft with, and its text."""


def told(refusal: MaruError) -> Refusal:
    """Make a refusal comparable."""
    return type(refusal), refusal.message


@dataclass
class Model:
    """All events that were ever written. The kept ones are worked out from them each time."""

    channel: ChannelName
    epoch: str
    kept: int
    erases: bool
    events: list[MessageEvent] = field(default_factory=list)
    keys: dict[tuple[str, str], MessageCreated] = field(default_factory=dict)

    @property
    def floor(self) -> int:
        return max(0, len(self.events) - self.kept)

    @property
    def head(self) -> Position:
        return Position(self.epoch, len(self.events))

    def states(self) -> list[Message | Tombstone]:
        """The kept messages, oldest first."""
        states: dict[str, Message | Tombstone] = {}
        for event in self.events:
            match event:
                case MessageCreated() | MessageEdited():
                    states[event.message.id] = event.message
                case MessageDeleted():
                    states[event.id] = Tombstone(event.id, event.channel, states[event.id].offset, event.by)
                case MessageErased():
                    pass  # the model keeps what was written
        return sorted((state for state in states.values() if state.offset > self.floor), key=lambda state: state.offset)

    def append(self, draft: Draft) -> Appended | Refusal:
        position = Position(self.epoch, len(self.events) + 1)
        if isinstance(draft, NewMessage):
            return self._create(draft, position)
        state = next((state for state in self.states() if state.id == draft.id), None)
        if state is None:
            return told(not_found())
        if isinstance(draft, Deletion):
            if isinstance(state, Tombstone):
                first = next(e for e in self.events if isinstance(e, MessageDeleted) and e.id == draft.id)
                return Appended(first, duplicate=True)
            return self._new(MessageDeleted(draft.channel, self.epoch, position.offset, draft.at, draft.id, draft.by))
        if isinstance(state, Tombstone):
            return told(already_deleted())
        message = revised(state, draft)
        return self._new(MessageEdited(draft.channel, self.epoch, position.offset, draft.at, message))

    def _create(self, draft: NewMessage, position: Position) -> Appended:
        event = created(draft, position)
        if draft.key is not None:
            first = self.keys.setdefault((draft.author.id, draft.key), event)
            if first is not event:
                return Appended(self._shown(first), duplicate=True)
        return self._new(event)

    def _new(self, event: MessageEvent) -> Appended:
        self.events.append(event)
        return Appended(event, duplicate=False)

    def read(self, after: int, limit: int) -> Replay:
        events = self.events[after : after + limit] if after >= self.floor else []
        return Replay(self.floor, self.head, [self._shown(event) for event in events])

    def _shown(self, event: MessageEvent) -> MessageEvent:
        """The event as it is read: erased if the log holds its message, and the message is deleted."""
        if not self.erases or not isinstance(event, MessageCreated | MessageEdited):
            return event
        kept = any(isinstance(state, Tombstone) and state.id == event.message.id for state in self.states())
        return erased(event) if kept else event

    def history(self, before: int | None, after: int | None, limit: int) -> Page:
        between = [
            state
            for state in self.states()
            if (before is None or state.offset < before) and (after is None or state.offset > after)
        ]
        forward = after is not None and before is None
        page = between[:limit] if forward else between[::-1][:limit][::-1]
        return Page(page, self.head, more=len(between) > limit)


number = st.integers(0, 16)
drafts = st.one_of(
    st.tuples(st.just("send"), st.sampled_from([None, "k", "l"]), st.sampled_from(["alice", "bob"])),
    st.tuples(st.sampled_from(["edit", "delete"]), st.integers(0, 9)),
)
queries = st.one_of(
    st.tuples(st.just("message"), st.integers(0, 9)),
    st.tuples(st.just("read"), number, st.integers(0, 8)),
    st.tuples(st.just("history"), st.none() | number, st.none() | number, st.integers(1, 8)),
)
examples = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
scripts = st.lists(st.one_of(drafts, drafts, drafts, queries), min_size=5, max_size=30)
"""Steps. A message is named by the number of steps since it was sent; there may be none."""


@given(script=scripts)
@examples
async def test_a_log_is_what_the_model_is(store: LogStore, script: Sequence[tuple[object, ...]]) -> None:
    """Every answer along the way is equal to the model's, and so is everything that can be read in the end."""
    channel = next(_channels)
    async with store.open(max_events=KEPT) as log:
        model = Model(channel, (await log.read(channel, 0, 0)).head.epoch, KEPT, store.erases)
        for at, step in enumerate(script):
            draft = drafted(step, at, channel)
            if draft is None:
                await compare_query(log, model, step, at)
            else:
                assert await outcome(log, draft) == model.append(draft)
        assert await log.read(channel, model.floor, 100) == model.read(model.floor, 100)
        assert await log.history(channel, None, None, 100) == model.history(None, None, 100)


@given(script=scripts)
@examples
async def test_drafts_at_once_are_written_in_their_order(store: LogStore, script: Sequence[tuple[object, ...]]) -> None:
    """Appends that one task starts at once end as the model does that takes them one by one."""
    channel = next(_channels)
    async with store.open(max_events=PLENTY) as log:
        model = Model(channel, (await log.read(channel, 0, 0)).head.epoch, PLENTY, store.erases)
        for start in range(0, len(script), BURST):
            burst = [drafted(step, start + at, channel) for at, step in enumerate(script[start : start + BURST])]
            outcomes = await asyncio.gather(*(outcome(log, draft) for draft in burst if draft is not None))
            assert outcomes == [model.append(draft) for draft in burst if draft is not None]
        assert await log.read(channel, 0, 100) == model.read(0, 100)
        assert await log.history(channel, None, None, 100) == model.history(None, None, 100)


def drafted(step: tuple[object, ...], at: int, channel: ChannelName) -> Draft | None:
    """The draft that a step stands for; None for a query."""
    match step:
        case ("send", str() | None as key, str(user)):
            return new_message(at, channel, key=key, user=user, text="same")
        case ("edit", int(ago)):
            return Revision(channel, some_id(at - ago), f"edit {at}", {"at": at}, at % 2 == 0, NOW_MS + at)
        case ("delete", int(ago)):
            return Deletion(channel, some_id(at - ago), NOW_MS + at)
        case _:
            return None


async def outcome(log: MessageLog, draft: Draft) -> Appended | Refusal:
    """The answer or the refusal of the log."""
    try:
        return await log.append(draft)
    except MaruError as refusal:
        return told(refusal)


async def compare_query(log: MessageLog, model: Model, step: tuple[object, ...], at: int) -> None:
    """Ask both."""
    match step:
        case ("message", int(ago)):
            states = {state.id: state for state in model.states()}
            assert await log.message(model.channel, some_id(at - ago)) == states.get(some_id(at - ago))
        case ("read", int(after), int(limit)):
            assert await log.read(model.channel, after, limit) == model.read(after, limit)
        case ("history", int() | None as before, int() | None as above, int(limit)):
            page = await log.history(model.channel, before, above, limit)
            assert page == model.history(before, above, limit)
        case _:
            raise AssertionError(step)
