"""Events as records of Kafka: what stands in a record, and how a request holds many."""

import orjson

from server.adapters.kafka.bus import partition_of
from server.adapters.kafka.egress import batch, notice, records
from server.domain.channels import ChannelName
from server.domain.messages import Position
from server.domain.recovery import NotResumable
from server.domain.webhooks import ChannelGap
from tests.doubles.samples import ROOM, event


def test_a_request_holds_records_in_order() -> None:
    """Key, headers, and the client's event with its name."""
    found = list(records(batch([notice(event(offset)) for offset in (1, 2)], 0)))
    assert [(key, dict(headers)["offset"]) for key, _, headers in found] == [
        (ROOM.encode(), b"1"),
        (ROOM.encode(), b"2"),
    ]
    _, value, headers = found[0]
    body = orjson.loads(value)
    assert body["event"] == "message:created"
    assert body["offset"] == 1
    assert dict(headers) == {"epoch": body["epoch"].encode(), "offset": b"1", "type": b"message.created"}


def test_a_gap_is_a_record() -> None:
    """A consumer is told of events that are gone."""
    gap = ChannelGap(ChannelName("room:1"), Position("a", 3), Position("b", 1), NotResumable.EPOCH_CHANGED, 1_000)
    ((key, value, headers),) = records(batch([notice(gap)], 0))
    assert key == b"room:1"
    assert dict(headers) == {"epoch": b"b", "offset": b"1", "type": b"channel.gap"}
    assert orjson.loads(value) == {
        "event": "channel:gap",
        "channel": "room:1",
        "at": "1970-01-01T00:00:01.000Z",
        "from": {"epoch": "a", "offset": 3},
        "to": {"epoch": "b", "offset": 1},
        "reason": "epoch_changed",
    }


def test_a_channel_keeps_its_partition() -> None:
    """Replicas of different versions have to agree."""
    assert [partition_of(b"room:%d" % number, 64) for number in range(3)] == [6, 16, 42]
