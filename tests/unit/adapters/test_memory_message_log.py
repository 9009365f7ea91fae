"""The methods of the log in memory that the port does not have: losing a channel."""

from server.adapters.epochs import STORE_ID_BYTES
from server.adapters.memory.message_log import MemoryMessageLog
from server.domain.channels import ChannelName
from tests.doubles.samples import HOUR_MS, ROOM, new_message


async def test_a_forgotten_channel_begins_anew() -> None:
    """It is empty, in an epoch of its own each time, and its keys are free; other channels keep theirs."""
    log = MemoryMessageLog(max_events=10, max_age_ms=HOUR_MS, store_id=bytes(STORE_ID_BYTES))
    other = ChannelName("room:2")
    epochs = []
    for _ in range(3):
        appended = await log.append(new_message(1, key="k"))
        assert (appended.event.offset, appended.duplicate) == (1, False)
        epochs.append(appended.event.epoch)
        await log.append(new_message(1, other, key="k"))
        log.forget(ROOM)
        assert (await log.read(ROOM, 0, 10)).head.offset == 0
    assert len(set(epochs)) == 3
    assert (await log.read(other, 0, 0)).head.offset == 1


async def test_the_store_id_is_the_log() -> None:
    """Logs with one id agree on all epochs; without one given, each log is its own."""
    fixed = [MemoryMessageLog(max_events=10, max_age_ms=1, store_id=bytes(STORE_ID_BYTES)) for _ in range(2)]
    random = [MemoryMessageLog(max_events=10, max_age_ms=1) for _ in range(2)]
    epochs = [(await log.read(ROOM, 0, 0)).head.epoch for log in (*fixed, *random)]
    assert epochs[0] == epochs[1]
    assert len(set(epochs)) == 3
