"""The ids of messages."""

from uuid import UUID

from server.bootstrap.ids import new_message_id
from tests.doubles.samples import NOW_MS


def test_no_randomness_is_used_twice() -> None:
    """Over several fetches of the system's randomness, no two ids of a millisecond share their random part."""
    made = [UUID(new_message_id(NOW_MS)).int for _ in range(1_000)]
    assert {id >> 80 for id in made} == {NOW_MS}
    # The last 62 bits: equal by chance once in nine million million runs.
    assert len({id & (2**62 - 1) for id in made}) == len(made)
