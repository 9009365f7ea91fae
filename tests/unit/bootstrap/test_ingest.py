"""Keys of records that become messages."""

from server.adapters.kafka.incoming import Incoming
from server.bootstrap.ingest import key_of
from server.domain.limits import MAX_KEY_CHARS


def test_the_key_is_the_place() -> None:
    """So that a record that comes again is the same message."""
    assert key_of(Incoming("in", 3, 7, None, None)) == "kafka:in:3:7"


def test_a_long_name_of_a_topic_is_told_by_its_digest() -> None:
    """A key is short; other topics have other keys."""
    found = [key_of(Incoming("t" * length, 3, 7, None, None)) for length in (200, 199)]
    assert all(len(key) <= MAX_KEY_CHARS and key.endswith(":3:7") for key in found)
    assert found[0] != found[1]
