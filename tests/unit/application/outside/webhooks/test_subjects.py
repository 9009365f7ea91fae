"""Notices of messages tell these as they are when they are sent."""

from dataclasses import replace

import pytest

from server.adapters.memory.message_log import MemoryMessageLog
from server.application.outside.webhooks.subjects import with_subjects
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion
from server.domain.events import Event, EventPublished, MessageCreated, MessageErased
from server.domain.notices import MARU, SUBJECT
from server.domain.webhooks import Endpoint, types_of
from tests.doubles.samples import HOUR_MS, NOW_MS, ROOM, event, new_message
from tests.doubles.webhooks import KEYS

ENDPOINT = Endpoint("push", "https://example.com", KEYS, types_of(["message.offline"]), batch=2)


@pytest.fixture
def log() -> MemoryMessageLog:
    """An empty log."""
    return MemoryMessageLog(max_events=1_000, max_age_ms=HOUR_MS)


def notice(about: MessageCreated, offset: int = 1) -> EventPublished:
    """The notice of a message."""
    data = {"channel": ROOM, "epoch": about.epoch, "offset": about.offset, "id": about.message.id, "users": ["bob"]}
    return EventPublished(ChannelName("~offline:1"), "e", offset, NOW_MS, "message.offline", MARU, data, "k")


async def created(log: MemoryMessageLog, number: int = 1) -> MessageCreated:
    """A message that is written now."""
    found = (await log.append(new_message(number))).event
    assert isinstance(found, MessageCreated)
    return found


async def test_a_message_is_read_when_it_is_told(log: MemoryMessageLog) -> None:
    """Once it is deleted, its text is gone."""
    first = await created(log)
    (told,) = await with_subjects(log, ENDPOINT, [notice(first)])
    assert told.data[SUBJECT] == first
    await log.append(Deletion(ROOM, first.message.id, NOW_MS))
    (told,) = await with_subjects(log, ENDPOINT, [notice(first)])
    assert isinstance(told.data[SUBJECT], MessageErased)


async def test_a_message_that_is_gone_is_told_as_deleted(log: MemoryMessageLog) -> None:
    """If another event has its place, or none has."""
    first = await created(log)
    for gone in (replace(first, epoch="another"), replace(first, offset=7)):
        (told,) = await with_subjects(log, ENDPOINT, [notice(gone)])
        subject = told.data[SUBJECT]
        assert isinstance(subject, MessageErased)
        assert (subject.id, subject.offset, subject.epoch) == (first.message.id, gone.offset, gone.epoch)
    await log.append(Deletion(ROOM, first.message.id, NOW_MS))
    (told,) = await with_subjects(log, ENDPOINT, [notice(replace(first, offset=2))])
    assert isinstance(told.data[SUBJECT], MessageErased)


async def test_no_more_is_read_than_a_request_may_have(log: MemoryMessageLog) -> None:
    """Nor for events of other types, or that are not wanted."""
    first = await created(log)
    notices = [notice(first, offset) for offset in range(1, 5)]
    events: list[Event] = [event(1), replace(notices[0], name="user.online"), *notices]
    found = await with_subjects(log, ENDPOINT, events)
    assert [SUBJECT in each.data for each in found if isinstance(each, EventPublished)] == [
        False,
        True,
        True,
        False,
        False,
    ]
    everything = Endpoint("crm", "https://example.com", KEYS, batch=9)
    online = replace(notices[0], name="user.online")
    assert await with_subjects(log, everything, [online]) == [online]
