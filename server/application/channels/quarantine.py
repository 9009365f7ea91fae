"""Quarantine: a channel whose handling failed is left alone for a while, so that its fault costs no other channel."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import structlog

from server.domain.channels import ChannelName
from server.domain.errors import MaruError, Unavailable
from server.ports.metrics import ChannelMetrics

FIRST_WAIT_S = 1.0
"""How long a channel is left alone after its first fault. Each further fault doubles the time."""

LONGEST_WAIT_S = 60.0
"""The longest time that a channel is left alone. As long without another fault, and its earlier faults are forgotten
even if nothing has succeeded since."""

QUARANTINE_LIMIT = 1_000
"""Channels in quarantine. A fault of a further channel is counted; only the regular comparison with the log repairs
that channel."""

_log = structlog.get_logger("maru.hub")


class _Case:
    """The faults of a channel."""

    __slots__ = ("faults", "raised", "waiting", "watch")

    def __init__(self) -> None:
        self.faults = 0  # in a row
        self.waiting = False  # whether the channel is left alone now
        self.raised = asyncio.Event()  # set by a fault
        self.watch: asyncio.Task[None] | None = None  # ends the waits of the case, and forgets the case at last


class Quarantine:
    """The channels whose handling raised something that it must not. `tasks` owns the waits; `retry` is called for a
    channel whose wait is over.

    A wait is 1 s after the first fault, and at most a minute after many. State changes between awaits.
    """

    def __init__(self, tasks: asyncio.TaskGroup, retry: Callable[[ChannelName], None], metrics: ChannelMetrics) -> None:
        self._tasks = tasks
        self._retry = retry
        self._metrics = metrics
        self._cases: dict[ChannelName, _Case] = {}  # at most `QUARANTINE_LIMIT`

    def holds(self, channel: ChannelName) -> bool:
        """Return whether the channel is to be left alone now."""
        case = self._cases.get(channel)
        return case is not None and case.waiting

    def remembers(self, channel: ChannelName) -> bool:
        """Return whether the channel had a fault, and has not been handled well since."""
        return channel in self._cases

    def check(self, channel: ChannelName) -> None:
        """Raise `Unavailable` if the channel is to be left alone now."""
        if self.holds(channel):
            raise _left_alone(channel)

    def add(self, channel: ChannelName, fault: Exception) -> Unavailable:
        """Leave the channel alone, since its handling raised `fault`. Return the error for those who wait for it."""
        case = self._cases.get(channel) or _Case()
        if case.faults == 0 and len(self._cases) < QUARANTINE_LIMIT:
            _log.error("channel.quarantined", channel=channel, exc_info=fault)
            self._cases[channel] = case
            case.watch = self._tasks.create_task(self._watch(channel, case))
        if not case.waiting:
            self._metrics.quarantined()
            case.faults += 1
            case.waiting = True
            case.raised.set()
        return _left_alone(channel)

    def release(self, channel: ChannelName) -> None:
        """Forget the faults of a channel that has been handled well."""
        case = self._cases.pop(channel, None)
        if case is not None:
            assert case.watch is not None  # every case that is kept is watched
            case.watch.cancel()
            _log.warning("channel.released", channel=channel, faults=case.faults)

    def retry_all(self) -> None:
        """End all waits now: the cause of the faults may be gone."""
        for case in self._cases.values():
            case.waiting = False

    @contextlib.contextmanager
    def guard(self, channel: ChannelName) -> Iterator[None]:
        """Turn a fault of the body into `Unavailable`, and leave the channel alone after it. A `MaruError` passes."""
        try:
            yield
        except MaruError:
            raise
        except Exception as fault:  # whatever it is, it costs this channel alone
            raise self.add(channel, fault) from fault

    async def _watch(self, channel: ChannelName, case: _Case) -> None:
        """Ask for a retry after each fault's wait, until no fault has come for `LONGEST_WAIT_S`."""
        with contextlib.suppress(TimeoutError):
            while True:
                await asyncio.sleep(min(FIRST_WAIT_S * 2 ** (case.faults - 1), LONGEST_WAIT_S))
                case.waiting = False
                case.raised.clear()
                self._retry(channel)
                async with asyncio.timeout(LONGEST_WAIT_S):
                    await case.raised.wait()
        del self._cases[channel]


def _left_alone(channel: ChannelName) -> Unavailable:
    return Unavailable(f"'{channel}' is left alone for a while, after a fault of the server")
