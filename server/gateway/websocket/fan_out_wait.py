"""Decides how long a fan-out waits for more events, so that they share its writes.

Without a wait each of many messages that come close together would be written by itself: the fan-out of the first
begins before the command with the second is done.
"""

from collections.abc import Callable, Hashable

CLIENTS_PER_WAIT = 64
"""A fan-out waits a turn for each group of this many clients: a turn costs 10 us, and writing to them 700."""

MAX_IDLE_TURNS = 16
"""Turns without a new event after which even the largest fan-out is written. Together they take 0.2 ms."""

MIN_CLIENTS = 8
"""A fan-out to fewer clients never waits: the turns of a wait cost as much as the writes that it can save."""

COMMAND_TURNS = 8
"""Turns for which a fan-out waits for the event of a command that is under way. A command takes about five."""

MAX_SKIPS = 256
"""At least each batch of this number waits for commands, though the last waits have brought too little."""

WAIT_S = 0.005
"""The longest time that a fan-out waits while new events keep coming. Writing a large fan-out takes longer."""


class FanOutWait:
    """The wait of a fan-out, turn by turn. `clock` is the event loop's, in seconds.

    There are two reasons to wait. A large fan-out waits for a few turns in any case. A fan-out to `MIN_CLIENTS` or more
    also waits while commands are under way, as long as their events *join* it. An event joins if an earlier event of
    its channel waits.

    The wait for commands must not cost more than it saves: a command may be slow, or its event may be for others. If
    less than half of the events that came during a wait have joined, only the second batch from then on waits for
    commands again. If that is no better, only the fourth waits, then the eighth, and so on, up to `MAX_SKIPS`.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.under_way = 0  # clients whose commands are being handled, and sends that the log is writing
        self._clock = clock
        self._keys: set[Hashable] = set()  # of the batches that wait in the fan-out's line
        self._events = 0  # events in all
        self._joined = 0  # of them, those that have joined an event that waits
        self._since = 0.0  # when the fan-out began to wait; 0 if none waits
        self._events_before = self._joined_before = 0  # both numbers, when the fan-out began to wait
        self._events_seen = self._joined_seen = 0  # both numbers, at the wait's last turn
        self._idle_turns = 0  # turns in a row in which no event has come
        self._unjoined_turns = 0  # turns in a row in which no event has joined
        self._for_commands = False  # whether the fan-out has waited for commands
        self._skips = (
            0  # the batch that waits for commands again after a futile wait: 2 is the second; 0 after a useful
        )
        self._to_skip = 0  # batches until then

    def opened(self, key: Hashable) -> None:
        """Note the first event of a batch."""
        self._events += 1
        if key in self._keys:
            self._joined += 1
        elif self._to_skip:
            self._to_skip -= 1

    def joined(self) -> None:
        """Note a further event of the batch that is open."""
        self._events += 1
        self._joined += 1

    def queued(self, key: Hashable) -> None:
        """Note that a batch has ended, and waits in the fan-out's line."""
        self._keys.add(key)

    def is_for_commands(self, clients: int) -> bool:
        """Say whether a fan-out to so many clients waits for commands."""
        return self.under_way > 0 and clients >= MIN_CLIENTS and not self._to_skip

    def goes_on(self, clients: int) -> bool:
        """Say whether a fan-out to so many clients waits for a further turn. Call this once in a turn."""
        for_commands = self.is_for_commands(clients)
        if clients < CLIENTS_PER_WAIT and not for_commands:
            return False
        now = self._clock()
        if not self._since:
            self._begin(now)
        else:
            self._idle_turns = self._idle_turns + 1 if self._events == self._events_seen else 0
            self._unjoined_turns = self._unjoined_turns + 1 if self._joined == self._joined_seen else 0
        self._events_seen, self._joined_seen = self._events, self._joined
        if now - self._since >= WAIT_S:
            return False
        if self._idle_turns < min(clients // CLIENTS_PER_WAIT, MAX_IDLE_TURNS):
            return True
        self._for_commands |= for_commands
        return for_commands and self._unjoined_turns < COMMAND_TURNS

    def end(self) -> None:
        """End the wait, if there is one: what waits is written now."""
        if not self._since and not self._keys:
            return
        if self._for_commands:
            self._for_commands = False
            joined, events = self._joined - self._joined_before, self._events - self._events_before
            futile = not joined or 2 * joined < events
            self._skips = self._to_skip = min(2 * self._skips or 2, MAX_SKIPS) if futile else 0
        self._since = 0.0
        self._keys.clear()

    def _begin(self, now: float) -> None:
        self._since = now
        self._events_before, self._joined_before = self._events, self._joined
        self._idle_turns = self._unjoined_turns = 0
