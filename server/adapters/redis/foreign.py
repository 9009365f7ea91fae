"""What other processes may emit into a channel by a write-only `AsyncRedisManager`: unlogged events, judged first.

Each process that may publish on the shared topic may emit: Redis' users decide that (docs/operations.md).
"""

import unicodedata

import orjson

from server.domain.channels import ChannelName, channel_name
from server.domain.errors import BadRequest
from server.domain.limits import MAX_DATA_DEPTH
from server.domain.nesting import is_deeper
from server.domain.pushes import Emitted
from server.domain.texts import is_visible
from server.wire.words import NAMESPACE

MAX_BYTES = 64 * 1024
"""Of an emit; more is refused before it is parsed."""

MAX_EVENT_CHARS = 64

RESERVED_BEGINNINGS = ("connect", "disconnect", "reconnect", "__")
"""Of names with which client libraries tell of the connection, or of attributes in JavaScript and Python."""

RESERVED = frozenset(
    (
        # Client libraries: events of their own, now or in earlier versions; `send()`; any event.
        *("error", "ping", "pong", "open", "close", "packet", "upgrade", "upgradeerror", "drain", "message", "*"),
        *("statuschange", "websocketupgrade"),  # Swift's
        *("newlistener", "removelistener"),
        # Attributes of every object of JavaScript: a page that looks a handler up by the event's name would find these.
        *("constructor", "prototype", "hasownproperty", "isprototypeof", "propertyisenumerable"),
        *("tostring", "tolocalestring", "valueof"),
    )
)
"""Names that mean something without an application, in small letters."""


def foreign_emit(payload: bytes) -> tuple[ChannelName, Emitted] | None:
    """Return the channel and the event of a stock `emit` into a channel of `/chat`; None for anything else.

    The shape is python-socketio's: `{method: "emit", event, data: [...], namespace, room, binary, skip_sid, callback}`.
    """
    if len(payload) > MAX_BYTES:
        return None
    try:
        fields = orjson.loads(payload)
        if not isinstance(fields, dict) or fields.get("method") != "emit" or fields.get("namespace") != NAMESPACE:
            return None
        event, data, room = fields["event"], fields["data"], channel_name(fields["room"])
    except (KeyError, TypeError, ValueError, BadRequest):
        return None
    if fields.get("binary") or fields.get("callback") or not isinstance(data, list):
        return None
    if not isinstance(event, str) or not is_free(event):
        return None
    if is_deeper(data, MAX_DATA_DEPTH + 1):  # `data` is the list of arguments
        return None
    return room, Emitted(event, () if data == [None] else data)  # how the stock manager packs an event without data


def is_free(event: str) -> bool:
    """Say whether an application may use the name of an event.

    Every name with a colon is the protocol's, now or later: an event from outside must not be taken for an event of the
    log. Names are compared without case, in Unicode's compatible form, and have no characters that can't be seen.
    """
    if (
        not event
        or len(event) > MAX_EVENT_CHARS
        or not event.isprintable()
        or event != event.strip()
        or not is_visible(event)
    ):
        return False
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", event).casefold())
    return ":" not in folded and folded not in RESERVED and not folded.startswith(RESERVED_BEGINNINGS)
