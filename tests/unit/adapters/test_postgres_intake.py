"""Drafts on their way to PostgreSQL: batches of a kind, and the order of channels and of senders within them."""

import asyncio
from collections.abc import Sequence
from random import Random

import pytest

from server.adapters.postgres.intake import BATCH_BYTES, BATCH_LIMIT, Entry, Intake, Outcome, Waiting
from server.domain.appending import Appended, created
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, NewMessage, Sender
from server.domain.errors import Conflict, MaruError, Overloaded, Unavailable
from server.domain.messages import Position
from tests.doubles.samples import NOW_MS, ROOM, new_message, some_id

OTHER = ChannelName("room:other")


class Store:
    """Keeps the batches that it is given. The first of `errors` is raised, or told of a draft, in its turn."""

    def __init__(self) -> None:
        self.batches: list[list[Waiting]] = []
        self.raises: list[MaruError | Exception | None] = []
        self.refuses: dict[str, MaruError] = {}  # by the ids of drafts

    async def write(self, batch: Sequence[Waiting], seconds: float) -> Sequence[Outcome]:
        """Write a batch."""
        assert 0.0 < seconds <= 1.6
        self.batches.append(list(batch))
        await asyncio.sleep(0)
        if self.raises and (error := self.raises.pop(0)):
            raise error
        return [self.refuses.get(_id(waiting)) or _outcome(waiting) for waiting in batch]

    @property
    def kinds(self) -> list[set[type]]:
        """The kinds of drafts in each batch."""
        return [{type(waiting.draft) for waiting in batch} for batch in self.batches]


def _id(waiting: Waiting) -> str:
    return str(getattr(waiting.draft, "id", ""))


def _outcome(waiting: Waiting) -> Appended:
    draft = waiting.draft if isinstance(waiting.draft, NewMessage) else new_message(1)
    return Appended(created(draft, Position("epoch", 1)), duplicate=False)


def deletion(number: int, channel: ChannelName = ROOM) -> Deletion:
    """A draft of the other kind."""
    return Deletion(channel, some_id(number), NOW_MS)


async def test_what_comes_together_goes_together() -> None:
    """Up to the bound of a batch, in the order of the calls."""
    store = Store()
    intake = Intake(store.write)
    await asyncio.gather(*(intake.append(new_message(number)) for number in range(150)))
    assert [len(batch) for batch in store.batches] == [BATCH_LIMIT, BATCH_LIMIT, 150 - 2 * BATCH_LIMIT]
    assert [_id(each) for batch in store.batches for each in batch] == [some_id(number) for number in range(150)]


