"""A pod as its kubelet sees it: a state machine that gets events and returns actions. No clock, no I/O."""

from dataclasses import dataclass, field
from enum import StrEnum

from tests.kubernetes.manifest import Template

BACKOFF_S, BACKOFF_MAX_S = 10.0, 300.0
"""Seconds before a container that has ended is started again: none the first time, then doubling."""

LATE_GRACE_S = 2.0
"""Seconds between SIGTERM and SIGKILL if the preStop has used up the whole grace."""


class Do(StrEnum):
    """An action of a kubelet on a container."""

    START = "start"
    STARTUP = "startup"  # the three probes, by their names
    READINESS = "readiness"
    LIVENESS = "liveness"
    TERMINATE = "terminate"
    KILL = "kill"


@dataclass(slots=True)
class Watch:
    """The state of a probe: its next time, and its successive results."""

    due_at: float
    failures: int = 0
    successes: int = 0
    asking: bool = False


@dataclass(eq=False, slots=True)
class Pod:
    """Call `due(now)` regularly, `answered` and `exited` when that happens, and `delete` for the controller.

    Times are seconds of any clock that does not go back. A pod is among the endpoints while it is `ready`; a pod that
    is `gone` has ended.
    """

    name: str
    template: Template
    born_at: float
    ready: bool = False
    ready_at: float = 0.0
    deleted_at: float | None = None
    gone: bool = False
    killed: bool = False  # SIGKILL was due
    restarts: int = 0
    _start_at: float = 0.0  # the earliest start of the next container
    _running: bool = False  # there is a container
    _started: bool = False  # its startup probe has passed
    _stopping_at: float | None = None  # the beginning of its grace
    _terminated: bool = False  # SIGTERM was due
    _watches: dict[Do, Watch] = field(default_factory=dict)  # its probes

    def __post_init__(self) -> None:
        self._start_at = self.born_at

    @property
    def running(self) -> bool:
        """Whether there is a container."""
        return self._running

    @property
    def started(self) -> bool:
        """Whether the container's startup probe has passed."""
        return self._started

    @property
    def serving(self) -> bool:
        """Whether the pod is among the Service's endpoints."""
        return self.ready and self.deleted_at is None

    def available(self, now: float, min_ready_s: float) -> bool:
        """Say whether the pod counts for a rolling update."""
        return self.serving and now - self.ready_at >= min_ready_s

    def delete(self, now: float) -> None:
        """Begin to end: preStop, SIGTERM, and SIGKILL at the end of the grace."""
        if self.deleted_at is None:
            self.deleted_at = now
            self._stop(now)
            self.gone = not self._running

    def due(self, now: float) -> list[Do]:
        """Return the actions that are due now, each once."""
        if self.gone:
            return []
        if not self._running:
            return self._start(now)
        if self._stopping_at is not None:
            stop = self._stopped(now, self._stopping_at)
            return stop + self._asked(now, [Do.READINESS] if self._started else [])
        return self._asked(now, [Do.READINESS, Do.LIVENESS] if self._started else [Do.STARTUP])

    def answered(self, probe: Do, ok: bool, now: float) -> None:
        """Take a probe's result."""
        watch = self._watches.get(probe)
        if watch is None or not watch.asking:
            return  # the result is about a container that has been replaced
        watch.asking = False
        watch.successes, watch.failures = (watch.successes + 1, 0) if ok else (0, watch.failures + 1)
        spec = self.template.probe(probe)
        assert spec is not None
        if watch.successes >= spec.successes:
            self._passed(probe, now)
        elif watch.failures >= spec.failures:
            self._failed(probe, now)

    def exited(self, now: float) -> None:
        """Take the end of the container. It is started again, unless the pod is being deleted."""
        self._running = self._started = self.ready = self._terminated = False
        self._stopping_at = None
        if self.deleted_at is not None:
            self.gone = True
            return
        wait = min(BACKOFF_MAX_S, BACKOFF_S * 2 ** (self.restarts - 1)) if self.restarts else 0.0
        self._start_at = now + wait
        self.restarts += 1

    def _start(self, now: float) -> list[Do]:
        if now < self._start_at:
            return []
        self._running = True
        self._watches = {Do(name): Watch(now + probe.delay_s) for name, probe in self.template.probes}
        self._started = Do.STARTUP not in self._watches
        self._set_ready(Do.READINESS not in self._watches and self._started, now)
        return [Do.START]

    def _stop(self, now: float) -> None:
        if self._stopping_at is None:
            self._stopping_at = now

    def _stopped(self, now: float, since: float) -> list[Do]:
        """preStop runs inside the grace: SIGTERM after it, SIGKILL at the end of both."""
        pre_stop = min(self.template.pre_stop_s, self.template.grace_s)
        grace = max(self.template.grace_s, pre_stop + LATE_GRACE_S if pre_stop >= self.template.grace_s else 0.0)
        if not self._terminated and now >= since + pre_stop:
            self._terminated = True
            return [Do.TERMINATE]
        if not self.killed and now >= since + grace:
            self.killed = True
            return [Do.KILL]
        return []

    def _asked(self, now: float, probes: list[Do]) -> list[Do]:
        due = []
        for probe in probes:
            watch, spec = self._watches.get(probe), self.template.probe(probe)
            if watch is not None and spec is not None and not watch.asking and now >= watch.due_at:
                watch.asking, watch.due_at = True, now + spec.period_s
                due.append(probe)
        return due

    def _passed(self, probe: Do, now: float) -> None:
        match probe:
            case Do.STARTUP:
                self._started = True
                for other in self._watches.values():
                    other.due_at = now
                self._set_ready(Do.READINESS not in self._watches, now)
            case Do.READINESS:
                self._set_ready(True, now)
            case _:
                pass

    def _failed(self, probe: Do, now: float) -> None:
        match probe:
            case Do.READINESS:
                self._set_ready(False, now)
            case _ if self._stopping_at is None:
                self._stop(now)  # the container is restarted; the pod stays
            case _:
                pass

    def _set_ready(self, ready: bool, now: float) -> None:
        if ready and not self.ready:
            self.ready_at = now
        self.ready = ready
