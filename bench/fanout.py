"""The load of a fan-out: messages in flight towards members, and when each has come. Runs in a worker."""

import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from bench.clients import Clients
from bench.processes import LoadFailed, cpu_s
from bench.seen import Seen

STALLED_S = 10.0
"""A window without a delivery for this time has failed."""

WAIT_S = 10.0
"""The longest extension of a window in which a slow server has delivered too little."""

FINISH_S = 60.0
"""The longest wait for the messages that are in flight at the end of a window."""


@dataclass(frozen=True, slots=True)
class Window:
    """The order for a measurement: the messages, and for how long. A wave is one message to each channel."""

    channels: tuple[str, ...]
    size: int
    in_flight: int
    seconds: float
    warm_s: float
    pids: tuple[int, ...]
    """The server's processes, whose time is taken at the window's two ends."""
    senders: int = 1


@dataclass(frozen=True, slots=True)
class Flow:
    """The counts of a window."""

    deliveries: int
    waves: float
    """Whole waves that the deliveries come to."""
    seconds: float
    server_cpu_s: float
    load_cpu_s: float
    received_bytes: int
    lost: int


@dataclass(slots=True)
class _Moment:
    """The counters at one instant."""

    at: float
    server: float
    load: float
    deliveries: int
    received: int

    @classmethod
    def now(cls, crowd: Clients, seen: Seen, pids: Sequence[int]) -> "_Moment":
        server, load = cpu_s(pids), time.process_time()
        return cls(time.perf_counter(), server, load, seen.total, crowd.received_bytes)

    def until(self, end: "_Moment", members: int, lost: int) -> Flow:
        deliveries = end.deliveries - self.deliveries
        return Flow(
            deliveries,
            deliveries / members,
            end.at - self.at,
            end.server - self.server,
            end.load - self.load,
            end.received - self.received,
            lost,
        )


def flow(crowd: Clients, members: Sequence[int], senders: Sequence[int], wave: bytes, window: Window) -> Flow:
    """Keep `in_flight` waves under way: the next starts when every member has the oldest.

    Raises `LoadFailed` if deliveries stop.
    """
    seen = Seen(members)
    sent = 0

    def start(waves: int) -> None:
        nonlocal sent
        turns = [senders[number % len(senders)] for number in range(sent, sent + waves)]
        for sender in dict.fromkeys(turns):  # a sender's messages go in one piece, as its socket would do it
            crowd.say(sender, wave * turns.count(sender))
        sent += waves

    def taken(descriptor: int, markers: int, _: int) -> None:
        if markers and descriptor in seen.counts and seen.add(descriptor, markers):
            ready.append(seen.advance())

    ready: list[int] = []
    crowd.taken = taken
    start(window.in_flight)
    run = _Run(crowd, seen, window)
    while run.goes_on():
        crowd.pump(0.1)
        if ready:
            start(sum(ready))
            ready.clear()
    _finish(crowd, seen, sent)
    return run.flow()


class _Run:
    """When a window begins, after its warming, and when it ends."""

    def __init__(self, crowd: Clients, seen: Seen, window: Window) -> None:
        self._crowd, self._seen, self._window = crowd, seen, window
        self.began: _Moment | None = None
        self.ended: _Moment | None = None
        self._next = time.perf_counter() + window.warm_s
        self._total, self._heard_at = 0, time.perf_counter()

    def goes_on(self) -> bool:
        now = time.perf_counter()
        if self._seen.total != self._total:
            self._total, self._heard_at = self._seen.total, now
        elif now - self._heard_at > STALLED_S:
            raise LoadFailed(f"no delivery for {STALLED_S:.0f} s; {self._crowd.lost} connections lost")
        if now < self._next or (self._few() and now < self._next + WAIT_S):
            return True
        moment = _Moment.now(self._crowd, self._seen, self._window.pids)
        if self.began is None:
            self.began = moment
            self._next = moment.at + self._window.seconds
            return True
        self.ended = moment
        return False

    def _few(self) -> bool:
        """Tell if fewer deliveries have come than were in flight at once: a server that collects first and delivers
        later would be measured while it does only one of the two."""
        before = 0 if self.began is None else self.began.deliveries
        return self._seen.total - before < len(self._seen.counts) * self._window.in_flight

    def flow(self) -> Flow:
        """Return the counts of the window, after its end."""
        assert self.began is not None
        assert self.ended is not None
        return self.began.until(self.ended, len(self._seen.counts), self._crowd.lost)


def _finish(crowd: Clients, seen: Seen, sent: int) -> None:
    """Wait for the messages in flight, so that the next window begins with none. Raises `LoadFailed`."""
    began = heard_at = time.perf_counter()
    total = seen.total
    while seen.complete < sent and time.perf_counter() < min(heard_at + STALLED_S, began + FINISH_S):
        crowd.pump(0.1)
        seen.advance()
        if seen.total != total:
            total, heard_at = seen.total, time.perf_counter()
    crowd.taken = lambda *_: None
    if seen.complete < sent:
        raise LoadFailed(
            f"{sent - seen.complete} of {sent} messages did not reach everybody; {crowd.lost} lost, {crowd.parting}"
        )


@dataclass(frozen=True, slots=True)
class Pace:
    """Every delivery's time from when its message was due to when a member had it, in seconds, sorted."""

    flow: Flow
    latencies: "array[float]"


def pace(
    crowd: Clients, members: Sequence[int], senders: Sequence[int], wave: bytes, window: Window, waves_s: float
) -> Pace:
    """Send `waves_s` waves a second, whether or not deliveries keep up; a late wave counts from when it was due.

    Raises `LoadFailed` if deliveries stop.
    """
    seen = Seen(members)
    due: list[float] = []
    latencies = array("d")

    def taken(descriptor: int, markers: int, _: int) -> None:
        if markers and descriptor in seen.counts:
            now, had = time.perf_counter(), seen.counts[descriptor]
            latencies.extend([now - at for at in due[had : had + markers]])
            seen.add(descriptor, markers)

    crowd.taken = taken
    began = time.perf_counter()
    run = _Run(crowd, seen, window)
    while run.goes_on():
        now = time.perf_counter()
        upcoming = began + len(due) / waves_s
        if now >= upcoming:
            due.append(upcoming)
            crowd.say(senders[len(due) % len(senders)], wave)
        else:
            crowd.wait(upcoming - now)
    _finish(crowd, seen, len(due))
    return Pace(run.flow(), array("d", sorted(latencies)))
