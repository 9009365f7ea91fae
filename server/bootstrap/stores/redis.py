"""The log and the bus in Redis."""

from contextlib import AsyncExitStack

from server.adapters.redis import link
from server.adapters.redis.broadcast import RedisBroadcast
from server.adapters.redis.bus import RedisBus
from server.adapters.redis.message_log import RedisMessageLog
from server.bootstrap.stores.record import Bus, EmitHeard
from server.ports.message_log import MessageLog
from server.settings.errors import StartRefused
from server.settings.model import Settings


async def open_log(settings: Settings, resources: AsyncExitStack) -> MessageLog:
    """Open the log. Raises `StartRefused` if waiting for Redis would not help."""
    url = _url(settings)
    await _check(url)
    log = RedisMessageLog(url, max_events=settings.retention_events, max_age_ms=round(settings.retention_age * 1000))
    return await resources.enter_async_context(log)


def open_bus(settings: Settings, resources: AsyncExitStack) -> Bus:
    """The link to the other replicas."""
    bus = RedisBus(_url(settings))
    resources.push_async_callback(bus.aclose)

    def hear_emits(heard: EmitHeard) -> None:
        bus.on_emit = heard

    return Bus(
        RedisBroadcast(bus),
        bus.linked,
        link_losses=lambda: bus.losses,
        hear_emits=hear_emits,
        loops=(bus.run(),),
    )


async def _check(url: str) -> None:
    """Refuse the start if waiting would not help: not a URL, a wrong password, a certificate that is not trusted."""
    try:
        problem = await link.startup_error(url)
    except ValueError as error:
        problem = str(error)
    if problem is not None:
        raise StartRefused(f"MARU_REDIS_URL: {problem}")


def _url(settings: Settings) -> str:
    assert settings.redis_url is not None  # the settings refuse Redis without it
    return settings.redis_url.get_secret_value()
