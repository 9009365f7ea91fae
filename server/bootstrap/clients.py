"""Which clients there are, and how many of them are let in."""

import time
from collections.abc import Callable

import structlog

from server.api.affinity import COOKIE
from server.domain.proxies import Proxies
from server.domain.rates import Bucket
from server.gateway.websocket.admission import Admission
from server.gateway.websocket.crowds import Crowds
from server.gateway.websocket.known_clients import KnownClients
from server.settings.model import Settings

_log = structlog.get_logger("maru.server")


def tell_of_proxies(settings: Settings) -> None:
    """Say, at the start, whose word about clients' addresses counts."""
    if settings.trusted_proxies is None and not settings.dev:
        _log.info(
            "proxies.assumed",
            problem="peers with a private or loopback address are taken for proxies: the bounds of each client address "
            "do not apply to those behind them",
            remedy="set MARU_TRUSTED_PROXIES to the addresses of your proxies, which must set X-Forwarded-For",
        )


def _crowds(settings: Settings) -> Crowds:
    """Return the bounds of each client address."""
    return Crowds(
        Proxies(settings.trusted_proxies),
        settings.limits.get(Bucket.ADDRESS),
        settings.address_connections,
        settings.address_unconnected,
        time.monotonic,
    )


def admission(settings: Settings, is_ours: Callable[[str, float], bool]) -> Admission:
    """Return the bucket of all handshakes. `is_ours` says whether a server has made the value of an affinity cookie."""
    known = KnownClients(COOKIE, is_ours, time.monotonic)
    return Admission(
        settings.admission_rate, settings.admission_burst, time.monotonic, known.is_known, _crowds(settings)
    )
