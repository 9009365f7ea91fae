"""Which node has which slot, as the nodes tell it. No I/O.

Each node tells its own view (CLUSTER NODES). A node that was cut off tells an old one: a claim to a slot has the config
epoch of the node that claims it, and the highest wins, as among the nodes themselves.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from server.adapters.redis.cluster.addresses import Address
from server.adapters.redis.cluster.slots import SLOTS


class Claim(NamedTuple):
    """The slots of a master."""

    epoch: int
    address: Address
    ranges: tuple[tuple[int, int], ...]  # first and last


class View(NamedTuple):
    """What a node tells of the cluster."""

    claims: tuple[Claim, ...]
    nodes: tuple[Address, ...]  # also replicas
    names: tuple[tuple[Address, Address], ...] = ()  # of a node with a hostname its IP address, and its address by name


class Table:
    """The owner of each slot; None if nobody has it."""

    def __init__(self, views: Iterable[View] = ()) -> None:
        found = list(views)
        self.owners: list[Address | None] = [None] * SLOTS
        for claim in sorted({claim for view in found for claim in view.claims}):
            for first, last in claim.ranges:
                self.owners[first : last + 1] = [claim.address] * (last + 1 - first)
        self.nodes = tuple(dict.fromkeys(address for view in found for address in view.nodes))
        self._names = {place: name for view in found for place, name in view.names}

    def named(self, address: Address) -> Address:
        """Return the address by which this table knows a node: a redirection names its IP address if it has a hostname,
        too, unless it is set to do otherwise."""
        return self._names.get(address, address)


def parse_view(text: str, asked: Address) -> View:
    """Return the view of the node that was `asked`. A line that can't be read is passed over.

    A line is ID ADDRESS FLAGS MASTER PING PONG EPOCH LINK RANGE...; ADDRESS is HOST:PORT@BUS or HOST:PORT@BUS,HOSTNAME.
    """
    claims, nodes, names = list[Claim](), list[Address](), list[tuple[Address, Address]]()
    for line in text.splitlines():
        words = line.split(" ")
        try:
            address, flags, epoch = _address(words[1], asked), words[2].split(","), int(words[6])
            ranges = tuple(_range(word) for word in words[8:] if word and not word.startswith("["))
        except (IndexError, ValueError):
            continue
        if _UNUSABLE & {*flags}:
            continue
        if "fail" not in flags:
            nodes.append(address)
            place = _address(words[1].partition(",")[0], asked)
            if place != address:
                names.append((place, address))
        if "master" in flags and ranges:
            claims.append(Claim(epoch, address, ranges))
    return View(tuple(claims), tuple(nodes), tuple(names))


_UNUSABLE = frozenset(("noaddr", "handshake"))


def _address(word: str, asked: Address) -> Address:
    place, _, names = word.partition("@")
    hostname = names.partition(",")[2].partition(",")[0]
    host, _, port = place.rpartition(":")
    # A node that was not told its own address leaves it out: it is the node that was asked.
    return hostname or host or asked[0], int(port)


def _range(word: str) -> tuple[int, int]:
    first, _, last = word.partition("-")
    found = int(first), int(last or first)
    if not 0 <= found[0] <= found[1] < SLOTS:
        raise ValueError("a slot is out of range")
    return found


def owned(table: Table, slots: Sequence[int]) -> dict[Address, int]:
    """Return the owners of some slots, each with the index of its first."""
    found = dict[Address, int]()
    for index, slot in enumerate(slots):
        owner = table.owners[slot]
        if owner is not None:
            found.setdefault(owner, index)
    return found
