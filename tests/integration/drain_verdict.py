"""The verdict on a drain: the accounts of its clients, held against the log and the promises of a drain."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.clients.member import Member

WAIT_LIMIT_S = 5.0
"""The longest that 99 of 100 clients may be without a connection."""

HEEDED = 0.75
"""The part of those that heed the notice which must not be without a connection at all. On a machine with nothing
else to do it is all of them; on a busy machine, connecting takes some longer than the grace. Without a grace, it is
none of them."""

Log = Sequence[tuple[int, str | None]]
"""Offset and key of every message of a channel."""


@dataclass(frozen=True, slots=True)
class Drained:
    """A drain as its clients lived it, and the end of the process.

    It began at `began`, by the monotonic clock; `pace` is clients a second.
    """

    members: Sequence[Member]
    log: Mapping[str, Log]
    began: float
    exit_code: int
    seconds: float
    limit_s: float
    pace: float

    @property
    def peak(self) -> int:
        """The most attempts to connect that fell into a single second."""
        times = sorted(at for member in self.members for at in member.witness.attempts if at > self.began)
        return max((bisect_left(times, begin + 1.0) - place for place, begin in enumerate(times)), default=0)

    @property
    def gaps(self) -> list[float]:
        """Seconds for which each client was without a connection, the shortest first."""
        return sorted(sum(member.gaps) for member in self.members)

    @property
    def moved(self) -> float:
        """The part of those that heed the notice which never were without a connection."""
        heeding = [member for member in self.members if member.heeds]
        return sum(not member.gaps for member in heeding) / len(heeding)

    @property
    def retried(self) -> list[bool]:
        """Of each message that was sent again though it was not refused: whether it was in the log before."""
        return [
            member.acks[key][1]
            for member in self.members
            for key, tries in member.tries.items()
            if tries > 1 and key in member.acks and key not in member.refused_keys
        ]

    def complaints(self) -> list[str]:
        """Return the broken promises; none if all is well."""
        waits = self.gaps[round(len(self.gaps) * 0.99) - 1]
        done_but_unanswered = sum(self.retried)
        verdict = {
            f"exit code {self.exit_code}": self.exit_code != 0,
            f"ended after {self.seconds:.1f} s": self.seconds > self.limit_s,
            f"{self.peak} attempts in one second, at a pace of {self.pace:.0f}": self.peak > 2 * self.pace,
            f"the 99th of a hundred waited {waits:.1f} s": waits > WAIT_LIMIT_S,
            f"only {self.moved:.0%} of those that heeded the notice kept a connection": self.moved < HEEDED,
            f"{done_but_unanswered} commands were done and not answered": done_but_unanswered > 0,
        }
        found = [text for text, wrong in verdict.items() if wrong]
        found += [fault for member in self.members for fault in _faults(member, self.log[member.witness.channel])]
        return found + [fault for channel, log in self.log.items() for fault in _log_faults(channel, log)]


def _faults(member: Member, log: Log) -> list[str]:
    """Compare a client's account with the log."""
    witness = member.witness
    found = [f"{witness.user}: {fault}" for fault in witness.faults]
    if (witness.last, witness.count) != (len(log), len(log)):
        found.append(f"{witness.user} heard {witness.count} up to {witness.last} of {len(log)}")
    at = {key: offset for offset, key in log}
    if member.unanswered or any(at.get(key) != offset for key, (offset, _) in member.acks.items()):
        found.append(f"{witness.user}: not in the log as acked; {len(member.unanswered)} without an answer")
    often = {key for key, tries in member.tries.items() if tries > 2} - member.refused_keys
    return found + [f"{key} was sent more than twice" for key in often]


def _log_faults(channel: str, log: Log) -> list[str]:
    keys = [key for _, key in log]
    if [offset for offset, _ in log] != list(range(1, len(log) + 1)) or len(set(keys)) != len(keys):
        return [f"{channel}: not dense, or a message twice"]
    return []
