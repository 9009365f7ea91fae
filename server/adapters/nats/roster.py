"""A channel's roster as a document: who has entered whom, and the version. No I/O, no waiting.

JSON: `{"e": epoch, "v": version, "m": {user: [name, since, [holder, ...]]}}`, compressed if it is long.
"""

import secrets
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import orjson

from server.domain.identity import UserId
from server.domain.presence import NOBODY, Present, Roster, RosterHead

EPOCH_BYTES = 8

PACKED_BYTES = 32_768
"""A longer document is compressed: the server takes a message of 1 MiB at most."""


@dataclass(slots=True)
class Members:
    """A roster that is changed."""

    epoch: str = NOBODY.epoch
    version: int = 0
    users: dict[UserId, tuple[str | None, int, list[str]]] = field(default_factory=dict)
    """By user: name, since, holders."""
    changed: bool = False
    """Whether it has to be written."""

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read a document; nothing is an empty roster."""
        if not data:
            return cls()
        fields = orjson.loads(data if data.startswith(b"{") else zlib.decompress(data))
        users = {UserId(user): (name, since, list(holders)) for user, (name, since, holders) in fields["m"].items()}
        return cls(fields["e"], fields["v"], users)

    def written(self) -> bytes:
        """Return the document."""
        data = orjson.dumps({"e": self.epoch, "v": self.version, "m": self.users})
        return data if len(data) < PACKED_BYTES else zlib.compress(data, 1)

    @property
    def head(self) -> RosterHead:
        """The head."""
        return NOBODY if self.epoch == NOBODY.epoch else RosterHead(self.epoch, self.version, len(self.users))

    def roster(self, limit: int) -> Roster:
        """The roster, with so many members."""
        there = sorted(self.users.items(), key=lambda each: (each[1][1], each[0]))
        members = tuple(Present(user, name, since) for user, (name, since, _) in there[:limit])
        return Roster(self.head, members, complete=len(members) == len(there))

    def enter(
        self, holder: str, users: Mapping[UserId, str | None], now: int, seen: RosterHead
    ) -> tuple[tuple[Present, ...], bool]:
        """Enter users; return those that are new, and whether that is to be told."""
        joined = list[Present]()
        for user, name in users.items():
            entry = self.users.get(user)
            if entry is None:
                self.users[user] = (name, now, [holder])
                joined.append(Present(user, name, now))
                self.changed = True
            elif holder not in entry[2]:
                entry[2].append(holder)
                self.changed = True
        back = self.epoch == seen.epoch != NOBODY.epoch and self.version < seen.version
        if back or (self.users and self.epoch == NOBODY.epoch):
            self.epoch, self.changed = secrets.token_hex(EPOCH_BYTES), True
        self.version += len(joined)
        return tuple(joined), bool(joined) or back

    def leave(self, holders: Sequence[str], users: Sequence[UserId] | None = None) -> tuple[Present, ...]:
        """Take holders off users, or off all; return the users that have no holder any more."""
        left = list[Present]()
        for user in tuple(self.users) if users is None else dict.fromkeys(users):
            entry = self.users.get(user)
            if entry is None or not any(holder in entry[2] for holder in holders):
                continue
            name, since, _ = entry
            kept = [holder for holder in entry[2] if holder not in holders]
            self.changed = True
            if kept:
                self.users[user] = (name, since, kept)
            else:
                del self.users[user]
                left.append(Present(user, name, since))
        self.version += len(left)
        return tuple(left)

    def has(self, holder: str) -> bool:
        """Say whether a holder has an entry."""
        return any(holder in holders for _, _, holders in self.users.values())
