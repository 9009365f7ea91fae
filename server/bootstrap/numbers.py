"""The numbers that a replica tells the others, for operators."""

import time
from collections.abc import Callable, Mapping

from server.adapters.prometheus.counters import Counters
from server.adapters.prometheus.recent import RecentTimes
from server.ports.metrics import Snapshot, Traffic
from server.process.memory import resident_bytes

SHARE = 0.99
"""Of the times, those that are told."""


class Numbers:
    """Makes the numbers of a replica. Those that end in `_total` only grow."""

    def __init__(self, snapshot: Callable[[], Snapshot], traffic: Traffic, counters: Counters) -> None:
        self._snapshot, self._traffic, self._counters = snapshot, traffic, counters
        self._lags, self._appends = RecentTimes(counters.lags), RecentTimes(counters.append_times)
        self._commands, self._writes = RecentTimes(counters.command_times), RecentTimes(counters.write_times)

    def __call__(self) -> Mapping[str, float]:
        """Return the numbers; the times are those since the call before."""
        now, traffic, counters = self._snapshot(), self._traffic, self._counters
        return {
            "connections": now.connections,
            "sessions": now.sessions,
            "channels": now.channels_hosted,
            "link_up": now.link_up,
            "link_losses_total": now.link_losses,
            "control_age_s": now.control_age_s,
            "overload": now.overload,
            "ring_bytes": now.ring_bytes,
            "hints_dropped_total": now.hints_dropped,
            "hints_refused_total": now.hints_refused,
            "signals_dropped_total": now.signals_dropped,
            "log_bytes": now.log_size.used,
            "log_full": now.log_size.full,
            "log_evicts": now.log_evicts,
            "log_lines_dropped_total": now.log_lines_dropped,
            "outbound_bytes": traffic.outbound_queued_bytes,
            "inbound_bytes": traffic.inbound_queued_bytes,
            "sent_bytes_total": traffic.sent_bytes,
            "received_bytes_total": traffic.received_bytes,
            "deliveries_total": traffic.deliveries,
            "opened_total": counters.opens,
            "closed_total": sum(counters.closes.values()),
            "refused_total": sum(counters.refusals.values()),
            "commands_total": sum(counters.commands.values()),
            "rate_limited_total": sum(counters.rate_limits.values()),
            "events_total": sum(counters.events.values()),
            "gaps_total": counters.gaps,
            "faults_total": counters.quarantines,
            "loop_lag_p99_s": self._lags.quantile(SHARE),
            "append_p99_s": self._appends.quantile(SHARE),
            "command_p99_s": self._commands.quantile(SHARE),
            "delivery_p99_s": self._writes.quantile(SHARE),
            "cpu_s_total": time.process_time(),
            "rss_bytes": resident_bytes(),
        }
