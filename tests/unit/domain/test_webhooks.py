"""Endpoints: what they are told of, the ids of requests, and answers."""

from dataclasses import replace

import pytest

from server.domain.channels import ChannelName
from server.domain.events import Event, EventPublished, MessageDeleted, MessageEdited, ReactionChanged, erased
from server.domain.identity import Author, UserId
from server.domain.messages import Position
from server.domain.recovery import NotResumable
from server.domain.signing import SigningKey
from server.domain.webhooks import (
    LOGGED,
    Answer,
    ChannelGap,
    Endpoint,
    Outcome,
    WebhookType,
    gap_id,
    outcome_of,
    request_id,
    type_of,
    types_of,
)
from tests.doubles.samples import NOW_MS, ROOM, event, some_id, unknown

KEYS = (SigningKey(b"k" * 32),)
CREATED = event(1)
EDITED = MessageEdited(ROOM, "one", 2, NOW_MS, CREATED.message)
DELETED = MessageDeleted(ROOM, "one", 3, NOW_MS, some_id(1), Author(UserId("mod"), None))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (CREATED, "message.created"),
        (EDITED, "message.edited"),
        (DELETED, "message.deleted"),
        (erased(CREATED), "message.created"),
        (erased(EDITED), "message.edited"),
        (ReactionChanged(ROOM, "one", 4, NOW_MS, some_id(1), ()), "reaction.changed"),
        (EventPublished(ROOM, "one", 5, NOW_MS, "paid", Author(UserId("shop"), None), None, None), "event.published"),
        (unknown(4), None),
    ],
)
def test_each_event_of_the_log_has_its_type(entry: Event, expected: str | None) -> None:
    """An erased event keeps its type; an entry of an unknown kind has none."""
    assert type_of(entry) == expected


def test_patterns_of_types() -> None:
    """As patterns of grants: exact, or with a trailing `*`."""
    others = {WebhookType.REACTION_CHANGED, WebhookType.EVENT_PUBLISHED}
    assert types_of(["message.*"]) == {*LOGGED, WebhookType.MESSAGE_OFFLINE} - others
    assert types_of(["reaction.*", "event.*"]) == others
    assert types_of(["user.online", "channel.gap"]) == {WebhookType.USER_ONLINE, WebhookType.CHANNEL_GAP}
    assert types_of(["*"]) == set(WebhookType)
    with pytest.raises(ValueError, match=r"'message\.sent' covers no type of event; the types are message\.created"):
        types_of(["message.*", "message.sent"])


def test_an_endpoint_is_told_of_its_channels_and_types() -> None:
    """All of them if none are named."""
    everything = Endpoint("crm", "https://example.com", KEYS)
    assert everything.covers(ROOM)
    assert everything.wants(DELETED)
    assert everything.wants_all
    some = Endpoint("crm", "https://example.com", KEYS, types_of(["message.deleted"]), ("room:*", "ops"))
    assert some.covers(ROOM)
    assert some.covers(ChannelName("ops"))
    assert not some.covers(ChannelName("ops:1"))
    assert some.wants(DELETED)
    assert not some.wants(CREATED)
    assert not some.wants(unknown(4))
    assert not some.wants_all


def test_notices_are_of_no_channel() -> None:
    """They are told to whoever wants their types, whatever the channels."""
    log = ChannelName("~online:3")
    everything = Endpoint("crm", "https://example.com", KEYS)
    some = Endpoint("crm", "https://example.com", KEYS, types_of(["user.*"]), ("room:*",))
    none = Endpoint("crm", "https://example.com", KEYS, types_of(["message.created"]), ("room:*",))
    assert [each.covers(log) for each in (everything, some, none)] == [True, True, False]
    assert [each.patterns for each in (everything, some, none)] == [(), ("room:*", "~online:*"), ("room:*",)]
    event = EventPublished(log, "e", 1, NOW_MS, "user.online", Author(UserId("maru"), None), {"user": "alice"}, "k")
    assert type_of(event) == "user.online"
    assert (some.wants(event), none.wants(event)) == (True, False)
    assert type_of(replace(event, name="user.newer")) is None


def test_notices_of_channels_are_told_to_endpoints_of_these() -> None:
    """Others of their log are not."""
    rooms = Endpoint("crm", "https://example.com", KEYS, types_of(["channel.*", "message.offline"]), ("room:*",))
    assert rooms.patterns == ("room:*", "~occupied:*", "~offline:*")
    log, by = ChannelName("~occupied:3"), Author(UserId("maru"), None)
    room, other = (
        EventPublished(log, "e", 1, NOW_MS, "channel.occupied", by, {"channel": name}, None)
        for name in ("room:1", "dm:1")
    )
    assert (rooms.covers(log), rooms.wants(room), rooms.wants(other)) == (True, True, False)
    assert not rooms.covers(ChannelName("~newer:3"))


def test_neither_url_nor_keys_are_shown() -> None:
    """A URL may hold a secret, too."""
    shown = repr(Endpoint("crm", "https://example.com/?token=t0p", KEYS))
    assert "t0p" not in shown
    assert "kkk" not in shown


def test_ids_of_requests_are_those_of_their_events() -> None:
    """Equal for equal events, whoever computes them; another for each other event, endpoint and gap."""
    assert request_id("crm", ROOM, "e", 1, 1) == "34e8c7dc-01e6-5e36-acd9-30f1ba1b176b"
    gap = ChannelGap(ROOM, Position("e", 1), Position("e", 9), NotResumable.EXPIRED, NOW_MS)
    ids = [
        request_id("crm", ROOM, "e", 1, 1),
        request_id("crm", ROOM, "e", 1, 2),
        request_id("crm", ROOM, "f", 1, 1),
        request_id("crm", ChannelName("room:2"), "e", 1, 1),
        request_id("ops", ROOM, "e", 1, 1),
        gap_id("crm", gap),
        gap_id("ops", gap),
    ]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "accepted"),
        (204, "accepted"),
        (302, "redirected"),
        (400, "refused"),
        (401, "refused"),
        (408, "busy"),
        (410, "gone"),
        (425, "busy"),
        (429, "busy"),
        (500, "failed"),
        (503, "failed"),
        (101, "failed"),
        (999, "failed"),
    ],
)
def test_outcomes_of_statuses(status: int, outcome: str) -> None:
    """Each status has its outcome."""
    assert outcome_of(status) == outcome


def test_answers_for_operators() -> None:
    """With the status, if there is one."""
    assert Answer(Outcome.REFUSED, 400).told() == "refused (400)"
    assert Answer(Outcome.TIMED_OUT).told() == "timed_out"
