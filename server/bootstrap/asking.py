"""The backend that is asked before commands take effect."""

import time
from contextlib import AsyncExitStack

import structlog

from server.adapters.hooks.backend import http_hooks
from server.application.outside.asking import Asking
from server.application.outside.join_asks import JoinAsks
from server.domain.hooks import Hook
from server.domain.rules import Rules
from server.domain.signing import SigningKey
from server.ports.hooks import HookMetrics, Hooks
from server.settings.model import VERSION, Settings

_log = structlog.get_logger("maru.hooks")


async def open_hooks(settings: Settings, resources: AsyncExitStack) -> Hooks | None:
    """Open the way to the backend; None if no rule asks for it."""
    if settings.hook_url is None or settings.hook_secret is None:
        return None
    if not Rules(settings.channel_rules).hooks:
        _log.warning("hooks.unused", remedy="name hooks in a rule of MARU_CHANNEL_RULES, or unset MARU_HOOK_URL")
        return None
    secrets = (settings.hook_secret, settings.hook_secret_previous)
    keys = [SigningKey.parse(secret.get_secret_value()) for secret in secrets if secret is not None]
    return await resources.enter_async_context(
        http_hooks(settings.hook_url.get_secret_value(), keys, f"Maru/{VERSION}")
    )


class Asks:
    """The rules, and the use cases of asking; without `hooks` nobody is asked."""

    def __init__(self, hooks: Hooks | None, settings: Settings, metrics: HookMetrics) -> None:
        self.rules = rules = Rules(settings.channel_rules)
        self.asking = None if hooks is None else Asking(hooks, rules, time.monotonic, metrics)
        self.joins = None if self.asking is None or Hook.JOIN not in rules.hooks else JoinAsks(self.asking)

    @property
    def in_flight(self) -> int:
        """Questions under way."""
        return 0 if self.asking is None else self.asking.in_flight

    @property
    def open(self) -> frozenset[Hook]:
        """The hooks whose backend is left alone at the moment."""
        return frozenset() if self.asking is None else self.asking.open
