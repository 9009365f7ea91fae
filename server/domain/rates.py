"""The buckets of commands, messages and handshakes: their names, and how fast each fills (PROTOCOL.md, "Limits")."""

from collections.abc import Mapping
from enum import StrEnum

from server.domain.gcra import Rate

MAX_RATE = 1_000_000.0
"""The largest rate that a setting may name: a bucket that fills faster limits nothing."""


class Bucket(StrEnum):
    """The names of the buckets. The second part of a name says whose the bucket is."""

    SESSION = "session"  # every command
    SEND = "send_user"  # changes of messages, by all sessions of a user on a replica
    JOIN = "join_session"
    READ = "read_session"  # pages
    MARK = "mark_session"
    TYPING = "typing_session"
    EMIT = "emit_session"  # events of applications that are in no log
    REFRESH = "refresh_session"
    INBOX = "inbox_user"
    NEW_CHANNEL = "new_channel_user"  # channels that a user makes by their first message, on a replica
    CHANNEL = "channel"  # events of a channel, by everybody, in the whole cluster
    ADDRESS = "address"  # handshakes of a client's address
    API_KEY = "api_key"


SLOW_MODE = "slow_mode"
"""The name of the limit that a channel's rule sets."""

NEW_CHANNELS = "new_channels"
"""The name of the limit on channels that nobody here has joined."""

SCOPES = (
    *(
        str(bucket)
        for bucket in (
            Bucket.SESSION,
            Bucket.SEND,
            Bucket.JOIN,
            Bucket.READ,
            Bucket.EMIT,
            Bucket.REFRESH,
            Bucket.CHANNEL,
        )
    ),
    str(Bucket.NEW_CHANNEL),
    str(Bucket.INBOX),
    SLOW_MODE,
    NEW_CHANNELS,
)
"""The limits that a command may meet."""

QUIET = frozenset({Bucket.MARK, Bucket.TYPING})
"""The buckets for which no command is refused: over their rate a command is answered as if it were done."""

Rates = Mapping[Bucket, Rate]
"""The rates of the buckets. A bucket that is not in it limits nothing."""

DEFAULTS: Rates = {
    Bucket.SESSION: Rate(50.0, 200),
    Bucket.SEND: Rate(10.0, 50),
    Bucket.JOIN: Rate(20.0, 600),
    Bucket.READ: Rate(20.0, 100),
    Bucket.MARK: Rate(5.0, 20),
    Bucket.TYPING: Rate(2.0, 10),
    Bucket.EMIT: Rate(20.0, 40),  # a cursor on a canvas, and no word of its user is in its way
    Bucket.REFRESH: Rate(0.1, 5),
    Bucket.INBOX: Rate(0.1, 3),
    Bucket.NEW_CHANNEL: Rate(0.02, 120),  # 72 an hour: nobody opens more conversations by hand
    Bucket.CHANNEL: Rate(200.0, 400),
    Bucket.ADDRESS: Rate(20.0, 200),
    Bucket.API_KEY: Rate(200.0, 400),
}

OFF = Rate(0.0, 0)
"""In a setting, in place of a rate: the bucket limits nothing."""

IN_TIERS = frozenset(Bucket) - {Bucket.CHANNEL, Bucket.ADDRESS, Bucket.API_KEY}
"""The buckets of a client, whose rates its token may choose. The others belong to nobody who has a token."""


def replaced(rates: Rates, by: Rates) -> Rates:
    """Return the rates with some of them replaced; `OFF` takes a bucket out."""
    return {bucket: rate for bucket, rate in {**rates, **by}.items() if rate != OFF}
