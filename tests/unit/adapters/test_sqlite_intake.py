"""The intake of a SQLite log: no order of its loop's and its thread's steps writes a draft behind a refused one."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from server.adapters.sqlite import intake
from server.adapters.sqlite.intake import Intake
from server.adapters.sqlite.order import Waiting, out_of_order
from server.domain.appending import Appended, created, not_found
from server.domain.channels import ChannelName
from server.domain.drafts import NewMessage, Sender
from server.domain.errors import MaruError, Unavailable
from server.domain.messages import Position
from tests.doubles.samples import new_message
from tests.doubles.virtual_time import VirtualTimeLoop, turns

ROOM_FOR = 6
"""Drafts that may wait in these tests."""

LONG_S = 100.0
"""Longer than every wait of these tests, on the virtual clock."""

UNREADABLE = "the entry can't be read"
FAILED = "the disk is full"


@dataclass(eq=False)
class Given:
    """A draft as the test follows it."""

    draft: NewMessage
    sender: int
    waiting: list["Given"]  # the sender's drafts before it that were not told when it was submitted
    outcome: Appended | Exception | None = None
    written: bool = False

    @property
    def channel(self) -> ChannelName:
        return self.draft.channel

    @property
    def refused(self) -> bool:
        return isinstance(self.outcome, MaruError) and self.outcome.retryable

    @property
    def fails_sender(self) -> bool:
        """Whether the refusal is one of its own, and no matter of a single channel."""
        return self.refused and str(self.outcome) not in {UNREADABLE, str(out_of_order())}


@dataclass
class Stage:
    """An intake whose thread is played by the test, a step at a time."""

    intake: Intake
    senders: list[Sender] = field(default_factory=lambda: [Sender() for _ in range(3)])
    given: list[Given] = field(default_factory=list)
    told: list[Given] = field(default_factory=list)
    taken: list[Waiting] = field(default_factory=list)
    batch: list[Waiting] = field(default_factory=list)

    def submit(self, sender: int, channel: int) -> None:
        """Submit a draft."""
        before = [draft for draft in self.given if draft.sender == sender and draft not in self.told]
        draft = Given(new_message(len(self.given), ChannelName(f"c:{channel}")), sender, before)
        self.given.append(draft)

        def done(outcome: Appended | Exception) -> None:
            assert draft.outcome is None
            draft.outcome = outcome
            self.told.append(draft)

        self.intake.submit(draft.draft, self.senders[sender], done)

    def take(self) -> None:
        """Let the thread take what was handed over."""
        while not self.intake.handed.empty():
            handed = self.intake.handed.get_nowait()
            assert isinstance(handed, list)
            self.taken += handed
            self.intake.taken += len(handed)

    async def begin(self, count: int) -> None:
        """Let the thread begin a batch, once the one before has ended."""
        await self.end("written", 0)
        batch, self.taken = self.taken[:count], self.taken[count:]
        self.batch = self.intake.begin(batch)

    async def end(self, how: str, at: int) -> None:
        """Let the thread end its batch. `at` is the draft that something is wrong with."""
        batch, self.batch = self.batch, []
        if not batch:
            return
        at %= len(batch)
        match how:
            case "failed":
                self.intake.refuse([(waiting, Unavailable(FAILED)) for waiting in batch])
            case "one by one":
                self.intake.put_back(batch)
                for number, waiting in enumerate(batch):
                    self.batch = self.intake.begin([waiting])
                    await self.end("failed" if number == at else "written", 0)
                    await turns(1)
            case "unreadable":
                hit = batch[at]
                answers = [self._write(waiting) for waiting in batch[:at]] + [(hit, Unavailable(UNREADABLE))]
                for waiting in batch[at + 1 :]:
                    behind = waiting.sender is hit.sender and waiting.draft.channel == hit.draft.channel
                    answers.append((waiting, out_of_order()) if behind else self._write(waiting))
                self.intake.close_channels([entry for entry, outcome in answers if isinstance(outcome, Unavailable)])
                self.intake.answer(answers)
            case "not found":
                answers = [self._write(waiting) for waiting in batch if waiting is not batch[at]]
                answers.insert(at, (batch[at], not_found()))
                self.intake.answer(answers)
            case _:
                self.intake.answer([self._write(waiting) for waiting in batch])

    def _write(self, waiting: Waiting) -> tuple[Waiting, Appended | Exception]:
        written = next(draft for draft in self.given if draft.draft is waiting.draft)
        written.written = True
        return waiting, Appended(created(written.draft, Position("e", 1)), duplicate=False)


Step = tuple[str, int, int]

steps = st.one_of(
    st.tuples(st.just("submit"), st.integers(0, 2), st.integers(0, 1)),
    st.tuples(st.just("submit"), st.just(0), st.integers(0, 1)),
    st.tuples(st.just("turn"), st.just(0), st.just(0)),
    st.tuples(st.sampled_from(["stall", "wait"]), st.integers(1, 25), st.just(0)),
    st.tuples(st.just("take"), st.just(0), st.just(0)),
    st.tuples(st.just("begin"), st.integers(1, 4), st.just(0)),
    st.tuples(
        st.sampled_from(["failed", "one by one", "unreadable", "not found", "written"]), st.integers(0, 3), st.just(0)
    ),
)


async def play(stage: Stage, loop: VirtualTimeLoop, script: Sequence[Step]) -> None:
    """Do the steps, then let the thread write what is left."""
    for name, number, channel in script:
        match name:
            case "submit":
                stage.submit(number, channel)
            case "turn":
                await turns(1)
            case "stall":
                loop.stall(number / 10)
            case "wait":
                await asyncio.sleep(number / 10)
            case "take":
                stage.take()
            case "begin":
                await stage.begin(number)
            case _:
                await stage.end(name, number)
    await turns(2)
    stage.take()
    await stage.begin(len(stage.taken))
    await stage.end("written", 0)
    await asyncio.sleep(LONG_S)


def check(stage: Stage) -> None:
    """Promise 12, for each pair of drafts of a sender."""
    assert len(stage.told) == len(stage.given)
    for number, sender in enumerate(stage.senders):
        mine = [draft for draft in stage.given if draft.sender == number]
        assert [draft for draft in stage.told if draft.sender == number] == mine
        assert sender.failed == any(draft.fails_sender for draft in mine)
        for at, draft in enumerate(mine):
            assert draft.written == isinstance(draft.outcome, Appended)
            before = mine[:at]
            failed = any(earlier.fails_sender for earlier in before)
            waits = any(one.refused and one.channel == draft.channel and one in draft.waiting for one in before)
            assert not draft.written or not (failed or waits)
            if str(draft.outcome) == str(out_of_order()):
                assert failed or waits, "nothing is refused without a reason"


S, T = ("submit", 0, 0), ("turn", 0, 0)
TAKE = ("take", 0, 0)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(steps, min_size=5, max_size=40))
# The thread fails a batch while the next one waits, and more come before the loop has told of it.
@example(script=[S, T, TAKE, ("begin", 1, 0), S, T, TAKE, ("failed", 0, 0), S, ("begin", 1, 0)])
# The loop refuses a late draft; the next one is younger, and would be begun.
@example(script=[S, T, ("stall", 10, 0), S, T, ("wait", 11, 0), TAKE, ("begin", 2, 0)])
# The thread finds a draft that is late, and a younger one behind it.
@example(script=[S, T, ("stall", 10, 0), S, T, ("stall", 11, 0), TAKE, ("begin", 2, 0)])
# Drafts wait while too many do: the refused one harms none before it.
@example(script=[S] * 8 + [T, TAKE, ("begin", 3, 0), S])
# A batch is written one by one, and a draft in the middle of it fails.
@example(script=[S, S, S, T, TAKE, ("begin", 3, 0), ("one by one", 1, 0), T])
# A channel can't be read, and its sender is told: then it is open again.
@example(script=[S, T, TAKE, ("begin", 1, 0), ("unreadable", 0, 0), T, S])
# A channel can't be read; a draft for it waits behind one for another channel.
@example(
    script=[
        *[S, S, ("submit", 0, 1), S, T, TAKE, ("begin", 1, 0), ("unreadable", 0, 0), ("begin", 2, 0), T],
        *[S, T, TAKE, ("written", 0, 0), ("begin", 2, 0)],
    ]
)
def test_nothing_is_written_behind_a_refusal(monkeypatch: pytest.MonkeyPatch, script: list[Step]) -> None:
    """Whatever the loop and the thread do when: outcomes come in the order of submission, each once, and a draft is
    refused if and only if it is behind a refused one."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualTimeLoop)
        monkeypatch.setattr(intake, "WAITING_LIMIT", ROOM_FOR)
        monkeypatch.setattr(intake, "monotonic", loop.time)
        stage = Stage(Intake(loop))
        runner.run(play(stage, loop, script))
        check(stage)


