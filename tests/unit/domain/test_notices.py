"""Notices, and the logs that keep them."""

import pytest

from server.domain.channels import ChannelName, channel_name
from server.domain.errors import BadRequest
from server.domain.events import EventPublished
from server.domain.identity import UserId
from server.domain.notices import (
    LOGS,
    MARU,
    USERS_TOLD,
    channel_of,
    keeps_notices,
    kept_in,
    missed,
    notice_of,
    told,
    turned,
)
from server.domain.presence import ChannelTurned, RosterHead, UserStatus
from tests.doubles.samples import ROOM, event


def test_the_notices_of_a_user_are_in_one_log() -> None:
    """Whatever they say; those of many users fill all logs."""
    statuses = [UserStatus(UserId(f"user {number}"), number % 2 == 0, number % 2, None) for number in range(1_000)]
    notices = [notice_of(status, "k") for status in statuses]
    assert {notice.log for notice in notices} == {f"~online:{number}" for number in range(LOGS)}
    assert [notice.name for notice in notices[:2]] == ["user.online", "user.offline"]
    assert notice_of(UserStatus(UserId("user 0"), False, 0, 1), "l").log == notices[0].log
    assert all(keeps_notices(notice.log) for notice in notices)


def test_no_client_can_name_such_a_log() -> None:
    """It is no name of a channel."""
    assert not keeps_notices(ChannelName("online:1"))
    with pytest.raises(BadRequest):
        channel_name("~online:1")


def test_a_notice_is_told_with_its_place() -> None:
    """And nothing of how it is kept."""
    published = EventPublished(ChannelName("~online:1"), "e", 7, 1, "user.online", MARU, {"user": "alice"}, "k")
    assert told(published) == {"user": "alice", "channel": "~online:1", "epoch": "e", "offset": 7}
    assert channel_of(published) is None


def test_a_channel_is_occupied_or_vacated() -> None:
    """By the count; each version is a notice."""
    notices = [turned(ChannelTurned(ROOM, RosterHead("r", version, count))) for version, count in ((1, 1), (2, 0))]
    assert [notice.name for notice in notices] == ["channel.occupied", "channel.vacated"]
    assert notices[0].log == notices[1].log
    assert notices[0].key != notices[1].key
    assert notices[1].data == {"channel": ROOM, "roster": {"epoch": "r", "version": 2}}
    published = EventPublished(notices[1].log, "e", 7, 1, notices[1].name, MARU, notices[1].data, "k")
    assert told(published) == {"channel": ROOM, "roster": {"epoch": "r", "version": 2}, "epoch": "e", "offset": 7}
    assert channel_of(published) == ROOM


def test_the_users_of_a_message_are_told_in_parts() -> None:
    """All of them once; nothing of the text is kept."""
    created = event(3)
    users = [UserId(f"user {number}") for number in range(2 * USERS_TOLD + 1)]
    notices = missed(created, users)
    assert [len(notice.data["users"]) for notice in notices] == [USERS_TOLD, USERS_TOLD, 1]
    assert [user for notice in notices for user in notice.data["users"]] == users
    assert len({notice.key for notice in notices}) == 3
    assert set(notices[0].data) == {"channel", "epoch", "offset", "id", "users"}
    assert missed(created, []) == []


def test_each_kind_has_logs_of_its_own() -> None:
    """A log of a newer version keeps notices of no type that this knows."""
    assert kept_in(ChannelName("~online:3")) == {"user.online", "user.offline"}
    assert kept_in(ChannelName("~occupied:3")) == {"channel.occupied", "channel.vacated"}
    assert kept_in(ChannelName("~offline:3")) == {"message.offline"}
    assert kept_in(ChannelName("~newer:3")) == kept_in(ChannelName("~")) == frozenset()
    assert keeps_notices(ChannelName("~newer:3"))
