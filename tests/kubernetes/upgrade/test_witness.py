"""The account of a client notices the faults that the client must not have."""

import pytest

from tests.clients.witness import FAULTS, Witness


def told(*offsets: int) -> Witness:
    """Return the account of a client that received these offsets."""
    witness = Witness("ann", "core", "room:1")
    for offset in offsets:
        witness.hear(offset, f"id-{offset}", f"text {offset}")
    return witness


def test_what_comes_in_order_is_no_fault() -> None:
    """From the first offset on, each once."""
    witness = told(1, 2, 3)
    assert (witness.faults, witness.first, witness.last, witness.count) == ([], 1, 3, 3)


@pytest.mark.parametrize(
    ("offsets", "fault"), [((1, 3), "3 after 1"), ((1, 2, 2), "2 after 2"), ((1, 2, 1), "1 after 2")]
)
def test_a_gap_a_repeat_and_a_step_back_are_faults(offsets: tuple[int, ...], fault: str) -> None:
    """Each is named."""
    assert told(*offsets).faults == [fault]


def test_the_digest_tells_events_apart() -> None:
    """The same offsets with another text are not the same."""
    ann, bob = told(1, 2), told(1)
    bob.hear(2, "id-2", "another text")
    assert ann.report()["digest"] == told(1, 2).report()["digest"]
    assert ann.report()["digest"] != bob.report()["digest"]


def test_silence_counts_only_while_there_is_talk() -> None:
    """Before and after, there is nothing to receive."""
    witness = told(1)
    assert witness.gap == 0
    witness.listen()
    witness.hear(2, "id-2", "text 2")
    heard = witness.gap
    assert heard > 0
    witness.silence_ends(for_good=True)
    longest = witness.gap
    witness.hear(3, "id-3", "text 3")
    assert witness.gap == longest


def test_faults_are_bounded() -> None:
    """A client that receives everything wrong does not fill the report."""
    assert len(told(*range(1, 200, 2)).faults) == FAULTS
