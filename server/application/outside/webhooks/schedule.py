"""When an endpoint is asked again, and about which channel: pure, over times that are given.

A channel whose request failed waits for itself; if an endpoint fails for several channels in a row, it is down, and is
asked about a single channel at a time.
"""

from dataclasses import dataclass
from enum import Enum, auto
from random import Random

from server.domain.channels import ChannelName
from server.domain.webhooks import Answer, Outcome

BACK_OFF_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Waits after the first failure, the second ...; the last holds for all further failures."""

JITTER = 0.2
"""A wait is up to a fifth longer or shorter: what failed together is not tried again together."""

MOST_RETRY_AFTER_S = 3_600.0
"""A receiver that asks for a longer wait is asked after an hour."""

IN_FLIGHT = 8
"""Requests to an endpoint at the same time, at most."""

DOWN_FAILURES = 5
DOWN_CHANNELS = 3
"""An endpoint is down after so many failures in a row, over so many channels: a single bad channel is no outage."""

REFUSALS = 5
"""After so many refusals in a row, a request goes to the dead letters."""

MAX_AGE_S = 86_400.0
"""A request that has failed for a day may go to the dead letters."""

MAX_FAILING = 10_000
"""Channels whose failures are remembered. Beyond, the oldest is forgotten, and tried sooner than it should be."""


class Verdict(Enum):
    """What becomes of a request after its answer."""

    DONE = auto()
    AGAIN = auto()
    POISON = auto()
    """It was refused for good."""
    LATE = auto()
    """It has failed for `MAX_AGE_S`."""
    OFF = auto()
    """The endpoint wants no more requests."""


@dataclass(slots=True)
class _Failing:
    """A channel that waits. `refusals`: those of the last failures that were refusals; `last`: the offset of the last
    event of the request that failed."""

    since: float
    last: int | None = None
    failures: int = 0
    refusals: int = 0
    due: float = 0.0


@dataclass(slots=True)
class _Down:
    """An endpoint that fails: since when, how often it was probed, when it is probed again."""

    since: float
    due: float
    probes: int = 0


class Schedule:
    """Who is asked when. `now` is monotonic, in seconds."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._in_flight: set[ChannelName] = set()  # channels with a request under way
        self._failing: dict[ChannelName, _Failing] = {}  # channels whose last request failed, the oldest first
        self._row = 0  # failures of the endpoint since its last success
        self._row_channels: set[ChannelName] = set()  # of these failures, the first few
        self._down: _Down | None = None
        self.off = False
        """Whether the endpoint has said that it wants no more requests."""

    @property
    def down(self) -> bool:
        """Whether the endpoint fails for everything."""
        return self._down is not None

    @property
    def in_flight(self) -> frozenset[ChannelName]:
        """The channels with a step under way."""
        return frozenset(self._in_flight)

    def wait_s(self, now: float) -> float | None:
        """Return in how many seconds a request may begin; None: not before a request that is under way has ended."""
        if self.off:
            return None
        if self._down is None:
            return None if len(self._in_flight) >= IN_FLIGHT else 0.0
        return None if self._in_flight else max(0.0, self._down.due - now)

    def ready(self, channel: ChannelName, now: float) -> bool:
        """Say whether the channel may have a request, as far as the channel is concerned. While the endpoint is down,
        a probe may be about any channel."""
        if channel in self._in_flight:
            return False
        failing = self._failing.get(channel)
        return failing is None or self._down is not None or failing.due <= now

    def last(self, channel: ChannelName) -> int | None:
        """Return the last offset of the channel's request that failed: its next try has the same events, and so the
        same id."""
        failing = self._failing.get(channel)
        return None if failing is None else failing.last

    def begin(self, channel: ChannelName) -> None:
        """Note that a step for the channel begins. Call `over` after it."""
        self._in_flight.add(channel)

    def over(self, channel: ChannelName) -> None:
        """Note that the step is over, and all that follows from it is done."""
        self._in_flight.discard(channel)

    def stumbled(self, channel: ChannelName, now: float) -> None:
        """Note that the log was away, or a fault of this side: the channel waits, and nothing is held against the
        endpoint."""
        failing = self._failing_of(channel, now)
        failing.failures += 1
        failing.due = now + self._wait(failing.failures, None)

    def ended(self, channel: ChannelName, last: int, answer: Answer, now: float) -> Verdict:
        """Note how a request for events up to `last` was answered; return what becomes of it."""
        if answer.outcome is Outcome.ACCEPTED:
            self._failing.pop(channel, None)
            self._succeeded(now)
            return Verdict.DONE
        failing = self._failing_of(channel, now)
        failing.last = last
        failing.failures += 1
        failing.refusals = failing.refusals + 1 if answer.outcome is Outcome.REFUSED else 0
        failing.due = now + self._wait(failing.failures, answer.retry_after_s)
        self._failed(channel, answer, now)
        if answer.outcome is Outcome.GONE:
            self.off = True
            return Verdict.OFF
        if failing.refusals >= REFUSALS:
            return Verdict.POISON
        since = failing.since if self._down is None else min(failing.since, self._down.since)
        return Verdict.LATE if now - since >= MAX_AGE_S else Verdict.AGAIN

    def buried(self, channel: ChannelName) -> None:
        """Note that the events that failed are in the dead letters: the channel goes on."""
        self._failing.pop(channel, None)

    def _failing_of(self, channel: ChannelName, now: float) -> _Failing:
        failing = self._failing.get(channel)
        if failing is None:
            if len(self._failing) >= MAX_FAILING:
                del self._failing[next(iter(self._failing))]
            failing = self._failing[channel] = _Failing(since=now)
        return failing

    def _succeeded(self, now: float) -> None:
        """The endpoint works: what waited because of it waits no longer."""
        self._row = 0
        self._row_channels.clear()
        if self._down is not None:
            self._down = None
            for failing in self._failing.values():
                failing.due = now

    def _failed(self, channel: ChannelName, answer: Answer, now: float) -> None:
        self._row += 1
        if len(self._row_channels) < DOWN_CHANNELS:
            self._row_channels.add(channel)
        if self._down is None:
            if self._row < DOWN_FAILURES or len(self._row_channels) < DOWN_CHANNELS:
                return
            self._down = _Down(since=now, due=now)
        self._down.probes += 1
        self._down.due = now + self._wait(self._down.probes, answer.retry_after_s)

    def _wait(self, failures: int, retry_after_s: float | None) -> float:
        """Return how long to wait after so many failures. The receiver's wish wins, within bounds."""
        if retry_after_s is not None:
            return min(max(retry_after_s, BACK_OFF_S[0]), MOST_RETRY_AFTER_S)
        wait = BACK_OFF_S[min(failures, len(BACK_OFF_S)) - 1]
        return wait * (1 + JITTER * (2 * self._random.random() - 1))
