"""The bodies of requests to webhooks."""

import orjson

from server.domain.channels import ChannelName
from server.domain.events import EventPublished
from server.domain.messages import Position
from server.domain.notices import MARU
from server.domain.recovery import NotResumable
from server.domain.webhooks import ChannelGap
from server.wire.messages import encode
from server.wire.webhooks import batch, notice
from tests.doubles.samples import NOW_MS, ROOM, event


def test_an_event_is_given_as_clients_are_given_it() -> None:
    """With its type and its time around it."""
    body = orjson.loads(notice(event(3)))
    assert body == {
        "type": "message.created",
        "timestamp": "2023-11-14T22:13:20.003Z",
        "data": orjson.loads(encode(event(3)).json),
    }


def test_a_notice_tells_the_user_and_its_place() -> None:
    """Not how it is kept."""
    event = EventPublished(ChannelName("~online:1"), "e", 7, NOW_MS, "user.online", MARU, {"user": "alice"}, "k")
    assert orjson.loads(notice(event)) == {
        "type": "user.online",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "data": {"user": "alice", "channel": "~online:1", "epoch": "e", "offset": 7},
    }


def test_a_notice_of_a_message_is_its_event_with_users() -> None:
    """As clients are given it."""
    data = {"channel": ROOM, "users": ["alice", "bob"], "subject": event(3)}
    published = EventPublished(ChannelName("~offline:1"), "e", 7, NOW_MS, "message.offline", MARU, data, "k")
    body = orjson.loads(notice(published))
    assert body["type"] == "message.offline"
    assert body["data"] == orjson.loads(encode(event(3)).json) | {"users": ["alice", "bob"]}


def test_a_gap_has_two_positions() -> None:
    """All behind the first, up to the second, is missing."""
    gap = ChannelGap(ROOM, Position("one", 2), Position("two", 0), NotResumable.EPOCH_CHANGED, NOW_MS)
    assert orjson.loads(notice(gap)) == {
        "type": "channel.gap",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "data": {
            "channel": "room:1",
            "from": {"epoch": "one", "offset": 2},
            "to": {"epoch": "two", "offset": 0},
            "reason": "epoch_changed",
        },
    }


def test_a_batch_has_the_same_objects() -> None:
    """In their order."""
    notices = [notice(event(1)), notice(event(2))]
    assert orjson.loads(batch(notices, NOW_MS)) == {
        "type": "batch",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "data": {"events": [orjson.loads(each) for each in notices]},
    }
