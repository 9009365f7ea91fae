"""The slots of keys, topics and commands."""

from functools import lru_cache
from typing import Any

from redis.crc import key_slot

from server.adapters.redis.connection import Command
from server.adapters.redis.keys import PARTITIONS

SLOTS = 16_384

TAGS_LIMIT = 20_000
"""Tags whose slots are remembered: those of all partitions, and of users whose follows are read."""

_KEYLESS = frozenset(("PING", "TIME", "ROLE", "INFO", "WAIT"))

_KEY_AT = {"EVALSHA": 3, "XINFO": 2}
"""The place of the key in commands that do not have it behind their name."""

GUARD = "guard"
"""How the name of a key that never exists ends. While a slot moves from node to node, Redis refuses every command that
names both keys that are there and keys that are not. With the guard among its keys a script runs with all its keys in
their place, or not at all: without it, the script would fail half-way at the first key that has moved."""

UNGUARDED = f"if string.sub(KEYS[#KEYS], -{len(GUARD) + 1}) == '}}{GUARD}' then table.remove(KEYS) end\n".encode()
"""How every script begins: it does not see the guard."""


def slot_of(key: str | bytes) -> int:
    """Return the slot of a key or a topic."""
    text = key.decode(errors="surrogateescape") if isinstance(key, bytes) else key
    return _slot_of_tag(_tag(text))


def slot_of_command(command: Command) -> int:
    """Return the slot of a command's key. A command without a key may go anywhere: that of the first partition."""
    name = command[0]
    if name in _KEYLESS:
        return PARTITION_SLOTS[0]
    if name == "XREAD":
        return slot_of(command[command.index("STREAMS") + 1])
    return slot_of(command[_KEY_AT.get(name, 1)])


def guarded(command: Command) -> Command:
    """Return the call of a script of several keys with the guard among them; other commands as they are."""
    if command[0] != "EVALSHA" or command[2] < 2:  # noqa: PLR2004  # with a single key Redis needs no help
        return command
    last = 3 + command[2]
    guard = f"{{{_tag(command[3])}}}{GUARD}"
    return (*command[:2], command[2] + 1, *command[3:last], guard, *command[last:])


def together(names: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Return keys in groups, each of a slot, in their order."""
    groups = dict[int, list[Any]]()
    for name in names:
        groups.setdefault(slot_of(name), []).append(name)
    return [tuple(group) for group in groups.values()]


def _tag(key: str) -> str:
    """Return the part of a key that decides about its slot."""
    begin = key.find("{")
    end = key.find("}", begin + 1)
    return key[begin + 1 : end] if begin >= 0 and end > begin + 1 else key


@lru_cache(maxsize=TAGS_LIMIT)
def _slot_of_tag(tag: str) -> int:
    return int(key_slot(tag.encode(errors="surrogateescape")))


PARTITION_SLOTS = tuple(slot_of(tag) for tag in PARTITIONS)
"""By the number of the partition."""
