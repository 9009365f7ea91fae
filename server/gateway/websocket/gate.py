"""The judge that a connection asks before it takes a packet: whether the client may send it now."""

from sys import getsizeof
from typing import Generic, Protocol, TypeVar

from server.domain.values import value

C_contra = TypeVar("C_contra", contravariant=True)
"""The connection's class, which knows this module and not the other way round."""


@value
class Refused:
    """A packet that is not taken. `answer` is the frame for its client, empty if it asked for none; `send`: the packets
    of its kind behind it are to be refused, too, until the answer is written."""

    answer: bytes
    send: bool

    def __sizeof__(self) -> int:
        """Return what the answer takes in memory."""
        return getsizeof(self.answer)


class Gate(Protocol, Generic[C_contra]):
    """Judges packets before they are parsed."""

    def judge(self, connection: C_contra, packet: str, now: float, *, behind: bool = False) -> Refused | None:
        """Count a packet, and return None; or refuse it. `now` is when it was read. `behind`: an earlier send was
        refused, and its client does not know that yet. Raises nothing."""
