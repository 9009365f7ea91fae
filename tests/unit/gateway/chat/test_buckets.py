"""Every command has its rates."""

from server.domain.rates import QUIET, SCOPES, Bucket
from server.gateway.chat.buckets import BUCKETS, EMITTED, LATER, LOGGED
from server.wire.words import Command


def test_each_command_has_its_bucket() -> None:
    """A command that is added must say which; changes of messages share one."""
    assert set(BUCKETS) == set(Command)
    assert {command for command, bucket in BUCKETS.items() if bucket == Bucket.SEND} == {
        Command.SEND,
        Command.EDIT,
        Command.DELETE,
        Command.REACT,
        Command.UNREACT,
    }
    assert dict(LATER) == {LOGGED: Bucket.SEND, EMITTED: Bucket.EMIT}


def test_each_bucket_is_a_scope() -> None:
    """So that its refusals are counted from the start; those that refuse nothing are none."""
    buckets = (*BUCKETS.values(), *LATER.values())
    assert {str(bucket) for bucket in buckets if bucket is not None and bucket not in QUIET} < set(SCOPES)
    assert not {str(bucket) for bucket in QUIET} & set(SCOPES)
