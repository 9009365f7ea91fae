"""Are marks, reactions and rosters right? Judged from the answers to a client's commands alone. Pure: no I/O, no clock.

At the end of a run, when every member has heard everything, a mark at the end leaves nothing unread; a roster has every
member of its channel; and a message has the reactions that were acked. While a run lasts, an answer to a mark never
names an earlier place than the answer before it.
"""

from dataclasses import dataclass, fields
from typing import Self

from loadtest.wire import Json


@dataclass(slots=True)
class PeopleTally:
    """Counts of answers, and of faults: marks that went back, or left something unread at the end; rosters that miss
    members; reactions that were lost or came from nowhere."""

    answers: int = 0
    marks: int = 0
    rosters: int = 0
    reactions: int = 0

    def add(self, other: Self) -> None:
        """Add the counts of another tally."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    @property
    def clean(self) -> bool:
        """Whether there is no fault."""
        return not (self.marks or self.rosters or self.reactions)


class Marks:
    """The marks of a client, by channel."""

    __slots__ = ("_tally", "_told")

    def __init__(self, tally: PeopleTally) -> None:
        self._tally = tally
        self._told: dict[str, int] = {}

    def answered(self, channel: str, answer: Json, *, read: int = 0) -> bool:
        """Judge an answer to `read:mark`; `read` is the channel's last offset if all is read, else 0. Return whether
        the answer is right; a refusal is no fault."""
        if not answer["ok"]:
            return True
        self._tally.answers += 1
        offset, unread, mentions = answer["offset"], answer["unread"], answer["unread_mentions"]
        sound = offset >= self._told.get(channel, 0) and 0 <= mentions <= unread
        if read:
            sound = sound and offset >= read and unread == 0
        self._told[channel] = max(offset, self._told.get(channel, 0))
        self._tally.marks += not sound
        return bool(sound)


class ReactionBook:
    """The reactions with one emoji, that nobody else uses, by message: for each client whether it reacts, or None if
    an answer was lost."""

    __slots__ = ("_messages", "_tally", "emoji")

    def __init__(self, emoji: str, tally: PeopleTally) -> None:
        self.emoji = emoji
        self._tally = tally
        self._messages: dict[tuple[str, str], dict[int, bool | None]] = {}

    @property
    def messages(self) -> list[tuple[str, str]]:
        """The messages with reactions, as channels and ids."""
        return list(self._messages)

    def asked(self, channel: str, id: str, client: int) -> bool:
        """Note that a client changes its mind about a message; return whether it is to react now. Until the answer
        comes, nobody knows."""
        clients = self._messages.setdefault((channel, id), {})
        wanted = not clients.get(client, False)
        clients[client] = None
        return wanted

    def answered(self, channel: str, id: str, client: int, wanted: bool, answer: Json) -> None:
        """Note the answer."""
        if answer["ok"]:
            self._tally.answers += 1
            self._messages[(channel, id)][client] = wanted

    def judge(self, channel: str, message: Json) -> bool:
        """Judge the state of a message, from a page of history; return whether it is right."""
        clients = self._messages.get((channel, message["id"]))
        if clients is None or message.get("deleted"):
            return True
        sure = sum(reacts is True for reacts in clients.values())
        unknown = sum(reacts is None for reacts in clients.values())
        state = message["reactions"].get(self.emoji, {"count": 0, "users": []})
        sound = sure <= state["count"] <= sure + unknown and len(state["users"]) == min(state["count"], 10)
        self._tally.reactions += not sound
        return bool(sound)


def is_whole(answer: Json, members: int) -> bool:
    """Say whether an answer to `presence:read` has all of a channel's members, each once."""
    if not answer["ok"]:
        return False
    named = [member["user"] for member in answer["members"]]
    return answer["count"] == members and (not answer["complete"] or len(named) == len(set(named)) == members)
