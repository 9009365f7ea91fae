"""Reading back."""

import asyncio

import pytest

from server.adapters.memory.message_log import MemoryMessageLog
from server.application.commands import ReadHistory
from server.application.messages.history import History
from server.domain.errors import Overloaded, PermissionDenied, Unavailable
from server.domain.messages import Message
from tests.doubles.faulty_log import FaultyLog, Gate
from tests.doubles.samples import HOUR_MS, ROOM, identity, new_message

READER = identity("reader", grants={"room:*": ["join"]})


@pytest.fixture
async def log() -> FaultyLog:
    """Ten messages in the room."""
    log = FaultyLog(MemoryMessageLog(max_events=100, max_age_ms=HOUR_MS, now_ms=lambda: 0))
    for number in range(1, 11):
        await log.append(new_message(number))
    return log


@pytest.mark.parametrize(
    ("bounds", "offsets", "more"),
    [
        ({}, [*range(1, 11)], False),
        ({"limit": 3}, [8, 9, 10], True),
        ({"limit": 3, "before": 8}, [5, 6, 7], True),
        ({"limit": 3, "before": 3}, [1, 2], False),
        ({"limit": 3, "after": 2}, [3, 4, 5], True),
        ({"limit": 3, "after": 2, "before": 5}, [3, 4], False),
        ({"after": 10}, [], False),
    ],
)
async def test_a_page_is_what_the_command_asks_for(
    log: FaultyLog, bounds: dict[str, int], offsets: list[int], more: bool
) -> None:
    """Bounds and limit reach the log as they were asked; who may join may read, and need not be in the channel."""
    page = await History(log).read(READER, ReadHistory.parse({"channel": ROOM, **bounds}))
    assert [message.offset for message in page.messages if isinstance(message, Message)] == offsets
    assert (page.more, page.head.offset) == (more, 10)


async def test_who_may_not_join_may_not_read(log: FaultyLog) -> None:
    """Sending alone does not give the right to read; the log is not even asked."""
    log.error = AssertionError("the log must not be asked")
    with pytest.raises(PermissionDenied):
        await History(log).read(identity(grants={"room:*": ["send"]}), ReadHistory(channel=ROOM))


async def test_a_log_that_hangs_is_unavailable_in_time(log: FaultyLog) -> None:
    """A reader waits less than 2 s."""
    log.before = Gate()
    began = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable):
        await History(log).read(READER, ReadHistory(channel=ROOM))
    assert asyncio.get_running_loop().time() - began < 2.0


@pytest.mark.parametrize("bounds", [{}, {"before": 41}, {"after": 0}, {"after": 0, "before": 41}], ids=str)
async def test_a_page_over_its_bytes_is_cut_where_reading_goes_on(bounds: dict[str, int]) -> None:
    """The newest are kept, or the oldest where the page is read upwards; `more` says that there are others."""
    log = MemoryMessageLog(max_events=100, max_age_ms=HOUR_MS, now_ms=lambda: 0)
    for number in range(1, 41):
        await log.append(new_message(number, text="\x01" * 4_000))
    page = await History(log).read(READER, ReadHistory.parse({"channel": ROOM, "limit": 40} | bounds))
    kept = len(page.messages)
    assert 15 < kept < 40
    assert page.more
    first = 1 if bounds == {"after": 0} else 41 - kept
    assert [message.offset for message in page.messages] == [*range(first, first + kept)]


async def test_a_replica_without_time_reads_nothing(log: FaultyLog) -> None:
    """Who may not read is told so all the same."""

    def refuse() -> None:
        raise Overloaded("later", retry_after_ms=2_000)

    log.error = AssertionError("the log must not be asked")
    with pytest.raises(Overloaded):
        await History(log, refuse).read(READER, ReadHistory(channel=ROOM))
    with pytest.raises(PermissionDenied):
        await History(log, refuse).read(identity(grants={}), ReadHistory(channel=ROOM))
