"""Small parts of the PostgreSQL adapter: identities and epochs, places of events, errors, the rate."""

from dataclasses import replace

import asyncpg
import pytest

from server.adapters.codec import DecodeError, encode_event
from server.adapters.postgres.channels import epoch_of
from server.adapters.postgres.errors import is_outage, unavailable
from server.adapters.postgres.placing import NOWHERE, erased_payload, placed
from server.adapters.postgres.schema import AnotherLife, Identity, SchemaUnusable, files
from server.adapters.postgres.terms import Terms, limited
from server.domain.appending import created
from server.domain.channels import ChannelName
from server.domain.events import MessageErased, erased
from server.domain.gcra import Rate
from server.domain.messages import Position
from tests.doubles.samples import ROOM, event, new_message, published, reacted

IDENTITY = Identity(bytes(16), 7, 1)


def test_an_epoch_is_of_a_store_a_system_a_timeline_and_a_life_of_the_channel() -> None:
    """Any of them makes another; the same make the same."""
    others = [
        Identity(b"x" * 16, 7, 1),
        Identity(bytes(16), 8, 1),
        Identity(bytes(16), 7, 2),
        Identity(bytes(16), -7, 1),
    ]
    epochs = [epoch_of(each.key, ROOM, 0) for each in (IDENTITY, *others)]
    epochs += [epoch_of(IDENTITY.key, ROOM, 1), epoch_of(IDENTITY.key, ChannelName("room:other"), 0)]
    assert len(set(epochs)) == len(epochs)
    assert epoch_of(Identity(bytes(16), 7, 1).key, ROOM, 0) == epochs[0]


def test_an_event_gets_its_place_when_it_is_read() -> None:
    """Whatever place it was encoded with; a creation's message, too."""
    draft = new_message(5)
    assert placed(encode_event(created(draft, NOWHERE)), "now", 9, draft.at) == created(draft, Position("now", 9))
    for each in (reacted(3), published(3)):
        assert placed(encode_event(each), "now", 9, each.at) == replace(each, epoch="now", offset=9)
    with pytest.raises(DecodeError):
        placed(b"{", "now", 9, 0)


def test_erased_events_of_a_message_are_the_same_bytes() -> None:
    """Their places are those of their rows."""
    gone = erased(event(3))
    payloads = {erased_payload(replace(gone, offset=offset, at=offset, epoch=str(offset))) for offset in (3, 4, 5)}
    assert len(payloads) == 1
    read = placed(payloads.pop(), "now", 4, 44)
    assert isinstance(read, MessageErased)
    assert (read.epoch, read.offset, read.at, read.created_offset) == ("now", 4, 44, 3)


def failure(sqlstate: str) -> asyncpg.PostgresError:
    """An error of PostgreSQL with a text that holds what a user wrote."""
    error = asyncpg.PostgresError("duplicate key: (secret)")
    error.sqlstate = sqlstate
    return error


@pytest.mark.parametrize(
    ("error", "outage", "text"),
    [
        (failure("40P01"), False, "busy with the same rows"),
        (failure("55P03"), False, "busy with the same rows"),
        (failure("53100"), True, "refuses to serve (53100)"),
        (TimeoutError(), True, "does not answer in time"),
        (ConnectionRefusedError(), True, "can't be reached"),
        (asyncpg.InterfaceError("closed"), True, "can't be reached"),
        (AnotherLife(), True, "was started anew"),
        (SchemaUnusable("too new"), True, "too new"),
    ],
)
def test_errors_are_told_without_what_users_wrote(error: Exception, outage: bool, text: str) -> None:
    """An outage is told by a line, a conflict of transactions is not."""
    assert is_outage(error) == outage
    assert text in str(unavailable(error))
    assert "secret" not in str(unavailable(error))


def test_a_channel_takes_a_burst_then_its_pace() -> None:
    """By the same arithmetic as the function in PostgreSQL; the wait that is told suffices."""
    terms = Terms(10, 1_000, None, Rate(4.0, 3), None)
    now, full = 1_700_000_000_000.0, 0.0
    for _ in range(3):
        assert terms.wait_ms(full, now) == 0.0
        full = max(full, now) + terms.interval_ms
    wait = terms.wait_ms(full, now)
    assert 249.0 < wait <= 250.0
    told = limited(wait).retry_after_ms
    assert told in (250, 251)
    assert terms.wait_ms(full, now + told) == 0.0
    assert Terms(10, 1_000, None, None, None).wait_ms(full, now) == 0.0


def test_the_schema_begins_with_its_basis() -> None:
    """Other files replace functions of the first."""
    texts = files()
    assert "CREATE SCHEMA IF NOT EXISTS maru" in texts[0]
    assert any("FUNCTION maru.append(" in text for text in texts[1:])
    assert all("CREATE TABLE maru." not in text for text in texts), "every statement may be run again"
