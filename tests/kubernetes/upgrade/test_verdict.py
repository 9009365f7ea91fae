"""The verdict can fail: each fault, made once in a small account, is named."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from server.application.life.drainer import DrainTiming
from server.domain.appending import created
from server.domain.events import Event, MessageCreated
from server.domain.messages import Position
from tests.clients.crowd import Report
from tests.clients.witness import Witness
from tests.doubles.samples import ROOM, new_message
from tests.kubernetes.containers import Stop
from tests.kubernetes.upgrade.verdict import Observed, judge, pace

COUNT = 5
TIMEOUT_S = 10.0


def written(count: int) -> list[MessageCreated]:
    """Return a log with `count` messages of ann's."""
    return [
        created(new_message(number, key=f"ann-{number}", user="ann"), Position("one", number))
        for number in heard(count)
    ]


def heard(count: int) -> Sequence[int]:
    """Offsets."""
    return range(1, count + 1)


def member(user: str, events: Sequence[MessageCreated], kind: str = "core", sent: int = 0) -> Report:
    """Return the report of a client that received these events, and has an ack for all `sent` messages."""
    witness = Witness(user, kind, ROOM)
    for event in events:
        witness.hear(event.offset, event.message.id, event.message.text)
    witness.sent, witness.acks = sent, {f"{user}-{number}": number for number in heard(sent)}
    witness.attempts, witness.gap = [1.0], 0.5
    return Report(**witness.report())


STOP = Stop("pod-1", told_at=100.0, ended_at=106.0, code=0, killed=False, connections=300, drain_timeout_s=TIMEOUT_S)

GOOD = Observed(
    logs={ROOM: written(COUNT)},
    members=[
        member("ann", written(COUNT), sent=COUNT),
        member("bob", written(COUNT)),
        member("cyd", written(COUNT)[3:], "bare"),
    ],
    stops=[STOP],
    talked_at=50.0,
    turned_away=[],
)


def with_ann(**changes: object) -> Observed:
    """Return the good account with changes in ann's report."""
    ann, *others = GOOD.members
    return replace(GOOD, members=[replace(ann, **changes), *others])  # type: ignore[arg-type]


def with_log(events: Sequence[Event]) -> Observed:
    """Return the good account with another log."""
    return replace(GOOD, logs={ROOM: events})


def reconnects(count: int, within_s: float) -> Observed:
    """Return `count` reconnects of ann's, evenly spread, while the replica drains."""
    return with_ann(attempts=[102.0 + number * within_s / count for number in range(count)])


CASES = {
    "an acked message is not in the log": (with_log(written(COUNT - 1)), "ann-5 was acked at 5, and is not there"),
    "the log has a hole": (with_log([*written(2), *written(COUNT)[3:]]), "the log has a hole"),
    "a key is there twice": (
        with_log([*written(4), created(new_message(5, key="ann-4", user="ann"), Position("one", 5))]),
        "written twice: ['ann-4']",
    ),
    "an author's messages changed places": (
        with_log([created(new_message(n, key=f"ann-{6 - n}", user="ann"), Position("one", n)) for n in heard(COUNT)]),
        "not in the order of sending",
    ),
    "an event did not come": (with_ann(last=COUNT - 1), "ann: heard up to 4 of 5"),
    "an event came twice, or another one": (with_ann(digest="other"), "from 1 to 5 is not the log"),
    "it began in the middle": (with_ann(first=2), "from 2 to 5 is not the log"),
    "it says so itself": (with_ann(faults=["7 after 5"]), "ann: 7 after 5"),
    "a send was never answered": (with_ann(sent=COUNT + 1), "1 of 6 sends had no ack"),
    "everybody waited": (
        replace(GOOD, members=[replace(member, gap=5.0) for member in GOOD.members]),
        "heard nothing for 5.0 s",
    ),
    "too many came at once": (reconnects(300, within_s=0.9), "300 clients reconnected within one second"),
    "a replica was killed": (
        replace(GOOD, stops=[replace(STOP, killed=True, code=-9)]),
        "pod-1 was killed at the end of its grace, with 300 clients to move",
    ),
    "a replica failed to stop well": (replace(GOOD, stops=[replace(STOP, code=1)]), "pod-1 ended with 1"),
    "a replica died by itself": (replace(GOOD, stops=[replace(STOP, told_at=None, code=-11)]), "pod-1 ended with -11"),
    "a handshake was refused": (
        replace(GOOD, turned_away=[{"replica_status": "503, 101"}]),
        "replicas that did not take them: {'replica 503, 101': 1}",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_whatever_is_wrong_is_named(case: str) -> None:
    """The made fault is found."""
    observed, expected = CASES[case]
    assert any(expected in fault for fault in judge(observed).faults), judge(observed).faults


def test_where_nothing_is_wrong_nothing_is_said() -> None:
    """This includes a client without our core that missed the events while it was away."""
    verdict = judge(GOOD)
    assert verdict.faults == []
    assert verdict.figures["acked"] == COUNT


def test_the_pace_of_the_drain_is_no_storm() -> None:
    """The pace is the drainer's own."""
    assert judge(reconnects(300, within_s=300 / pace(300, TIMEOUT_S))).faults == []


def test_the_pace_is_the_drainers() -> None:
    """Few go at the slowest pace; where the timeout leaves no window, all go at once."""
    window = DrainTiming(TIMEOUT_S).window_s
    assert pace(1_000, TIMEOUT_S) == pytest.approx(1_000 / window)
    assert pace(10, TIMEOUT_S) == DrainTiming(TIMEOUT_S).slowest_pace
    assert pace(1_000, 3.0) == 1_000


def test_what_the_test_killed_itself_is_no_fault() -> None:
    """Its clients come back all at once, as after any crash."""
    killed = replace(STOP, told_at=None, code=-9)
    observed = replace(reconnects(300, within_s=0.5), stops=[killed], killed=frozenset({"pod-1"}))
    assert judge(observed).faults == []
