"""Reactions to a message: their state, their bounds, and which changes are events (PROTOCOL.md, "Reactions")."""

from server.domain.identity import UserId
from server.domain.values import value

MAX_EMOJI_CHARS = 32
"""Characters of an emoji. Emojis are compared by their characters: nothing is normalized."""

MAX_EMOJIS = 20
"""Emojis that a message may have."""

MAX_REACTORS = 5_000
"""Reactions that a message may have, of all emojis together."""

SHOWN_USERS = 10
"""Users that are named with an emoji: the first to react."""


@value
class Reacted:
    """An emoji of a message: how many users react with it, and the first `SHOWN_USERS` of them, earliest first."""

    emoji: str
    count: int
    users: tuple[UserId, ...]


Reactions = tuple[Reacted, ...]
"""The reactions to a message, by the first reaction of each emoji that is still there. An emoji without users is
absent."""


def is_told(before: int, after: int) -> bool:
    """Say whether a change of an emoji's count is an event: if the first two digits differ. Every change is below 100,
    every tenth above, every hundredth above 1,000: a flood of reactions must not push messages out of the log."""
    return _shown(before) != _shown(after)


def _shown(count: int) -> int:
    step = 1
    while count // step >= 100:  # noqa: PLR2004  # two digits
        step *= 10
    return count // step * step
