"""The rules of reactions: which are refused, and the state that the others make.

Pure, as `appending` is for messages. An adapter whose store decides by itself takes the refusals from here.
"""

from collections.abc import Iterable
from itertools import islice

from server.domain.errors import Conflict
from server.domain.identity import UserId
from server.domain.reactions import MAX_EMOJIS, MAX_REACTORS, SHOWN_USERS, Reacted, Reactions


def too_many_emojis() -> Conflict:
    """Return the refusal of an emoji that the message does not have yet."""
    return Conflict(f"the message has {MAX_EMOJIS} emojis, which is the most")


def too_many_reactors() -> Conflict:
    """Return the refusal of a reaction to a message that has very many."""
    return Conflict(f"the message has {MAX_REACTORS} reactions, which is the most")


def react_to_deleted() -> Conflict:
    """Return the refusal of a reaction, or of its end, at a deleted message."""
    return Conflict("the message has been deleted")


def check_room(present: int, emojis: int, reactions: int) -> None:
    """Check that a reaction may be added. `present`: the reactions with its emoji; `emojis` and `reactions` are all of
    the message. Raises `Conflict`."""
    if reactions >= MAX_REACTORS:
        raise too_many_reactors()
    if not present and emojis >= MAX_EMOJIS:
        raise too_many_emojis()


class Tally:
    """The reactions to a message: a set of pairs of an emoji and a user, in the order in which they were made."""

    __slots__ = ("_last", "_made", "_total")

    def __init__(self) -> None:
        self._made: dict[str, dict[UserId, int]] = {}  # by emoji: its users, earliest first, and the reaction's number
        self._last = 0  # the number of the last reaction
        self._total = 0  # reactions, of all emojis

    def has(self, emoji: str, user: UserId) -> bool:
        """Say whether the user reacts with the emoji."""
        return user in self._made.get(emoji, ())

    def count(self, emoji: str) -> int:
        """Return how many users react with the emoji."""
        return len(self._made.get(emoji, ()))

    def check(self, emoji: str) -> None:
        """Check that there is room for a further reaction with the emoji. Raises `Conflict`."""
        check_room(self.count(emoji), len(self._made), self._total)

    def change(self, emoji: str, user: UserId, *, add: bool) -> None:
        """Add a reaction that is not there, or remove one that is."""
        if add:
            self._add(emoji, user)
        else:
            self._remove(emoji, user)

    def _add(self, emoji: str, user: UserId) -> None:
        self._last += 1
        self._total += 1
        self._made.setdefault(emoji, {})[user] = self._last

    def _remove(self, emoji: str, user: UserId) -> None:
        users = self._made[emoji]
        del users[user]
        self._total -= 1
        if not users:
            del self._made[emoji]

    def state(self) -> Reactions:
        """Return the state, as it is told to clients."""
        return tuple(
            [Reacted(emoji, len(users), _first(users)) for emoji, users in sorted(self._made.items(), key=_age)]
        )


def _age(made: tuple[str, dict[UserId, int]]) -> int:
    """Return the number of an emoji's first reaction that is still there."""
    return next(iter(made[1].values()))


def _first(users: Iterable[UserId]) -> tuple[UserId, ...]:
    return tuple(islice(users, SHOWN_USERS))
