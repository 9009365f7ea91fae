"""The state of a replica at the moment of a scrape."""

from server.bootstrap.replica import Replica
from server.logs.configure import lines_dropped
from server.ports.metrics import Snapshot


def snapshot(of: Replica) -> Snapshot:
    """Return the state that a scrape reads."""
    return Snapshot(
        connections=len(of.chat.eio.sockets),
        sessions=len(of.sessions),
        channels_hosted=of.hub.hosted,
        link_up=of.stores.bus.link.is_set(),
        link_losses=of.stores.bus.link_losses(),
        ring_bytes=of.rings.size,
        rings_evicted=of.rings.evicted,
        hints_dropped=of.stores.bus.broadcast.dropped,
        hints_refused=of.stores.bus.hints_refused(),
        signals_dropped=of.stores.bus.signals.dropped,
        signals_refused=of.stores.bus.signals_refused(),
        control_age_s=of.stores.bus.control.age_s,
        replicas=of.lease.living,
        emits_refused=of.stores.bus.emits_refused(),
        log_evicts=of.stores.bus.log_evicts(),
        trims_refused=of.stores.bus.trims_refused(),
        log_lines_dropped=lines_dropped(),
        log_size=of.stores.bus.log_size(),
        overload=of.overload.load,
        revocations=len(of.entries.revoked),
        denials=len(of.entries.denials.until),
        erased=of.backends.eraser.erased,
        erasures=of.backends.eraser.unfinished,
        jwks_age_s=of.tokens.age_s,
        jwks_keys=of.tokens.count,
        asks_in_flight=of.asks.in_flight,
        hooks_open=of.asks.open,
    )
