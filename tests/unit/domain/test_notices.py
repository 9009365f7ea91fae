"""Notices of users that come and go, and the logs that keep them."""

import pytest

from server.domain.channels import ChannelName, channel_name
from server.domain.errors import BadRequest
from server.domain.events import EventPublished
from server.domain.identity import UserId
from server.domain.notices import MARU, ONLINE_LOGS, keeps_notices, notice_of, told
from server.domain.presence import UserStatus


def test_the_notices_of_a_user_are_in_one_log() -> None:
    """Whatever they say; those of many users fill all logs."""
    statuses = [UserStatus(UserId(f"user {number}"), number % 2 == 0, number % 2, None) for number in range(1_000)]
    notices = [notice_of(status, "k") for status in statuses]
    assert {notice.log for notice in notices} == {f"~online:{number}" for number in range(ONLINE_LOGS)}
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
    event = EventPublished(ChannelName("~online:1"), "e", 7, 1, "user.online", MARU, {"user": "alice"}, "k")
    assert told(event) == {"user": "alice", "channel": "~online:1", "epoch": "e", "offset": 7}
