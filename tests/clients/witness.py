"""The account of a crowd's member: kept small, so that a process can hold hundreds of members."""

import asyncio
import hashlib
import time
from collections import Counter
from typing import Any

Json = dict[str, Any]

FAULTS = 20
"""Kept of a member; more faults would say no more."""


class Witness:
    """A member's account. Times are seconds of the monotonic clock, which all processes of a machine share."""

    def __init__(self, user: str, kind: str, channel: str) -> None:
        self.user, self.kind, self.channel = user, kind, channel
        self.first, self.last, self.count, self.sent = 0, 0, 0, 0
        self.faults: list[str] = []
        self.acks: dict[str, int] = {}
        self.failed: Counter[str] = Counter()
        self.attempts: list[float] = []
        self.heard = asyncio.Event()
        self.gap = self.gap_at = 0.0
        self._digest = hashlib.sha256()
        self._heard_at: float | None = None

    def hear(self, offset: int, id: str, text: str) -> None:
        """Hear an event as the application gets it."""
        if self.first and offset != self.last + 1:
            self.fault(f"{offset} after {self.last}")
        self.first = self.first or offset
        self.last = offset
        self.count += 1
        self._digest.update(f"{offset} {id} {text}\n".encode())
        self.heard.set()
        self.silence_ends()

    def listen(self) -> None:
        """Count silences from now on."""
        self._heard_at = time.monotonic()

    def silence_ends(self, *, for_good: bool = False) -> None:
        """End a silence: something was heard, or there is nothing more to hear."""
        if self._heard_at is None:
            return
        now = time.monotonic()
        if now - self._heard_at > self.gap:
            self.gap, self.gap_at = now - self._heard_at, now
        self._heard_at = None if for_good else now

    def dials(self) -> None:
        """Note an attempt to connect."""
        self.attempts.append(time.monotonic())

    def fault(self, text: str) -> None:
        """Note something that must not happen."""
        if len(self.faults) < FAULTS:
            self.faults.append(text)

    def message(self) -> tuple[str, str]:
        """Return key and text of the next message."""
        self.sent += 1
        return f"{self.user}-{self.sent}", f"{self.user} says {self.sent}"

    def report(self) -> Json:
        """Return the whole account."""
        names = (
            "user kind channel first last count sent faults acks failed attempts gap gap_at".split()  # noqa: SIM905
        )
        return {"digest": self._digest.hexdigest(), **{name: getattr(self, name) for name in names}}