def test_an_outcome_that_is_not_taken_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A callback that raises is told to the loop's handler; the drafts behind it have their outcomes."""
    faults: list[object] = []
    refused: list[object] = []

    def broken(outcome: Appended | Exception) -> None:
        raise RuntimeError("a fault of the caller")

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(context["exception"]))
        stage, sender = Stage(Intake(loop)), Sender()
        stage.intake.submit(new_message(1), sender, broken)
        stage.intake.submit(new_message(2), sender, refused.append)
        await turns(1)
        stage.take()
        await stage.begin(2)
        await stage.end("failed", 0)
        await turns(2)

    monkeypatch.setattr(intake, "monotonic", lambda: 0.0)
    asyncio.run(scenario())
    assert [str(fault) for fault in faults] == ["a fault of the caller"]
    assert [str(outcome) for outcome in refused] == [FAILED]


async def test_other_work_that_waits_is_bounded() -> None:
    """While the writer takes nothing, no work is kept beyond the bound: its caller is told at once."""
    waiting = Intake(asyncio.get_running_loop())
    kept = [waiting.do(lambda _: None) for _ in range(intake.HANDED_LIMIT)]
    with pytest.raises(Unavailable, match="too much work waits"):
        await waiting.do(lambda _: None)
    assert waiting.handed.qsize() == intake.HANDED_LIMIT
    assert not any(future.done() for future in kept)