async def test_long_texts_are_fewer() -> None:
    """A batch ends with the draft that exceeds its size."""
    store = Store()
    intake = Intake(store.write)
    text = "x" * (BATCH_BYTES // 3)
    await asyncio.gather(*(intake.append(new_message(number, text=text)) for number in range(8)))
    assert [len(batch) for batch in store.batches] == [4, 4]


async def test_kinds_are_parted_and_channels_keep_their_order() -> None:
    """Changes between messages of other channels do not end a batch; in its own channel a change stays in its place."""
    store = Store()
    intake = Intake(store.write)
    drafts: list[Entry] = [
        new_message(1),
        deletion(1),
        new_message(2),
        new_message(3, OTHER),
        deletion(4, OTHER),
        new_message(5),
    ]
    await asyncio.gather(*map(intake.append, drafts))
    assert [[_id(each) for each in batch] for batch in store.batches] == [
        [some_id(1), some_id(3)],
        [some_id(1), some_id(4)],
        [some_id(2), some_id(5)],
    ]


@pytest.mark.parametrize("seed", range(20))
async def test_any_mixture_keeps_the_order_of_channels_and_senders(seed: int) -> None:
    """Whatever kinds come for whatever channels, by whichever senders."""
    random, store = Random(seed), Store()
    intake = Intake(store.write)
    senders = [Sender() for _ in range(4)]
    told: list[object] = []
    numbers = {str(some_id(number)): number for number in range(300)}
    names = [ChannelName(f"room:{number}") for number in range(5)]
    for number in range(300):
        channel = random.choice(names)
        draft = deletion(number, channel) if random.random() < 0.3 else new_message(number, channel)
        intake.submit(draft, random.choice(senders), told.append)
    await intake.aclose()
    assert len(told) == 300
    assert all(len(kinds) == 1 for kinds in store.kinds)
    written = [each for batch in store.batches for each in batch]
    for keys in (
        [each.draft.channel for each in written],
        [senders.index(each.sender or Sender()) for each in written],
    ):
        for key in set(keys):
            ids = [_id(each) for each, its in zip(written, keys, strict=True) if its == key]
            assert ids == sorted(ids, key=numbers.__getitem__)


async def test_behind_a_refusal_a_sender_waits() -> None:
    """A refusal that may pass refuses all that its sender has in the queue, and later; a lasting refusal does not, and
    another sender is not concerned."""
    store = Store()
    store.refuses = {some_id(3): Unavailable("damaged"), some_id(101): Conflict("taken")}
    intake = Intake(store.write)
    one, two = Sender(), Sender()
    outcomes: dict[int, object] = {}
    for number in range(BATCH_LIMIT + 5):
        intake.submit(new_message(number), one, lambda outcome, number=number: outcomes.update({number: outcome}))  # type: ignore[misc]
    for number in (101, 102):
        intake.submit(new_message(number), two, lambda outcome, number=number: outcomes.update({number: outcome}))  # type: ignore[misc]
    await intake.aclose()
    assert isinstance(outcomes[3], Unavailable)
    assert all(isinstance(outcomes[number], Unavailable) for number in range(BATCH_LIMIT, BATCH_LIMIT + 5))
    assert (type(outcomes[101]), type(outcomes[102])) == (Conflict, Appended)
    assert (one.failed, two.failed) == (True, False)


async def test_a_batch_that_fails_refuses_what_waits() -> None:
    """It would fail in the same way, only later. The next draft is tried again."""
    store = Store()
    store.raises = [Unavailable("away")]
    intake = Intake(store.write)
    calls = [intake.append(new_message(number)) for number in range(BATCH_LIMIT + 5)]
    failed = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(each) for each in failed} == {Unavailable}
    assert len({id(each) for each in failed}) == len(failed)  # each has a traceback of its own
    assert len(store.batches) == 1
    assert isinstance(await intake.append(new_message(1)), Appended)


async def test_a_fault_of_ours_leaves_nobody_waiting() -> None:
    """All are refused, and the next draft is written."""
    store = Store()
    store.raises = [RuntimeError("a fault")]
    intake = Intake(store.write)
    calls = [intake.append(new_message(number)) for number in range(3)]
    assert {type(each) for each in await asyncio.gather(*calls, return_exceptions=True)} == {Unavailable}
    assert isinstance(await intake.append(new_message(1)), Appended)


async def test_a_caller_that_fails_or_gives_up_harms_no_other() -> None:
    """The outcomes of the others are told."""
    store = Store()
    intake = Intake(store.write)

    def fails(outcome: object) -> None:
        raise RuntimeError(str(type(outcome)))

    intake.submit(new_message(1), Sender(), fails)
    given_up, kept = intake.append(new_message(2)), intake.append(new_message(3))
    given_up.cancel()
    assert isinstance(await kept, Appended)


async def test_a_draft_that_waits_too_long_is_refused() -> None:
    """It is not written, and neither is what its sender has submitted behind it."""
    store = Store()
    intake = Intake(store.write)
    sender = Sender()
    outcomes: list[object] = []
    for number in range(2):
        intake.submit(new_message(number), sender, outcomes.append)
    for waiting in intake._waiting:  # noqa: SLF001  # time can't be turned on
        waiting.since -= 1.3
    await intake.aclose()
    assert [type(each) for each in outcomes] == [Overloaded, Unavailable]
    assert store.batches == []


async def test_nothing_is_taken_after_the_end() -> None:
    """The sender fails; what waited was written."""
    store = Store()
    intake = Intake(store.write)
    call = intake.append(new_message(1))
    await intake.aclose()
    assert isinstance(await call, Appended)
    sender = Sender()
    outcomes: list[object] = []
    intake.submit(new_message(2), sender, outcomes.append)
    assert isinstance(outcomes[0], Unavailable)
    assert sender.failed
