"""What a process knows of the channels in Redis, and for how long it counts as their host."""

from server.adapters.redis.seen import HEARD_S, OUTAGE_S, Seen, SeenEvents
from tests.doubles.samples import ROOM

EVENT = Seen("one", 7, 1)


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_channel_is_hosted_while_it_is_heard() -> None:
    """A note of an append makes no host; the news of the hub do, for some seconds."""
    clock = Clock()
    seen = SeenEvents(monotonic=clock)
    seen.note(ROOM, EVENT)
    assert not seen.hosts(ROOM)
    seen.hear(ROOM, EVENT)
    assert seen.hosts(ROOM)
    for _ in range(round(HEARD_S)):
        assert seen.hosts(ROOM)
        clock.now += 1.0
        seen.answered()
    assert not seen.hosts(ROOM)


def test_an_outage_makes_no_stranger_of_a_host() -> None:
    """However long Redis is away: nothing could be heard meanwhile."""
    clock = Clock()
    seen = SeenEvents(monotonic=clock)
    seen.hear(ROOM, EVENT)
    clock.now += 3_600.0
    assert seen.hosts(ROOM)
    seen.answered()
    assert seen.hosts(ROOM)
    for _ in range(round(HEARD_S - OUTAGE_S)):
        clock.now += 1.0
        seen.answered()
    assert not seen.hosts(ROOM)


def test_the_channel_used_least_recently_is_forgotten() -> None:
    """With all that was known of it."""
    seen = SeenEvents(limit=1, monotonic=Clock())
    seen.hear(ROOM, EVENT)
    seen.note(type(ROOM)("other"), EVENT)
    assert seen.last(ROOM) is None
    assert not seen.hosts(ROOM)
