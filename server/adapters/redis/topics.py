"""The topics that a replica wants to hear, and the callers that wait for Redis to confirm them. No I/O, no waiting."""

import asyncio
from collections import deque
from collections.abc import Sequence

from server.domain.errors import Unavailable

Confirmation = asyncio.Future[None]


class Topics:
    """The wanted topics. Redis confirms each SUBSCRIBE in order, so the callers that wait for a topic are queued in
    groups, a group for each SUBSCRIBE that was sent."""

    def __init__(self) -> None:
        self._wanted: set[str] = set()
        self._unasked: dict[str, list[Confirmation]] = {}
        self._asked: dict[str, deque[list[Confirmation]]] = {}

    def __len__(self) -> int:
        return len(self._wanted)

    def want(self, topic: str) -> Confirmation:
        """Want the topic from now on. The future is done once Redis has confirmed a SUBSCRIBE of later than now."""
        self._wanted.add(topic)
        confirmed: Confirmation = asyncio.get_running_loop().create_future()
        self._unasked.setdefault(topic, []).append(confirmed)
        return confirmed

    def unwant(self, topic: str) -> None:
        """Give the topic up. Callers whose SUBSCRIBE was not sent yet fail with `Unavailable`."""
        self._wanted.discard(topic)
        _give_up(self._unasked.pop(topic, ()))

    def forget(self, topic: str) -> None:
        """Give the topic up, since another listener hears it: all callers that wait fail with `Unavailable`."""
        self._wanted.discard(topic)
        for group in (self._unasked.pop(topic, []), *self._asked.pop(topic, ())):
            _give_up(group)

    def ask(self, topic: str) -> str | None:
        """Return the command to send now: SUBSCRIBE if a caller waits, UNSUBSCRIBE if the topic is not wanted, None if
        there is nothing to do. The last call of `want` or `unwant` decides, in whatever order the senders come."""
        if topic not in self._wanted:
            return "UNSUBSCRIBE"
        if topic not in self._unasked:
            return None
        self._asked.setdefault(topic, deque()).append(self._unasked.pop(topic))
        return "SUBSCRIBE"

    def ask_all(self) -> Sequence[str]:
        """Every wanted topic, to be asked for on a new connection."""
        for topic, groups in self._asked.items():
            for group in groups:
                self._unasked.setdefault(topic, []).extend(group)
        self._asked = {topic: deque([self._unasked.pop(topic, [])]) for topic in self._wanted}
        for group in self._unasked.values():
            _give_up(group)
        self._unasked.clear()
        return tuple(self._wanted)

    def confirm(self, topic: str) -> None:
        """Redis has confirmed the oldest SUBSCRIBE of the topic that it had not confirmed yet."""
        groups = self._asked.get(topic)
        if not groups:
            return
        for confirmed in groups.popleft():
            if not confirmed.done():
                confirmed.set_result(None)
        if not groups:
            del self._asked[topic]


def _give_up(group: Sequence[Confirmation]) -> None:
    for confirmed in group:
        if not confirmed.done():
            confirmed.set_exception(Unavailable("the subscription was given up meanwhile"))
